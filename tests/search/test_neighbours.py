"""Self-joins and graphs against all pairs, scored one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.search.approximate import ApproximateIndex
from litotes.search.components import labels, near_duplicates
from litotes.search.definition import SIMILARITIES, defined
from litotes.search.mask import Mask
from litotes.search.neighbours import Graph, neighbours

few = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
matrices = st.integers(1, 12).flatmap(lambda n: arrays(np.float32, (n, 2), elements=few))
similarities = st.sampled_from(SIMILARITIES)


def all_pairs(vectors, similarity):
    """Every score by the definition, [N, N]."""
    count = len(vectors)
    left, right = np.repeat(vectors, count, axis=0), np.tile(vectors, (count, 1))
    return defined(left, right, similarity).reshape(count, count)


@given(matrices, st.integers(1, 14), similarities, st.booleans())
def test_a_self_join_ranks_all_other_rows_copies_included(vectors, k, similarity, odd_apart):
    scores, count = all_pairs(vectors, similarity), len(vectors)
    parity = np.arange(count) % 2
    mask = Mask.of(count, count, groups=(parity, parity)) if odd_apart else None
    ids, found = neighbours(vectors, k=k, similarity=similarity, mask=mask)
    assert ids.shape == found.shape == (count, k) and ids.dtype == np.int32
    for i in range(count):
        there = [j for j in range(count) if j != i and not (odd_apart and parity[i] == parity[j])]
        wanted = sorted(there, key=lambda j: (-scores[i, j], j))[:k]
        assert ids[i].tolist() == wanted + [-1] * (k - len(wanted))
        assert found[i, : len(wanted)].tolist() == scores[i, wanted].tolist()


def test_known_positives_are_never_neighbours_and_an_index_is_asked_if_given():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    queries, corpus = (rng.standard_normal((n, 6)).astype(np.float32) for n in (20, 300))
    first = neighbours(queries, corpus, 1)[0]
    ids, _ = neighbours(queries, corpus, 5, exclude=(np.arange(21), first.ravel()))
    assert (ids[:, :4] == neighbours(queries, corpus, 5)[0][:, 1:]).all()
    index = ApproximateIndex.build(corpus, kind="hnsw", threads=1)
    near, _ = neighbours(queries, corpus, 5, exclude=(np.arange(21), first.ravel()), index=index)
    assert (near == ids).mean() > 0.9 and not (near == first).any()
    assert not (neighbours(corpus, k=3, index=index)[0] == np.arange(300)[:, None]).any()
    with pytest.raises(ValueError, match=r"index must be one of the corpus \[20, 6\], got one of \[300, 6\]"):
        neighbours(queries, k=3, index=index)


@given(matrices, st.integers(1, 4), st.floats(-3, 3))
def test_mutual_edges_go_both_ways_and_components_are_what_can_be_reached(vectors, k, threshold):
    graph = Graph.of(*neighbours(vectors, k=k, similarity="dot"))
    edges = dict(zip(zip(graph.rows.tolist(), graph.items.tolist(), strict=True), graph.scores.tolist(), strict=True))
    mutual, above = graph.mutual(), graph.above(threshold)
    pairs = lambda one: list(zip(one.rows.tolist(), one.items.tolist(), strict=True))
    assert pairs(mutual) == [(i, j) for i, j in edges if (j, i) in edges]
    assert pairs(above) == [edge for edge, score in edges.items() if score >= np.float32(threshold)]
    assert graph.components().tolist() == reached(len(vectors), edges)
    assert above.components().tolist() == reached(len(vectors), pairs(above))


def reached(count, edges):
    """The lowest row that can be reached from each, by walking."""
    near = {i: {i} for i in range(count)}
    for i, j in edges:
        near[i].add(j)
        near[j].add(i)
    lowest = []
    for start in range(count):
        seen, waiting = {start}, [start]
        while waiting:
            fresh = near[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        lowest.append(min(seen))
    return lowest


@given(matrices, similarities, st.integers(1, 3), st.data())
def test_near_duplicates_are_the_components_of_all_pairs_at_or_above_the_threshold(vectors, similarity, at_once, data):
    scores, count = all_pairs(vectors, similarity), len(vectors)
    there = sorted({float(score) for score in scores.ravel() if similarity != "l2" or score <= 0})
    threshold = data.draw(st.sampled_from(there))  # a score itself: equality joins
    edges = [(i, j) for i in range(count) for j in range(count) if i != j and scores[i, j] >= np.float32(threshold)]
    made = near_duplicates(vectors, threshold, similarity=similarity, at_once=at_once)
    assert made.tolist() == reached(count, edges) and made.dtype == np.int32


def test_large_clusters_and_long_chains_hang_together_though_few_neighbours_are_asked_at_once():
    angle = np.concatenate([np.full(300, 0.0), 1.0 + 0.01 * np.arange(100), [3.0, 3.0]])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    made = near_duplicates(vectors, float(np.cos(0.0105)), at_once=2)
    assert made.tolist() == [0] * 300 + [300] * 100 + [400] * 2
    assert near_duplicates(vectors[:0], 0.5).tolist() == [] and labels(*np.zeros((2, 0), int), 2).tolist() == [0, 1]


def test_what_cannot_be_is_refused():
    one = np.ones((2, 2), np.float32)
    for threshold in (1.01, float("nan")):
        with pytest.raises(ValueError, match=rf"threshold must be in \[-1, 1\] for cosine, got {threshold}"):
            near_duplicates(one, threshold)
    with pytest.raises(ValueError, match=r"threshold must be in \[-inf, 0\] for l2, got 0.5"):
        near_duplicates(one, 0.5, similarity="l2")
    with pytest.raises(ValueError, match="at_once must be a whole number >= 1, got 0"):
        near_duplicates(one, 0.5, at_once=0)
    with pytest.raises(ValueError, match=r"ids must be rows in \[0, 2\) or -1, got 0 to 2"):
        Graph.of(np.array([[0], [2]]), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"ids and scores must be \[N, k\], got \[2, 1\] and \[2\]"):
        Graph.of(np.zeros((2, 1), int), np.zeros(2))
