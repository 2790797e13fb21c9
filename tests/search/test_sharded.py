"""Shards answer as one corpus does: the merge of exact parts is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.errors import BadInput
from litotes.search.definition import SIMILARITIES, defined
from litotes.search.mask import Mask
from litotes.search.sharded import Joined, ShardedSpace, cut, merge
from litotes.search.space import Space

FEW = st.sampled_from([-1.0, 0.0, 0.5, 1.0])  # few values: many exact ties


def matrix(draw, rows, width):
    values = [[draw(FEW) for _ in range(width)] for _ in range(rows)]
    return np.array(values, np.float32).reshape(rows, width)


def slowly(queries, corpus, similarity, each, mask):
    """The definition and a sort, one query at a time."""
    wide = max(each, default=0)
    ids, scores = np.full((len(queries), wide), -1), np.full((len(queries), wide), -np.inf, np.float32)
    for row, query in enumerate(queries):
        there = np.arange(len(corpus))
        if mask is not None:
            there = there[mask.keeps(np.full(len(there), row), there)]
        found = defined(np.repeat(query[None], len(there), 0), corpus[there], similarity) if len(there) else []
        best = sorted(zip(-np.array(found), there.tolist(), strict=True))[: each[row]]
        ids[row, : len(best)] = [document for _, document in best]
        scores[row, : len(best)] = [-score for score, _ in best]
    return ids, scores


@st.composite
def searches(draw):
    queries, documents = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    corpus = matrix(draw, documents, 2)
    bounds = sorted(draw(st.lists(st.integers(0, documents), max_size=3)))  # equal bounds: empty shards
    shards = np.split(corpus, bounds)
    each = [draw(st.integers(1, 12)) for _ in range(queries)]
    mask = None
    if draw(st.booleans()):
        items = [sorted(draw(st.sets(st.integers(0, documents - 1)))) for _ in range(queries)]
        offsets = np.cumsum([0, *map(len, items)])
        groups = [np.array([draw(st.integers(-1, 2)) for _ in range(n)]) for n in (queries, documents)]
        allowed = np.array([draw(st.booleans()) for _ in range(documents)])
        exclude = offsets, np.array(sum(items, []), np.int32)
        mask = Mask.of(queries, documents, exclude=exclude, groups=tuple(groups), allowed=allowed)
    return matrix(draw, queries, 2), shards, draw(st.sampled_from(SIMILARITIES)), each, mask


@given(searches())
def test_shards_answer_as_one_corpus_does(search):
    queries, shards, similarity, each, mask = search
    space = ShardedSpace(queries, shards, similarity)
    ids, scores = space.top_k(np.arange(len(queries)), np.array(each), mask)
    for made, wanted in zip(
        (ids, scores), slowly(queries, np.concatenate(shards), similarity, each, mask), strict=True
    ):
        assert made.tolist() == wanted.tolist()
    assert ids.dtype == np.int32 and scores.dtype == np.float32


@given(st.data(), st.integers(1, 4), st.integers(1, 5))
def test_the_order_of_the_parts_does_not_matter_and_merging_twice_is_merging_once(data, parts, k):
    rows = data.draw(st.permutations(range(12)))
    bounds = sorted(data.draw(st.lists(st.integers(0, 12), min_size=parts - 1, max_size=parts - 1)))
    made = []
    for ids in np.split(np.array(rows), bounds):
        scores = np.float32([data.draw(FEW) for _ in ids])
        order = np.lexsort((ids, -scores))[:k]
        padded = np.full((1, k), -1), np.full((1, k), -np.inf, np.float32)
        padded[0][0, : len(order)], padded[1][0, : len(order)] = ids[order], scores[order]
        made.append(padded)
    whole = merge(made, k)
    for other in (merge(made[::-1], k), merge([merge(made[:1], k), *made[1:]], k), merge([whole], k)):
        assert [part.tolist() for part in other] == [part.tolist() for part in whole]


def test_a_score_of_minus_infinity_is_a_score_and_comes_before_nothing():
    low = np.array([[7, -1]]), np.array([[-np.inf, -np.inf]], np.float32)
    more = np.array([[3, -1]]), np.array([[-np.inf, -np.inf]], np.float32)
    assert merge([low, more], 3)[0].tolist() == [[3, 7, -1]]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_pairs_norms_and_rows_are_those_of_the_whole(similarity, tmp_path):
    noise = np.random.default_rng(0).standard_normal((9000, 8)).astype(np.float32)
    np.save(tmp_path / "part.npy", noise[3000:])
    queries, shards = noise[:8300], [noise[:1], noise[1:3000], np.load(tmp_path / "part.npy", mmap_mode="r")]
    whole, cut_up = Space(queries, noise, similarity), ShardedSpace(queries, shards, similarity)
    rows = np.arange(8299, -1, -1)  # more queries than are asked at once
    documents = (rows * 7) % 9000
    assert cut_up.pairs(rows, documents).tobytes() == whole.pairs(rows, documents).tobytes()
    assert (cut_up.corpus_norms == whole.corpus_norms).all() and (cut_up.query_norms == whole.query_norms).all()
    exclude = Mask.of(8300, 9000, exclude=(np.arange(8301), rows.astype(np.int32)))
    for made, wanted in zip(cut_up.top_k(rows, 3, exclude), whole.top_k(rows, 3, exclude), strict=True):
        assert made.tobytes() == wanted.tobytes()
    joined = Joined(shards)
    assert (joined[[0, -1, 2999, 3000]] == noise[[0, -1, 2999, 3000]]).all() and (
        joined[2998:3002] == noise[2998:3002]
    ).all()


def test_other_documents_and_another_folder(tmp_path):
    noise = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    space = ShardedSpace(noise[:5], [noise[:20], noise[20:]], "l2", "noise", "abc")
    made = space.kept_in(tmp_path)
    assert (made.folder, space.folder, made.checksum) == (tmp_path, None, "abc") and made.shards is space.shards
    rows = np.arange(5)
    for one, wanted in zip(
        space.over(noise[7:]).top_k(rows, 3), Space(noise[:5], noise[7:], "l2").top_k(rows, 3), strict=True
    ):
        assert one.tobytes() == wanted.tobytes()


@given(st.integers(0, 20), st.integers(1, 30))
def test_a_cut_is_even_and_whole(rows, shards):
    corpus = np.arange(rows, dtype=np.float32)[:, None]
    made = cut(corpus, shards)
    assert np.concatenate(made).tolist() == corpus.tolist() and len(made) == max(1, min(rows, shards))
    assert max(map(len, made)) - min(map(len, made)) <= 1


def test_what_does_not_fit_is_refused():
    fine = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="at least one shard, got none"):
        ShardedSpace(fine, [])
    with pytest.raises(ValueError, match="queries have 2 dimensions, shard 1 has 1"):
        ShardedSpace(fine, [fine, fine[:, :1].copy()])
    with pytest.raises(BadInput, match="'shard 0': found NaN or infinity in row 1"):
        ShardedSpace(fine, [np.float32([[1, 1], [np.inf, 1]])])
    with pytest.raises(ValueError, match="similarity must be"):
        ShardedSpace(fine, [fine], "taxicab")
    space = ShardedSpace(fine, [fine])
    for k in (0, 1.5, np.array([1, -1, 1])):
        with pytest.raises(ValueError, match="k must be"):
            space.top_k(np.arange(3), k)
    with pytest.raises(ValueError, match=r"query_rows must be in \[0, 3\), got 0 to 3"):
        space.top_k(np.array([0, 3]), 1)
    with pytest.raises(ValueError, match="expected a mask of 3 queries over 3 documents, got one of 2 over 3"):
        space.top_k(np.arange(3), 1, Mask.of(2, 3))
    with pytest.raises(ValueError, match="2 query rows, but 1 document rows"):
        space.pairs(np.array([0, 0]), np.array([2]))
    with pytest.raises(ValueError, match="at least one part"):
        merge([], 1)
    with pytest.raises(ValueError, match="Q the same"):
        merge([(np.zeros((1, 1), int), np.zeros((1, 1))), (np.zeros((2, 1), int), np.zeros((2, 1)))], 1)
    with pytest.raises(ValueError, match="shards must be >= 1, got 0"):
        cut(fine, 0)
