"""The error bound against errors that do happen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.search.bounds import Bounds
from litotes.search.definition import SIMILARITIES, gamma, norms
from litotes.search.problem import Problem
from litotes.search.scan import TorchScan

PRECISIONS = ["bfloat16", "float32"]


def scanned(queries, corpus, similarity, precision):
    """What the scan multiplies: (products, what they should be, bound of the difference), float64 [Q, N]."""
    lengths = norms(queries), norms(corpus)
    bounds = Bounds.of(similarity, queries.shape[1], precision, "cpu", lengths[0], lengths[1].max())
    problem = Problem(queries, corpus, similarity, *lengths, np.full(len(queries), 1), None, None)
    scan, rows = TorchScan(problem, bounds, "cpu", 1, 64), slice(0, len(queries))
    q, q_errors = scan._lowered(queries, bounds.query_factors(rows), None)
    x, x_errors = scan._lowered(corpus, bounds.document_factors(lengths[1]), bounds.halves(lengths[1]))
    products = (q @ x.T)[: len(queries), : len(corpus)].double().numpy()
    own, part = bounds.query_terms(rows, q_errors), bounds.document_terms(lengths[1], x_errors)
    error = (
        own[:, :1] * part[:, 0] + own[:, 1:2] * part[:, 1] + own[:, 2:3] + part[:, 2] + bounds.output * abs(products)
    )
    exact_q = queries.astype(np.float64) * bounds.query_factors(rows)[:, None]
    exact_x = corpus.astype(np.float64) * bounds.document_factors(lengths[1])[:, None]
    exact = exact_q @ exact_x.T
    if similarity == "l2":
        exact = exact - 0.5 * (exact_x**2).sum(axis=1)
    return products, exact, error


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 7, 40, 384]), st.integers(-30, 30), st.booleans())
def test_no_product_strays_further_than_its_bound(similarity, precision, seed, dimensions, power, positive):
    rng = np.random.default_rng(seed)
    queries, corpus = (rng.standard_normal((rows, dimensions), dtype=np.float32) for rows in (40, 60))
    if positive:  # everything in one direction: sums grow long and lose digits
        queries, corpus = abs(queries), abs(corpus)
    corpus *= np.float32(2.0**power) * 10 ** rng.integers(-6, 7, (60, 1)).astype(np.float32)
    products, exact, error = scanned(queries, corpus, similarity, precision)
    assert (abs(products - exact) <= error).all()


def test_without_the_accumulation_term_the_bound_would_not_hold():
    corpus = np.full((40, 4096), np.float32(2.0**-25))  # bfloat16 has all of it, and a sum that stands at 1 loses it
    corpus[:, 0], corpus[:, -1] = 1, -1
    queries, unit = np.ones((32, 4096), np.float32), 2.0**-8  # lengths 64 and sqrt(2) are brought below 1
    products, exact, error = scanned(queries, corpus, "dot", "bfloat16")
    gap, term = abs(products - exact), gamma(4096, 2.0**-23) * norms(queries)[0] * norms(corpus)[0] * unit
    assert (gap <= error).all() and (gap > error - term).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_where_all_errors_point_one_way_the_bound_is_nearly_reached(similarity):
    # 1 + 2^-8 - 2^-12 lies just below half a step above 1 in bfloat16, so every number loses the most it can
    vectors = np.full((40, 64), np.float32(1 + 2**-8 - 2**-12))
    products, exact, error = scanned(vectors, vectors, similarity, "bfloat16")
    gap = abs(products - exact)
    assert (gap <= error).all()
    if similarity != "cosine":  # there the length is divided by first
        assert (error < 4 * gap).all()


def test_the_constants_of_each_device_are_those_in_the_docstring():
    made = {
        (device, precision): Bounds.of("dot", 384, precision, device, np.ones(1), 1.0)
        for device in ("cpu", "cuda", "cuda:1")
        for precision in PRECISIONS
    }
    assert made["cpu", "float32"].accumulation == made["cuda:1", "float32"].accumulation == gamma(384, 2.0**-24)
    assert made["cpu", "bfloat16"].accumulation == gamma(384, 2.0**-23)
    assert made["cuda", "bfloat16"].accumulation == gamma(768, 2.0**-23)
    assert {precision: made["cpu", precision].output for precision in PRECISIONS} == {"bfloat16": 2**-8, "float32": 0}
    assert Bounds.of("l2", 384, "bfloat16", "cpu", np.ones(1), 1.0).depth == 416


@given(st.sampled_from(SIMILARITIES), st.integers(0, 1000), st.integers(-20, 20))
def test_bounds_around_a_known_score_hold_the_true_one(similarity, seed, power):
    from litotes.search.definition import defined

    rng = np.random.default_rng(seed)
    queries, corpus = (rng.standard_normal((10, 8), dtype=np.float32) * np.float32(2.0**power) for _ in range(2))
    _, exact, _ = scanned(queries, corpus, similarity, "float32")
    lengths = norms(queries), norms(corpus)
    bounds = Bounds.of(similarity, 8, "float32", "cpu", lengths[0], lengths[1].max())
    scores = np.stack([defined(np.broadcast_to(query, corpus.shape), corpus, similarity) for query in queries])
    least, most = bounds.around(scores, np.arange(10), np.broadcast_to(lengths[1], (10, 10)))
    assert (least <= exact).all() and (exact <= most).all() and (most - least < 1e-5).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@given(st.floats(-2, 2))
def test_the_torch_scan_takes_every_product_that_may_reach_the_line_and_few_others(precision, line):
    bounds = Bounds.of("dot", 4, precision, "cpu", np.ones(1), 1.0)
    problem = Problem(*[np.ones((1, 4), np.float32)] * 2, "dot", np.ones(1), np.ones(1), np.ones(1, int), None, None)
    near = torch.linspace(line - 0.1, line + 0.1, 999).to(getattr(torch, precision)).unique()
    values = near.double().numpy()
    nothing = torch.zeros((1, 7), dtype=torch.float64), torch.zeros((1, 3), dtype=torch.float64)
    lines = torch.tensor([line], dtype=torch.float64)
    _, found = TorchScan(problem, bounds, "cpu", 1, 64)._above(near[None], lines, *nothing)
    taken, reach = np.isin(np.arange(len(values)), found.numpy()), values + bounds.output * abs(values)
    assert (taken | (reach < line)).all()
    assert not (taken & (reach < line - 3 * 2.0**-8 * abs(line) - 1e-30)).any()
