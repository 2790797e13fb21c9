"""NearDuplicate, SameText and SameGroup: what they compare with what, by hand and by brute force."""

import numpy as np
import pyarrow as pa
import pytest

from litotes.data.anchors import normalise
from litotes.data.collection import Collection
from litotes.evidence import doubt_entries, make
from litotes.vetting.near_duplicate import NearDuplicate
from litotes.vetting.same_group import SameGroup
from litotes.vetting.same_text import SameText


def ours(part, made):
    return {e["row"]: e for e in doubt_entries(made).to_pylist() if e["part"] == str(part)}


def jaccard(left, right, length):
    a, b = ({t[i : i + length] for i in range(max(len(t) - length, 0) + 1)} for t in map(normalise, (left, right)))
    return len(a & b) / len(a | b)


def highest(evidence, collection, alike):
    """Brute force: per ungraded negative the highest likeness to a positive of its anchor or to its query."""
    rows, texts = evidence.to_pylist(), collection.document_texts()
    asked = dict(zip(collection.queries["id"].to_pylist(), collection.query_texts(), strict=True))
    document = dict(zip(collection.corpus["id"].to_pylist(), texts, strict=True))
    out = {}
    for i, row in enumerate(rows):
        if row["sign"] == -1 and row["grade"] is None:
            known = [document[p["candidate"]] for p in rows if p["anchor"] == row["anchor"] and p["sign"] == 1]
            out[i] = max(alike(document[row["candidate"]], other) for other in [*known, asked[row["anchor"]]])
    return out


@pytest.mark.parametrize("threshold, shingle", [(0.3, 3), (0.5, 2), (0.8, 5), (1.0, 4)])
def test_near_copies_are_those_of_brute_force(collection, evidence, threshold, shingle):
    part = NearDuplicate(threshold, shingle)
    found = ours(part, part(evidence, collection))
    expected = highest(evidence, collection, lambda a, b: jaccard(a, b, shingle))
    assert sorted(found) == [i for i, j in expected.items() if j >= threshold]
    assert all(e["seen"] == np.float32(expected[i]) and e["line"] == np.float32(threshold) for i, e in found.items())


def test_long_texts_are_decided_by_their_true_likeness():
    draw = np.random.default_rng(0)
    base = "".join(draw.choice(list("abcdefgh "), 2000))
    edits = ["".join(np.where(draw.random(2000) < p, "z", list(base))) for p in np.linspace(0, 0.08, 60)]
    corpus = pa.table({"id": [f"d{i}" for i in range(61)], "text": [base, *edits]})
    collection = Collection("edits", pa.table({"id": ["q"], "text": ["what"]}), corpus)
    evidence = make(["q"] * 61, corpus["id"], [1] + [-1] * 60, source="test")
    part = NearDuplicate(0.8)
    expected = [i for i, text in enumerate(edits, start=1) if jaccard(base, text, 5) >= 0.8]
    assert sorted(ours(part, part(evidence, collection))) == expected and 5 < len(expected) < 55


def test_copies_are_those_of_brute_force(collection, evidence):
    expected = highest(evidence, collection, lambda a, b: normalise(a) == normalise(b))
    assert list(ours(SameText(), SameText()(evidence, collection))) == [i for i, same in expected.items() if same]
    exact = SameText(exact=True)
    expected = highest(evidence, collection, lambda a, b: a == b)
    assert list(ours(exact, exact(evidence, collection))) == [i for i, same in expected.items() if same]


def of(documents, signs, query="what", groups=None, group_of_query=None):
    corpus = {"id": [f"d{i}" for i in range(len(documents))], "text": documents}
    queries = {"id": ["q"], "text": [query]}
    if groups is not None:
        corpus["group"], queries["group"] = pa.array(groups, pa.string()), pa.array([group_of_query], pa.string())
    collection = Collection("hand", pa.table(queries), pa.table(corpus))
    return make(["q"] * len(documents), corpus["id"], signs, source="test"), collection


def test_titles_count_as_text():
    evidence, _ = of(["b", "a b"], [1, -1])
    corpus = pa.table({"id": ["d0", "d1"], "title": ["A", None], "text": ["b", "a b"]})
    collection = Collection("titles", pa.table({"id": ["q"], "text": ["x"]}), corpus)
    assert SameText()(evidence, collection)["weight"].to_pylist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "group_of_query, weights", [(None, [1, 0, 1, 1, 1]), ("n", [1, 0, 0, 1, 1]), ("zzz", [1, 0, 1, 1, 1])]
)
def test_groups_of_the_positive_and_of_the_query(group_of_query, weights):
    evidence, collection = of(
        list("abcde"), [1, -1, -1, -1, 0], groups=["m", "m", "n", None, "m"], group_of_query=group_of_query
    )
    assert SameGroup()(evidence, collection)["weight"].to_pylist() == weights


def test_a_positive_without_a_group_shares_it_with_nobody():
    evidence, collection = of(list("abc"), [1, -1, -1], groups=[None, None, "m"])
    assert SameGroup()(evidence, collection)["weight"].to_pylist() == [1, 1, 1]


def test_what_has_no_group_is_not_taken_for_a_group_of_the_anchor_before():
    corpus = pa.table({"id": ["d0", "d1", "d2"], "text": list("abc"), "group": ["m", "n", None]})
    collection = Collection("two", pa.table({"id": ["p", "q"], "text": list("pq")}), corpus)
    evidence = make(["p", "p", "q"], ["d0", "d1", "d2"], [1, -1, 1], source="test")
    assert SameGroup()(evidence, collection)["weight"].to_pylist() == [1, 1, 1]


def test_a_missing_column_is_no_silent_pass():
    evidence, collection = of(list("ab"), [1, -1])
    with pytest.raises(ValueError, match="SameGroup: the corpus of 'hand' has no column 'page'; it has"):
        SameGroup("page")(evidence, collection)


@pytest.mark.parametrize(
    "make_part, message",
    [
        (lambda: NearDuplicate(0.0), r"NearDuplicate: threshold must be in \(0, 1\], got 0.0"),
        (lambda: NearDuplicate(float("nan")), "NearDuplicate: threshold must be"),
        (lambda: NearDuplicate(shingle=0), "NearDuplicate: shingle must be >= 1, got 0"),
        (lambda: NearDuplicate(permutations=8), "NearDuplicate: permutations must be >= 16, got 8"),
        (lambda: NearDuplicate(seed=-1), "NearDuplicate: seed must be"),
        (lambda: SameGroup(""), "SameGroup: column must be"),
    ],
)
def test_gates(make_part, message):
    with pytest.raises(ValueError, match=message):
        make_part()
