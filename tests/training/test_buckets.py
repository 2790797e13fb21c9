import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litotes.training.buckets import LengthBuckets, bucket_cuts


def cost(lengths, cuts, overhead):
    ordered = sorted(lengths)
    return sum((stop - start) * ordered[stop - 1] + overhead for start, stop in zip([0, *cuts], cuts, strict=False))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 20))
def test_no_other_cut_is_cheaper(lengths, overhead):
    cuts = bucket_cuts(np.array(lengths), overhead)
    n = len(lengths)
    others = ([*chosen, n] for k in range(n) for chosen in itertools.combinations(range(1, n), k))
    assert cuts[-1] == n and cost(lengths, cuts, overhead) == min(cost(lengths, each, overhead) for each in others)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_dear_calls_make_one_bucket_and_free_ones_leave_no_padding(lengths):
    assert bucket_cuts(np.array(lengths), 10**6) == [len(lengths)]
    assert cost(lengths, bucket_cuts(np.array(lengths), 0), 0) == sum(lengths)


class Mean(nn.Module):
    """The mean of token vectors; it remembers the shapes it was called with."""

    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(50, 4, dtype=torch.float64)
        self.shapes = []

    def forward(self, features):
        ids, mask = features["input_ids"], features["attention_mask"][:, :, None]
        self.shapes.append(tuple(ids.shape))
        return {"sentence_embedding": (self.vectors(ids) * mask).sum(1) / mask.sum(1), "token_embeddings": ids}


def column(lengths, left=False):
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    mask = (mask.flip(1) if left else mask).long()
    ids = torch.arange(mask.numel()).reshape(mask.shape) % 49 + 1
    return {"input_ids": ids * mask, "attention_mask": mask, "task": "query"}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 20))
def test_values_and_gradients_are_those_of_one_padded_call(lengths, overhead):
    torch.manual_seed(len(lengths))
    model, features = Mean(), column(lengths)
    target = torch.randn(len(lengths), 4, dtype=torch.float64)
    found = []
    for each in (model, LengthBuckets(model, overhead)):
        model.zero_grad()
        value = each(dict(features))["sentence_embedding"]
        (value * target).sum().backward()
        found.append((value.detach(), model.vectors.weight.grad.clone()))
    torch.testing.assert_close(found[0], found[1])
    assert sum(a * b for a, b in model.shapes[1:]) <= len(lengths) * max(lengths)


def test_short_texts_are_not_run_at_the_length_of_long_ones():
    model = Mean()
    LengthBuckets(model, overhead=2)(column([3, 9, 3, 9]))
    assert model.shapes == [(2, 3), (2, 9)]


def test_padding_on_the_left_and_columns_without_a_mask_pass_through():
    model = Mean()
    assert "token_embeddings" in LengthBuckets(model, 0)(column([3, 9], left=True)) and model.shapes == [(2, 9)]
    inner = nn.Module()
    inner.forward = lambda features: features
    assert LengthBuckets(inner, 0)({"pixel_values": 1}) == {"pixel_values": 1}


@pytest.mark.parametrize("bad", [-1, float("nan")])
def test_a_bad_overhead_is_named(bad):
    with pytest.raises(ValueError, match="LengthBuckets: overhead must be >= 0 tokens"):
        LengthBuckets(nn.Identity(), bad)
