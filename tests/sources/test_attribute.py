import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.metrics.attribute_bias import attribute_bias
from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.search.space import Space
from litotes.sources.mined.attribute import AttributeAwareNegatives, ModalityAwareNegatives, ranked_by_id
from litotes.sources.mined.dense import Mined


def world(kinds, positives, wanted=("I",), scores=None, names=None, queries=1, texts=None):
    """Documents d0, d1, ... in falling order of score for every query; `positives`: their rows, for each query."""
    names = names or [f"d{i:03d}" for i in range(len(kinds))]
    asked = [f"q{i:04d}" for i in range(queries)]
    modality = pa.array(list(wanted) * (queries // len(wanted)), pa.string())
    corpus = pa.table({"id": names, "text": texts or names, "modality": pa.array(kinds, pa.string())})
    judged = [(q, names[p]) for q in asked for p in positives]
    qrels = judgements_table([q for q, _ in judged], [d for _, d in judged], [1.0] * len(judged))
    task = Collection("kinds", pa.table({"id": asked, "text": asked, "modality": modality}), corpus, {"train": qrels})
    values = np.arange(len(kinds), 0, -1) if scores is None else np.array(scores)
    space = Space(np.ones((queries, 1), np.float32), values[:, None].astype(np.float32), "dot")
    return task, space


def drawn(part, task, space):
    """Per anchor {document id: (detail, rank, score)}, and what was found."""
    anchors = Anchors.of(task, "train")
    find = part.prepare(task, space)
    found = find(anchors)
    names = task.corpus["id"].to_pylist()
    out = [{} for _ in range(len(anchors))]
    for a, d, by, r, s in zip(found.anchor, found.document, found.finder, found.rank, found.score, strict=True):
        assert names[d] not in out[a]
        out[a][names[d]] = (found.sources[by], int(r), float(s))
    return out, found, find


def kinds_of(rows, detail):
    return {name for name, (source, _, _) in rows.items() if source == f"modality:{detail}"}


def test_wrong_outranks_the_positive_and_unsatisfactory_lies_beyond_the_skip():
    task, space = world("TITIIT", [3])
    part = AttributeAwareNegatives(top_k=6, skip=4, per_anchor=6)
    (rows,), found, _ = drawn(part, task, space)
    assert kinds_of(rows, "wrong") == {"d000", "d002"} and kinds_of(rows, "unsatisfactory") == {"d004"}
    assert rows["d004"] == ("modality:unsatisfactory", 3, 2.0)  # the rank leaves the positive out
    assert found.of_space == found.sources and found.short == {"modality": 1}


def test_a_positive_outside_the_list_is_outranked_by_all_and_one_at_the_top_by_none():
    (rows,), _, _ = drawn(part_of(5, 4), *world("TITIIT" + "I", [6]))
    assert kinds_of(rows, "wrong") == {"d000", "d002"} and kinds_of(rows, "unsatisfactory") == {"d004"}
    (rows,), _, find = drawn(part_of(7, 4, p_wrong=1.0, per_anchor=1), *world("ITTIIT", [0]))
    assert kinds_of(rows, "unsatisfactory") == {"d004"} and not kinds_of(rows, "wrong")
    assert find.notes["draws that took modality:unsatisfactory instead"] == 1


def part_of(top_k, skip, **settings):
    return AttributeAwareNegatives(top_k=top_k, skip=skip, **{"per_anchor": 50} | settings)


def test_no_known_positive_is_found_nor_a_copy_of_one():
    texts = ["same", "b", "Same ", "d", "e", "f", "g"]
    task, space = world("TIIIIII", [2, 4], texts=texts)  # d000 is a copy of the positive d002
    (rows,), _, _ = drawn(part_of(7, 1), task, space)
    assert set(rows) == {"d001", "d003", "d005", "d006"} and not kinds_of(rows, "wrong")


@pytest.mark.parametrize("p, low, high", [(1.0, 10_000, 10_000), (0.0, 0, 0), (0.5, 4800, 5200), (0.25, 2300, 2700)])
def test_the_kind_is_drawn_with_its_probability(p, low, high):
    task, space = world("TTTIII", [2 + 1], queries=10_000)
    rows, _, _ = drawn(AttributeAwareNegatives(top_k=6, skip=4, p_wrong=p), task, space)
    assert all(len(row) == 1 for row in rows)
    assert low <= sum(bool(kinds_of(row, "wrong")) for row in rows) <= high
    counts = np.unique([name for row in rows for name in row], return_counts=True)[1]
    share = [p / 3] * 3 * (p > 0) + [(1 - p) / 2] * 2 * (p < 1)  # evenly within a kind
    assert np.allclose(counts / 10_000, share, atol=0.02)


def test_with_neither_kind_no_row_comes_and_the_query_is_counted():
    rows, found, find = drawn(AttributeAwareNegatives(top_k=3, skip=2), *world("ITI", [0, 2], queries=4))
    assert rows == [{}] * 4 and found.short == {"modality": 4} and find.notes["anchors with neither"] == 4
    find(Anchors.of(world("ITI", [0, 2])[0], "train"))
    assert find.notes["anchors with neither"] == 5  # of all slices together


@pytest.mark.parametrize(
    "bad",
    [
        {"skip": 50},
        {"skip": -1},
        {"skip": float("nan")},
        {"top_k": 0},
        {"p_wrong": 1.5},
        {"p_wrong": float("nan")},
        {"per_anchor": 0},
        {"column": ""},
    ],
)
def test_a_bad_setting_is_named(bad):
    with pytest.raises(ValueError, match=f"AttributeAwareNegatives: {next(iter(bad))} must be"):
        AttributeAwareNegatives(**bad)


def test_what_it_needs_is_named_and_a_small_pool_is_the_list():
    task, space = world("TITI", [1])
    with pytest.raises(ValueError, match="needs vectors"):
        AttributeAwareNegatives().prepare(task, None)
    with pytest.raises(ValueError, match="column names 'kind'; the columns of kinds/corpus are id, text, modality"):
        AttributeAwareNegatives("kind").prepare(task, space)
    (rows,), _, _ = drawn(part_of(50, 3), task, space)
    assert set(rows) == {"d000", "d003"}
    assert ModalityAwareNegatives is AttributeAwareNegatives


def test_of_one_kind_alone_it_is_the_window_behind_the_skip():
    scores = np.random.default_rng(0).permutation(30)
    task, space = world("I" * 30, [int(np.argmin(scores))], scores=scores)
    (rows,), _, _ = drawn(part_of(10, 6), task, space)
    plain = Mined(depth=4, skip=6).prepare(task, space)(Anchors.of(task, "train"))
    assert {name: row[1:] for name, row in rows.items()} == {
        f"d{d:03d}": (int(r), float(s)) for d, r, s in zip(plain.document, plain.rank, plain.score, strict=True)
    }


@given(
    st.lists(st.sampled_from("TIX"), min_size=2, max_size=9),
    st.data(),
)
def test_it_is_its_definition_under_any_order_and_cut(kinds, data):
    n = len(kinds)
    scores = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=n, max_size=n))  # few values: ties
    positives = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=2, unique=True))
    kinds = [None if kind == "X" else kind for kind in kinds]
    wanted = data.draw(st.sampled_from(["T", "I", "V", None]))
    top_k = data.draw(st.integers(1, 10))
    skip = data.draw(st.integers(0, top_k - 1))
    part = part_of(top_k, skip, per_anchor=data.draw(st.sampled_from([1, 2, 50])), seed=data.draw(st.integers(0, 3)))
    names = [f"d{i:03d}" for i in range(n)]
    rows, found, find = drawn(part, *world(kinds, positives, [wanted], scores, names, queries=2))

    ranked = sorted(range(n), key=lambda i: (-scores[i], names[i]))[:top_k]
    first = min([ranked.index(p) for p in positives if p in ranked], default=n)
    wants = {wanted} if wanted else {kinds[p] for p in positives} - {None}
    listed = [(rank, i) for rank, i in enumerate(ranked) if i not in positives and kinds[i] is not None and wants]
    wrong = {names[i] for rank, i in listed if kinds[i] not in wants and rank < first}
    other = {names[i] for rank, i in listed if kinds[i] in wants and rank >= skip}
    for row in rows:
        assert kinds_of(row, "wrong") <= wrong and kinds_of(row, "unsatisfactory") <= other
        assert len(row) == min(part.per_anchor, len(wrong) + len(other))
        for name, (_, rank, score) in row.items():
            i = names.index(name)
            assert score == scores[i] and rank == [j for j in ranked if j not in positives].index(i)
    assert found.short.get("modality", 0) == sum(len(row) < part.per_anchor for row in rows)

    order = data.draw(st.permutations(range(n)))
    task, space = world(kinds, positives, [wanted], scores, names, queries=2)
    turned = Collection("t", task.queries, task.corpus.take(pa.array(order)), task.qrels)
    assert drawn(part, turned, Space(space.queries, space.corpus[order], "dot"))[0] == rows
    anchors = Anchors.of(task, "train")
    parts = [find(anchors[:1]), find(anchors[1:])]
    assert np.concatenate([some.document for some in parts]).tolist() == found.document.tolist()


def test_queries_without_a_wish_want_what_their_positives_are():
    task, space = world("TITIII", [1, 3])
    bare = Collection("bare", task.queries.drop_columns("modality"), task.corpus, task.qrels)
    (rows,), _, _ = drawn(part_of(6, 4), bare, space)
    assert kinds_of(rows, "wrong") == {"d000"} and kinds_of(rows, "unsatisfactory") == {"d004", "d005"}


def test_values_are_compared_whole():
    kinds = ["text+image", "image", "text", "text+image", "image", "text+image"]
    (rows,), _, _ = drawn(part_of(6, 4), *world(kinds, [3], ["text+image"]))
    assert kinds_of(rows, "wrong") == {"d001", "d002"} and kinds_of(rows, "unsatisfactory") == {"d005"}


def test_a_tie_across_the_end_of_the_list_is_searched_to_its_end():
    rng = np.random.default_rng(0)
    place = rng.permutation(500)
    vectors = np.ones((500, 1), np.float32)
    vectors[:3] = 2
    ids, scores = ranked_by_id(Space(np.ones((3, 1), np.float32), vectors, "dot"), np.arange(3), 5, place)
    expected = sorted(range(500), key=lambda i: (-vectors[i, 0], place[i]))[:5]
    assert ids.tolist() == [expected] * 3 and scores[0].tolist() == [2, 2, 2, 1, 1]


def test_seeds_draw_apart():
    task, space = world("TTTTTTTTTI", [9], queries=100)
    one, other = (drawn(part_of(10, 9, per_anchor=3, seed=seed), task, space)[0] for seed in (0, 1))
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 10 and len({tuple(row) for row in one}) > 50


def test_bias_counts_queries_whose_first_documents_hold_a_wrong_kind():
    ranked = np.array([[0, 1]] * 3 + [[1, 0]] * 6 + [[-1, -1]])
    assert attribute_bias(ranked, ["T", "I"], ["I"] * 10) == pytest.approx(0.3)
    assert attribute_bias(ranked, ["T", "I"], ["I"] * 10, k=2) == pytest.approx(0.9)
    assert attribute_bias(ranked, ["I", "I"], ["I"] * 10, k=2) == 0
    with pytest.raises(ValueError, match=r"k must be in \[1, 2\], got 3"):
        attribute_bias(ranked, ["T", "I"], ["I"] * 10, k=3)
    with pytest.raises(ValueError, match="one desired value per query"):
        attribute_bias(ranked, ["T", "I"], ["I"])
    with pytest.raises(ValueError, match=r"rows in \[0, 1\), got 1"):
        attribute_bias(ranked, ["T"], ["I"] * 10)
