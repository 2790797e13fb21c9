"""Soft targets from the frozen side; with them the loss of CWCL."""

import math

import pytest
import torch
import torch.nn.functional as F

from litotes.batch import from_pairs
from litotes.objectives.temperature import LearnedTemperature
from litotes.sources.soft.continuous import ContinuousWeight
from litotes.training.chains import cwcl

P, Q = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def explicitly(p, q, temperature, w=None):
    p, q = F.normalize(p), F.normalize(q)
    w = ((p @ p.T + 1) / 2).detach() if w is None else w
    s = p @ q.T / temperature
    there = -(w / w.sum(1, keepdim=True) * s.log_softmax(1)).sum(1).mean()
    return there + F.cross_entropy(s.T, torch.arange(len(p)))


def test_by_hand():
    target = ContinuousWeight()(from_pairs(P, Q)).pairs["target"]
    assert target.flatten().tolist() == pytest.approx([1, 0.8, 0.8, 1])
    assert cwcl(1.0)(from_pairs(P, Q)).item() == pytest.approx(1.16442, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.005])
def test_value_and_gradient_are_those_of_the_paper_and_none_reaches_the_weights(temperature):
    torch.manual_seed(0)
    p = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    q = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    ours, theirs = cwcl(temperature)(from_pairs(p, q)), explicitly(p, q, temperature)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)  # targets are formed in float32
    for a, b in zip(torch.autograd.grad(ours, [p, q]), torch.autograd.grad(theirs, [p, q]), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_order_and_sides():
    torch.manual_seed(1)
    p, q, order = torch.randn(5, 4), torch.randn(5, 4), torch.randperm(5)
    loss = cwcl(0.5)
    assert loss(from_pairs(p[order], q[order])).item() == pytest.approx(loss(from_pairs(p, q)).item(), rel=1e-5)
    assert abs(loss(from_pairs(q, p)) - loss(from_pairs(p, q))) > 1e-3  # which side is frozen matters
    scaled = loss(from_pairs(3 * p, 0.5 * q))
    assert scaled.item() == pytest.approx(loss(from_pairs(p, q)).item(), rel=1e-5)


def test_range_sharpness_and_floor():
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])
    target = ContinuousWeight()(from_pairs(p, p)).pairs["target"]
    assert target[0].tolist() == pytest.approx([1, 0.5, 0, 1])
    assert torch.equal(target, target.T)
    sharp = ContinuousWeight(sharpen=3)(from_pairs(p, p)).pairs["target"]
    assert torch.allclose(sharp, target**3)
    assert ContinuousWeight(floor=0.6)(from_pairs(p, p)).pairs["target"][0].tolist() == pytest.approx([1, 0, 0, 1])


def test_mined_negatives_have_no_target_and_a_guide_may_be_of_another_width():
    n = torch.randn(2, 1, 2)
    target = ContinuousWeight()(from_pairs(P, Q, n)).pairs["target"]
    assert target[:, 2:].tolist() == [[0, 0], [0, 0]] and target[0, 1] == pytest.approx(0.8)
    guided = from_pairs(P, Q)
    guide = torch.randn(2, 7)
    guided = guided.replace(rows={**guided.rows, "guide": guide}, columns={**guided.columns, "guide": guide})
    made = ContinuousWeight()(guided).pairs["target"]
    assert made[0, 1].item() == pytest.approx((F.cosine_similarity(guide[0], guide[1], dim=0).item() + 1) / 2, abs=1e-6)


def test_a_learned_temperature_is_shared_by_both_directions():
    temperature = LearnedTemperature(init=0.07)
    chain = cwcl(temperature)
    assert len(list(chain.parameters())) == 1
    chain(from_pairs(P, Q)).backward()
    slope = next(chain.parameters()).grad.item()
    assert math.isfinite(slope) and slope != 0


@pytest.mark.parametrize("bad", [{"sharpen": 0.5}, {"floor": 1.0}, {"sharpen": math.nan}])
def test_arguments_are_checked(bad):
    with pytest.raises(ValueError, match=f"ContinuousWeight: {next(iter(bad))} must be"):
        ContinuousWeight(**bad)
