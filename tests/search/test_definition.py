"""The definition, as a loop over d in plain Python, against what computes it fast."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.search.definition import SIMILARITIES, defined, in_sequence, norms, score_pairs

few = st.sampled_from([-1.0, 0.0, 0.5, 0.5 + 2**-12, 3.0, 1e30, 1e-30])
numbers = few | st.floats(-100, 100, width=32)


@st.composite
def aligned(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 9)))
    return [draw(arrays(np.float32, shape, elements=numbers)) for _ in range(2)]


def slowly(q, x, similarity):
    """One pair, one dimension at a time; Python's floats are float64."""
    dot = square_q = square_x = distance = 0.0
    for a, b in zip(map(float, q), map(float, x), strict=True):
        dot, distance = dot + a * b, distance + (a - b) * (a - b)
        square_q, square_x = square_q + a * a, square_x + b * b
    scale = math.sqrt(square_q) * math.sqrt(square_x)
    score = {"dot": dot, "l2": -distance, "cosine": min(1.0, max(-1.0, dot / scale)) if scale else 0.0}[similarity]
    with np.errstate(over="ignore"):
        return np.float32(score) + np.float32(0)


def bits(values):
    return np.asarray(values, np.float32).view(np.int32).tolist()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(pair=aligned())
def test_the_fast_way_has_the_bits_of_the_loop(similarity, pair):
    queries, documents = pair
    wanted = [slowly(q, x, similarity) for q, x in zip(queries, documents, strict=True)]
    rows = np.arange(len(queries))
    fast = score_pairs(queries, documents, rows, rows, similarity, norms(queries), norms(documents))
    assert bits(fast) == bits(defined(queries, documents, similarity)) == bits(wanted)


@pytest.mark.parametrize("count", [1, 2, 7, 600])
def test_sums_run_in_the_order_of_the_dimensions_even_where_numpy_would_sum_in_pairs(count):
    noise = np.random.default_rng(3).standard_normal((2, 384, count))
    wanted = [0.0] * count
    for left, right in zip(*noise, strict=True):
        wanted = [total + a * b for total, a, b in zip(wanted, left.tolist(), right.tolist(), strict=True)]
    assert in_sequence(*noise).tolist() == wanted
    in_pairs = np.ascontiguousarray(noise.prod(axis=0).T).sum(axis=1)  # NumPy's order along contiguous memory
    assert in_pairs.tolist() != wanted  # so the order does show in the bits


def test_a_sum_that_falls_on_a_rounding_edge_is_taken_in_sequence():
    q = np.float32(
        [[1.0, 2.0**-24, 2.0**-53, 2.0**-53]]
    )  # in sequence the small ones are lost; in pairs they tip it up
    ones = np.ones_like(q)
    assert score_pairs(q, ones, np.zeros(1, int), np.zeros(1, int), "dot", norms(q), norms(ones))[0] == 1.0
    tipped = q[:, ::-1].copy()
    assert score_pairs(tipped, ones, np.zeros(1, int), np.zeros(1, int), "dot", norms(tipped), norms(ones))[0] > 1.0


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_chunks_do_not_show(threads):
    noise = np.random.default_rng(0).standard_normal((50, 33)).astype(np.float32)
    rows = np.random.default_rng(1).integers(0, 50, (2, 2000))
    one_by_one = [slowly(noise[a], noise[b], "cosine") for a, b in rows.T]
    assert bits(score_pairs(noise, noise, *rows, "cosine", norms(noise), norms(noise), threads)) == bits(one_by_one)


def test_edges_by_hand():
    zero, one, minus = np.float32([[0, 0]]), np.float32([[3, 4]]), np.float32([[-0.0, 0.0]])
    assert bits(defined(zero, one, "cosine")) == bits([0.0]) and bits(defined(minus, one, "dot")) == bits([0.0])
    assert bits(defined(one, one, "l2")) == bits([0.0]) and bits(defined(one, one, "cosine")) == bits([1.0])
    assert bits(defined(one, -one, "cosine")) == bits([-1.0]) and bits(defined(zero, one, "l2")) == bits([-25.0])
    huge = np.float32([[3e38, 3e38]])
    assert defined(huge, huge, "dot")[0] == np.inf and defined(huge, zero, "l2")[0] == -np.inf
