"""The compiled loops, each against what NumPy, torch or the definition says."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litotes.search import compiled, kernels
from litotes.search.definition import SIMILARITIES, norms, score_pairs

numbers = st.floats(-100, 100, width=32) | st.sampled_from([0.0, -0.0, 1e30, -1e-40, 2.0**24, 1 + 2**-8, 1 + 3 * 2**-8])
rows = st.tuples(st.integers(1, 21), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=numbers)
)


@given(rows, st.integers(1, 3))
def test_norms_have_the_bits_of_the_definition(vectors, threads):
    assert compiled.norms(vectors, threads).tobytes() == norms(vectors).tobytes()


def test_norms_of_many_rows_are_summed_in_sequence():
    vectors = np.random.default_rng(0).standard_normal((5000, 100), dtype=np.float32)
    assert compiled.norms(vectors, 2).tobytes() == norms(vectors).tobytes()
    assert (np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1)) != norms(vectors)).any()  # so the order does show


@given(rows, st.sampled_from([1.0, 0.5, 1 / 3]), st.integers(0, 3))
def test_low_precision_is_to_the_nearest_and_says_what_it_lost(vectors, factor, pieces):
    count, wide = vectors.shape
    exact = vectors.astype(np.float64) * factor
    halves = -0.5 * np.random.default_rng(0).random(count)
    for lower, kind, stored in (
        (kernels.lower_bfloat16, torch.bfloat16, np.uint16),
        (kernels.lower_float32, torch.float32, np.float32),
    ):
        low, errors = torch.full((count, wide + 4), 7.0).to(kind), np.zeros(count)
        view = (low.view(torch.int16) if kind == torch.bfloat16 else low).numpy().view(stored)
        lower(vectors, wide, np.arange(count), np.full(count, factor), halves, pieces, view, errors)
        wanted = torch.from_numpy(exact.astype(np.float32)).to(kind)
        assert torch.equal(low[:, :wide].view(torch.int8), wanted.contiguous().view(torch.int8))
        lost = np.sqrt(((exact - wanted.double().numpy()) ** 2).sum(axis=1))
        assert np.allclose(errors, lost, rtol=1e-12, atol=0)
        sums = low[:, wide : wide + pieces].double().sum(dim=1).numpy()
        held = {torch.bfloat16: 8, torch.float32: 24}[kind] * pieces
        assert (abs(sums - halves) <= 2.0**-held * abs(halves)).all() or not pieces
        assert (low[:, wide + pieces :] == 7).all()


def every_bfloat16():
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    return values[~values.isnan()]


@given(st.floats(-2, 2) | st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-39, -1e-39, 1.0, -1.0, -np.inf]))
def test_a_tile_is_compared_with_the_next_score_below_the_line(line):
    values = every_bfloat16()
    floor = kernels._under(line)
    assert floor <= line and (line in (-np.inf,) or line - floor <= abs(line) * 2.0**-21 + 1e-44)
    wide = -(-len(values) // 32) * 32
    padded = torch.nn.functional.pad(values, (0, wide - len(values)), value=-torch.inf)[None]
    for scores, dtype in ((padded.view(torch.int16).numpy(), np.int16), (padded.float().numpy(), np.float32)):
        found = _bits(scores, kernels._ordered(floor) if dtype == np.int16 else floor)
        missed = (padded.double().numpy() >= line) & ~found  # nothing at or above the line may be missed
        assert not missed.any()
        needless = found & (padded.double().numpy() < line - abs(line) * 2.0**-6 - 1e-37)
        assert not needless.any()


@numba.njit
def _all_bits(scores, line, out):
    for start in range(0, scores.shape[1], 32):
        bits = kernels._above(scores, 0, start, line)
        for i in range(32):
            out[0, start + i] = (bits >> np.uint32(i)) & np.uint32(1)


def _bits(scores, line):
    out = np.zeros(scores.shape, np.bool_)
    _all_bits(scores, line, out)
    return out


@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-4, 4, width=32) | st.just(0.5)), st.data())
def test_the_k_th_largest_is_found_or_undercut_by_little(values, data):
    k = data.draw(st.integers(1, len(values)))
    wanted = np.sort(values)[::-1][k - 1]
    assert kernels._largest(values.copy(), len(values), k) == wanted
    for line in (-np.inf, float(wanted) - 0.25, -5.0):
        near = kernels._near_largest(values[None].copy(), 0, len(values), k, line, np.empty_like(values))
        assert near <= wanted
        kept = (values >= near).sum()  # among values that do not tie with the k-th, few more than k are let through
        assert kept <= max(k + k // 8, (values >= wanted).sum())


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(st.data())
def test_a_pair_scored_alone_has_the_bits_of_the_definition(similarity, data):
    vectors = data.draw(rows)
    lengths = norms(vectors)
    kinds = {"cosine": kernels.COSINE, "dot": kernels.DOT, "l2": kernels.L2}
    pair = (vectors, vectors, lengths, lengths, vectors.shape[1], kinds[similarity])
    left, right = (part.ravel() for part in np.indices((len(vectors), len(vectors))))
    wanted = score_pairs(vectors, vectors, left, right, similarity, lengths, lengths)
    found = np.array([kernels._defined(*pair, a, b)[0] for a, b in zip(left, right, strict=True)], np.float32)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_sum_on_a_rounding_edge_is_taken_in_sequence(similarity):
    q = np.float32([[1.0, 2.0**-24, 2.0**-53, 2.0**-53] + [0.0] * 12])
    ones = np.ones_like(q)
    for one in (q, np.roll(q[:, ::-1], 3, axis=1).copy()):
        lengths = norms(one), norms(ones)
        pair = (one, ones, *lengths, 16, kernels.DOT if similarity == "dot" else kernels.COSINE)
        wanted = score_pairs(one, ones, np.zeros(1, int), np.zeros(1, int), similarity, *lengths)
        assert kernels._defined(*pair, 0, 0)[0] == wanted[0]


@pytest.mark.parametrize(
    "length, most, threads", [(2048, 256, 2), (2049, 256, 2), (3, 256, 4), (0, 256, 2), (700, 64, 3)]
)
def test_tiles_cover_everything_and_keep_all_threads_busy(length, most, threads):
    tiles = list(compiled._evenly(length, most, threads))
    assert [row for tile in tiles for row in range(tile.start, tile.stop)] == list(range(length))
    assert all(tile.stop - tile.start <= most for tile in tiles)
    rounds = -(-len(tiles) // threads)
    assert rounds == -(-length // (most * threads))  # as few rounds as there can be


def test_threads_of_a_search_multiply_alone_and_leave_torch_as_it_was():
    before = torch.get_num_threads()
    with compiled.workers(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == before
        with compiled.ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == before


@pytest.mark.slow
def test_a_second_process_does_not_compile_again(tmp_path):
    code = "import time; t = time.perf_counter(); import litotes.search.kernels; print(time.perf_counter() - t)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout)
        for _ in range(2)
    ]
    assert seconds[1] < seconds[0] / 3
