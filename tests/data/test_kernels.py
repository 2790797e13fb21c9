"""Kernels are their formulas, in float32 and in bfloat16, for every text by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from litotes.data.kernels import add_norm, attend, attention_scratch, embed, mean_rows
from litotes.data.lanes import exponential, load, store

DTYPES = [torch.float32, torch.bfloat16]
lengths = st.lists(st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 33]), min_size=1, max_size=6)


def flat(x):
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).reshape(-1).numpy()


def close(dtype):
    return {"rtol": 2**-7, "atol": 2**-8} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("dtype", DTYPES)
@given(lengths, st.sampled_from([(1, 16), (3, 16), (2, 32)]), st.sampled_from([0.1, 4.0]))
def test_attention_is_softmax_of_products_text_by_text(dtype, lengths, shape, scale):
    heads, size = shape
    width, count = heads * size, sum(lengths)
    joined = torch.randn(count, 3 * width, generator=torch.Generator().manual_seed(count)).to(dtype)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    out = torch.full((count, width), torch.nan, dtype=dtype)
    scratch = np.full(attention_scratch(max(lengths), size), np.nan, np.float32)
    attend(flat(joined), starts, heads, width, np.float32(scale), flat(out), scratch)
    for lo, hi in zip(starts[:-1], starts[1:], strict=True):
        query, key, value = joined[lo:hi].float().view(hi - lo, 3, heads, size).permute(1, 2, 0, 3)
        wanted = torch.softmax(query @ key.transpose(1, 2) * scale, -1) @ value
        assert torch.allclose(out[lo:hi].float(), wanted.transpose(0, 1).reshape(hi - lo, width), **close(dtype))


def test_attention_to_huge_and_equal_scores_is_finite():
    joined = np.zeros((3, 48), np.float32)
    joined[:, :32], joined[:, 32] = 100.0, [1, 2, 6]  # scores of 160,000 each: equal shares
    out, scratch = np.empty(48, np.float32), np.empty(attention_scratch(3, 16), np.float32)
    attend(joined.reshape(-1), np.array([0, 3]), 1, 16, np.float32(1), out, scratch)
    assert out.reshape(3, 16)[:, 0] == pytest.approx([3, 3, 3], rel=1e-6)
    joined[1, 0] = np.nan  # a query that is no number spoils its own row; as a value of others it has no part
    attend(joined.reshape(-1), np.array([0, 1, 2, 3]), 1, 16, np.float32(1), out, scratch)
    assert np.isnan(out.reshape(3, 16)).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.integers(1, 5), st.sampled_from([16, 48]))
def test_norm_of_a_sum_is_torchs_and_may_replace_the_residual(dtype, rows, width):
    draw = torch.Generator().manual_seed(rows)
    source, residual = (torch.randn(rows + 1, width, generator=draw).mul(3).to(dtype) for _ in range(2))
    weight, bias = torch.rand(width, generator=draw), torch.randn(width, generator=draw)
    wanted = F.layer_norm(source.float() + residual.float(), (width,), weight, bias, 1e-3)
    untouched, row = residual[rows].clone(), np.empty(width, np.float32)
    norm = (weight.numpy(), bias.numpy(), np.float32(1e-3), row)
    wide = torch.empty(rows, width)
    add_norm(flat(source), flat(residual), rows, width, *norm, flat(wide))
    assert torch.allclose(wide, wanted[:rows], rtol=1e-4, atol=1e-5)
    add_norm(flat(source), flat(residual), rows, width, *norm, flat(residual))
    assert torch.allclose(residual[:rows].float(), wanted[:rows], **close(dtype))
    assert torch.equal(residual[rows], untouched)


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_adds_and_normalises(dtype):
    words, places = (torch.randn(n, 32, generator=torch.Generator().manual_seed(n)).to(dtype) for n in (9, 4))
    ids, positions = np.array([8, 0, 3, 3]), np.array([0, 1, 0, 3])
    ones, out = np.ones(32, np.float32), torch.empty(4, 32)
    row = np.empty(32, np.float32)
    embed(ids, positions, flat(words), flat(places), 32, ones, 0 * ones, np.float32(1e-12), row, flat(out))
    assert torch.allclose(out, F.layer_norm(words[ids].float() + places[positions].float(), (32,)), atol=1e-5)


@given(lengths)
def test_means_are_of_each_texts_own_rows(lengths):
    rows = np.random.default_rng(0).standard_normal((sum(lengths), 16)).astype(np.float32)
    starts, out = np.concatenate([[0], np.cumsum(lengths)]), np.empty((len(lengths), 16), np.float32)
    mean_rows(rows.reshape(-1), starts, 16, out.reshape(-1))
    wanted = [rows[lo:hi].mean(axis=0) for lo, hi in zip(starts[:-1], starts[1:], strict=True)]
    assert out == pytest.approx(np.array(wanted), abs=1e-6)


def test_lanes_round_to_even_keep_what_is_not_finite_and_know_the_exponential():
    import numba

    @numba.njit
    def through(source, target):
        for at in range(0, len(source), 16):
            store(target, at, load(source, at))

    @numba.njit
    def grown(x):
        store(x, 0, exponential(load(x, 0)))
        return x

    values = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    values[:10] = [0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, 1e-40, 1 + 2**-8, 1 + 3 * 2**-8, -1e-3]
    bits = np.empty(256, np.uint16)
    through(values, bits)
    wanted = torch.from_numpy(values).bfloat16()
    made = torch.from_numpy(bits).view(torch.bfloat16)
    assert torch.equal(made.isnan(), wanted.isnan()) and torch.equal(made[~made.isnan()], wanted[~wanted.isnan()])
    back = np.empty(256, np.float32)
    through(bits, back)
    assert np.array_equal(back, wanted.float().numpy(), equal_nan=True)
    x = np.array([0, -1e-8, -0.3, -0.35, -1, -20, -86.9, -87, -1e4, -np.inf, np.nan, *[-3.0] * 5], np.float32)
    exact = np.exp(np.maximum(x.astype(np.float64), -87))
    assert grown(x.copy()) == pytest.approx(exact, rel=3e-7, nan_ok=True)
