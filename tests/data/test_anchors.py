import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors, Csr, duplicate_groups, normalise
from litotes.data.collection import Collection, judgements_table

QUERIES = ["q", "é", "a", "\uffff", "\U00010000", "Z"]  # UTF-16 would order two of them the other way round
TEXTS = ["Paris", "PARIS ", "Ｐａｒｉｓ", "  paris\n", "ﬁne", "fine", "Straße", "STRASSE", "Rome", "rome."]

judged = st.dictionaries(
    st.tuples(st.integers(0, len(QUERIES) - 1), st.integers(0, len(TEXTS) - 1)), st.sampled_from([0, 1, 2]), max_size=16
)


def collection(grades):
    documents = [f"d{i}" for i in range(len(TEXTS))]
    pairs = list(grades)
    qrels = judgements_table(
        [QUERIES[q] for q, _ in pairs], [documents[d] for _, d in pairs], [grades[p] for p in pairs]
    )
    corpus = pa.table({"id": documents, "text": TEXTS})
    return Collection("c", pa.table({"id": QUERIES, "text": QUERIES}), corpus, {"train": qrels})


def slow_same(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@given(judged)
def test_anchors_are_the_judged_queries_in_the_order_of_stored_evidence(grades):
    there = collection(grades)
    anchors = Anchors.of(there, "train")
    expected = sorted({q for q, _ in grades}, key=lambda q: QUERIES[q].encode())
    assert anchors.query.tolist() == expected and anchors.query.dtype == np.int32 and len(anchors) == len(expected)
    for i, q in enumerate(expected):
        positives = [d for d in range(len(TEXTS)) if grades.get((q, d), 0) > 0]
        assert anchors.positives.row(i).tolist() == positives
        assert anchors.judged.row(i).tolist() == [d for d in range(len(TEXTS)) if grades.get((q, d)) == 0]
        same = {slow_same(TEXTS[d]) for d in positives}
        assert anchors.excluded.row(i).tolist() == [d for d, text in enumerate(TEXTS) if slow_same(text) in same]


@given(judged, st.integers(-8, 8), st.integers(-8, 8))
def test_a_slice_says_what_the_whole_says(grades, low, high):
    anchors = Anchors.of(collection(grades), "train")
    part, rows = anchors[low:high], list(range(len(anchors)))[low:high]
    assert part.query.tolist() == anchors.query[rows].tolist() and len(part) == len(rows)
    for name in ("positives", "judged", "excluded"):
        whole, cut = getattr(anchors, name), getattr(part, name)
        assert len(cut) == len(rows) and cut.offsets[0] == 0 and cut.offsets[-1] == len(cut.items)
        assert [cut.row(i).tolist() for i in range(len(cut))] == [whole.row(i).tolist() for i in rows]
    again = anchors[:][low:high]
    assert again.query.tolist() == part.query.tolist() and again.excluded.items.tolist() == part.excluded.items.tolist()


def test_slices_have_no_step_and_splits_have_names():
    anchors = Anchors.of(collection({(0, 0): 1, (1, 1): 1}), "train")
    with pytest.raises(ValueError, match="slices have no step, got -1"):
        anchors[::-1]
    with pytest.raises(ValueError, match="no split 'dev'"):
        Anchors.of(anchors.collection, "dev")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**31 - 1)), max_size=12))
def test_a_csr_holds_each_pair_once_in_order(pairs):
    row, item = (np.array([p[i] for p in pairs], np.int32) for i in (0, 1))
    csr = Csr.of(row, item, 5)
    assert [csr.row(i).tolist() for i in range(5)] == [sorted({b for a, b in pairs if a == i}) for i in range(5)]
    assert list(zip(csr.rows().tolist(), csr.items.tolist(), strict=True)) == sorted(set(pairs))
    assert csr.offsets.dtype == np.int64 and csr.items.dtype == csr.rows().dtype == np.int32


@given(st.text() | st.text(alphabet="aA \t\n\x1c\x85\u3000ßẞﬁİıΣς́ͅ", max_size=8))
def test_normalising_is_the_definition_and_normalising_again_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once and once == once.strip()
    assert once == " ".join(unicodedata.normalize("NFKC", slow_same(text)).split())


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Paris", " PARIS\n", True),
        ("Straße", "strasse", True),
        ("ﬁ", "FI", True),
        ("e\u0301", "É", True),
        ("a\u00a0 b", "a b", True),
        ("½", "1⁄2", True),
        ("ß\u0301", "sś", True),  # folding takes ß apart, and the accent finds another letter
        ("a b", "ab", False),
        ("resume", "résumé", False),
        ("U.S.", "US", False),
    ],
)
def test_what_counts_as_the_same_text(one, other, equal):
    assert (normalise(one) == normalise(other)) == equal


@given(st.lists(st.sampled_from(TEXTS), max_size=12))
def test_a_group_is_named_after_its_first_text(texts):
    first = [next(j for j, other in enumerate(texts) if slow_same(other) == slow_same(text)) for text in texts]
    assert duplicate_groups(texts).tolist() == first and duplicate_groups(texts).dtype == np.int32


def test_the_title_is_part_of_the_text():
    corpus = pa.table({"id": ["1", "2", "3"], "text": ["b", "b", "a b"], "title": ["a", "x", ""]})
    qrels = {"t": judgements_table(["q"], ["1"], [1])}
    anchors = Anchors.of(Collection("c", pa.table({"id": ["q"], "text": ["q"]}), corpus, qrels), "t")
    assert anchors.excluded.row(0).tolist() == [0, 2]
