"""The symmetric loss with smoothed labels: by hand, its symmetries, and its learned temperature."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_pairs
from litotes.training.chains import sample4geo_loss


@pytest.mark.parametrize("smoothing, value", [(0.0, 0.313262), (0.1, 0.363262)])
def test_two_pairs_by_hand(smoothing, value):
    loss = sample4geo_loss(1.0, smoothing)(from_pairs(torch.eye(2), torch.eye(2)))
    assert loss.item() == pytest.approx(value, abs=1e-6)


@given(st.integers(2, 7), st.integers(0, 99))
def test_it_is_that_of_torch_and_does_not_see_sides_order_or_lengths(b, seed):
    random = torch.Generator().manual_seed(seed)
    q, r = torch.randn(2, b, 4, generator=random, dtype=torch.float64)
    loss = sample4geo_loss(0.2)
    scores = F.normalize(q) @ F.normalize(r).T / 0.2
    y = torch.arange(b)
    wanted = sum(F.cross_entropy(s, y, label_smoothing=0.1) for s in (scores, scores.T)) / 2
    order, lengths = torch.randperm(b, generator=random), torch.rand(b, 1, generator=random) + 0.1
    for one, other in ((q, r), (r, q), (q[order], r[order]), (q * lengths, r), (q, r * lengths)):
        assert loss(from_pairs(one, other)).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_the_temperature_starts_at_007_is_learned_and_has_no_bound():
    chain = sample4geo_loss()
    (scale,) = chain.parameters()
    assert scale.item() == pytest.approx(2.6593, abs=1e-4)
    with torch.no_grad():
        scale.fill_(math.log(1000))
    chain(from_pairs(torch.eye(3), torch.eye(3))).backward()
    assert scale.grad.item() != 0 and chain.objective.rowwise.temperature().item() == pytest.approx(1e-3)
