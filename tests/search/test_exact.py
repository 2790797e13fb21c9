"""The certified search against an exhaustive scan by the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.errors import BadInput
from litotes.search.definition import SIMILARITIES, defined, norms
from litotes.search.exact import _full_products, top_k
from litotes.search.scan import Float32Scan

few = st.sampled_from([-1.0, 0.0, 0.5, 0.5 + 2**-12, 0.5 + 2**-23])  # many ties, and pairs that float32 sums confuse
wild = st.sampled_from([1e30, -3e38, 1e-40, 1.0, 1.0 + 2**-23, 0.0])
similarities = st.sampled_from(SIMILARITIES)


@st.composite
def searches(draw, elements=few):
    wide = draw(st.integers(1, 6))
    queries = draw(arrays(np.float32, (draw(st.integers(1, 4)), wide), elements=elements))
    corpus = draw(arrays(np.float32, (draw(st.integers(1, 14)), wide), elements=elements))
    items = [draw(st.lists(st.integers(0, len(corpus) - 1), max_size=6)) for _ in queries]
    return queries, corpus, csr(items)


def csr(items):
    offsets = np.cumsum([0] + [len(row) for row in items]).astype(np.int64)
    return offsets, np.array([item for row in items for item in row], np.int32)


def exhaustive(queries, corpus, k, similarity, exclude):
    """Every document scored by the definition, sorted by score and row."""
    ids, scores = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
    for i, query in enumerate(queries):
        all_scores = defined(np.broadcast_to(query, corpus.shape), corpus, similarity)
        banned = set(exclude[1][exclude[0][i] : exclude[0][i + 1]].tolist())
        best = sorted((row for row in range(len(corpus)) if row not in banned), key=lambda row: (-all_scores[row], row))
        ids[i, : len(best[:k])], scores[i, : len(best[:k])] = best[:k], all_scores[best[:k]]
    return ids, scores


def same(one, other):
    return one[0].tolist() == other[0].tolist() and one[1].tobytes() == other[1].tobytes()


@given(
    searches(), st.integers(1, 18), similarities, st.integers(1, 5), st.integers(1, 16), st.sampled_from([0, 1, None])
)
def test_it_is_the_exhaustive_scan_whatever_the_blocks_and_the_slack(data, k, similarity, rows, columns, slack):
    queries, corpus, exclude = data
    options = {"query_block": rows, "corpus_block": columns, "slack": slack}
    found = top_k(queries, corpus, k, similarity=similarity, exclude=exclude, **options)
    assert same(found, exhaustive(queries, corpus, k, similarity, exclude))
    assert found[0].dtype == np.int32 and found[1].dtype == np.float32


@given(searches(wild), st.integers(1, 9), similarities, st.integers(1, 16))
def test_neither_overflow_nor_underflow_loses_a_document(data, k, similarity, columns):
    queries, corpus, exclude = data
    found = top_k(queries, corpus, k, similarity=similarity, exclude=exclude, corpus_block=columns, slack=0)
    assert same(found, exhaustive(queries, corpus, k, similarity, exclude))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_near_ties_that_a_float32_scan_orders_wrongly_come_out_right(similarity):
    rng = np.random.default_rng(5)
    base = rng.standard_normal((1, 64)).astype(np.float32)
    corpus = base + np.float32(2e-7) * rng.standard_normal((300, 64)).astype(np.float32)
    queries, nothing = base + np.float32(0.5), (np.zeros(2, np.int64), np.zeros(0, np.int32))
    wanted = exhaustive(queries, corpus, 5, similarity, nothing)
    scan = Float32Scan(queries, corpus, similarity, norms(queries), norms(corpus))
    scanned = scan.scores(slice(0, 1), scan.block(slice(0, 300))).topk(5).indices.numpy()
    assert scanned.tolist() != wanted[0].tolist()  # so there is something to repair
    assert same(top_k(queries, corpus, 5, similarity=similarity, slack=0), wanted)


@given(searches(few | wild | st.floats(-100, 100, width=32)), similarities)
def test_nothing_below_the_floor_reaches_the_score(data, similarity):
    queries, corpus, _ = data
    scan = Float32Scan(queries, corpus, similarity, norms(queries), norms(corpus))
    scanned = scan.scores(slice(0, len(queries)), scan.block(slice(0, len(corpus)))).numpy()
    for i, query in enumerate(queries):
        scores = defined(np.broadcast_to(query, corpus.shape), corpus, similarity)
        for reached, row in zip(scores, scanned[i], strict=True):
            floor = scan.floor(np.array([reached]), np.array([i]))[0]
            assert row >= floor  # a document with exactly this score may not be thrown away


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("length", [1.0, 1e-18, 1e15])
def test_the_floor_allows_for_the_rounding_of_the_scan(similarity, length):
    noise = np.float32(length) * np.random.default_rng(4).standard_normal((220, 384)).astype(np.float32)
    queries, corpus = noise[:20], noise[20:]
    scan = Float32Scan(queries, corpus, similarity, norms(queries), norms(corpus))
    scanned = scan.scores(slice(0, 20), scan.block(slice(0, 200))).numpy()
    scores = np.stack([defined(np.broadcast_to(query, corpus.shape), corpus, similarity) for query in queries])
    floors = np.stack([scan.floor(column, np.arange(20)) for column in scores.T], axis=1)
    gap = scan.error[:, None]
    assert (scanned >= floors).all() and (scanned - floors < 4 * gap).all()  # safe, and no looser than the bound says


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_floor_is_near_enough_to_certify_ordinary_vectors(similarity):
    noise = np.random.default_rng(1).standard_normal((400, 64)).astype(np.float32)
    queries, corpus = noise[:20], noise[20:]
    scan = Float32Scan(queries, corpus, similarity, norms(queries), norms(corpus))
    scanned = scan.scores(slice(0, 20), scan.block(slice(0, 380))).sort(dim=1, descending=True).values.numpy()
    _, scores = top_k(queries, corpus, 10, similarity=similarity)
    assert (scanned[:, 18] < scan.floor(scores[:, 9], np.arange(20))).mean() > 0.9


def test_the_answer_does_not_depend_on_threads_or_on_lowered_product_precision():
    noise = np.random.default_rng(2).standard_normal((600, 96)).astype(np.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for count, precision in ((1, "highest"), (2, "medium")):
            torch.set_num_threads(count)
            torch.set_float32_matmul_precision(precision)
            found.append(top_k(noise[:100], noise[100:], 20))
            assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
    assert same(*found)


def test_products_are_full_while_the_search_runs_and_as_before_afterwards():
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(KeyError), _full_products():
            assert torch.get_float32_matmul_precision() == "highest"
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_three_documents_and_a_k_of_five():
    corpus = np.float32([[1, 0], [0, 1], [1, 0]])
    ids, scores = top_k(np.float32([[2, 0]]), corpus, 5, exclude=csr([[0, 0]]))
    assert ids.tolist() == [[2, 1, -1, -1, -1]] and scores.tolist() == [[1.0, 0.0, *[-np.inf] * 3]]
    assert top_k(np.float32([[2, 0]]), corpus, 2)[0].tolist() == [[0, 2]]


def test_no_queries_no_documents_and_everything_excluded():
    one, none = np.ones((1, 3), np.float32), np.zeros((0, 3), np.float32)
    assert top_k(none, one, 2)[0].shape == (0, 2) and top_k(one, none, 2)[0].tolist() == [[-1, -1]]
    assert top_k(one, one, 1, exclude=csr([[0]]))[0].tolist() == [[-1]]


@pytest.mark.parametrize("side", ["queries", "corpus"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_input_and_row(side, bad):
    vectors = {"queries": np.ones((3, 2), np.float32), "corpus": np.ones((5000, 2), np.float32)}
    vectors[side][2, 1] = bad
    with pytest.raises(BadInput, match=rf"'{side}': found NaN or infinity in row 2, expected finite"):
        top_k(**vectors, k=1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": 0}, "k must be a whole number >= 1, got 0"),
        ({"k": 1.5}, "k must be a whole number >= 1, got 1.5"),
        ({"slack": -1}, "slack must be a whole number >= 0, got -1"),
        ({"corpus_block": 0}, "corpus_block must be"),
        ({"similarity": "euclid"}, "'cosine', 'dot' or 'l2', got 'euclid'"),
        ({"queries": np.ones((1, 3), np.float32)}, "queries have 3 dimensions, the corpus has 2"),
        ({"queries": np.ones((1, 2))}, "found dtype float64, expected float32"),
        ({"queries": np.ones(2, np.float32)}, r"found \[2\], expected a matrix"),
        ({"exclude": (np.array([0, 1]), np.array([4]))}, r"document rows in \[0, 4\), got 4 to 4"),
        ({"exclude": (np.array([0, 1, 1]), np.array([0]))}, r"need offsets \[2\]"),
        ({"exclude": (np.array([0, 2]), np.array([0]))}, "rise from 0 to 1"),
        ({"exclude": (np.array([0.0, 1.0]), np.array([0]))}, "need integers"),
    ],
)
def test_bad_arguments_are_named(change, message):
    fine = {"queries": np.ones((1, 2), np.float32), "corpus": np.ones((4, 2), np.float32), "k": 1}
    with pytest.raises(ValueError, match=message):
        top_k(**(fine | change))
