"""Chains that have a name: values by hand, and the invariances by which each specialises."""

import math

import pytest
import torch
import torch.nn.functional as F

from litotes.batch import SignedBatch, from_classes
from litotes.training.chains import bidirectional_ranking, normalized_softmax

S = torch.tensor([[0.9, 0.85], [0.2, 0.5]])


def scored(scores, positives=None):
    up = torch.eye(len(scores), dtype=torch.bool) if positives is None else positives
    return SignedBatch(scores, torch.where(up, 1, -1).to(torch.int8), torch.ones_like(scores))


@pytest.mark.parametrize("weight, value", [(1.0, 0.05), (0.0, 0.45), (0.5, 0.25)])
def test_both_sides_by_hand(weight, value):
    assert bidirectional_ranking(0.1, weight)(scored(S)).item() == pytest.approx(value / 2)  # mean over two pairs


def test_the_gradient_by_hand_and_each_specialist_is_blind_to_its_own_offsets():
    s = S.clone().requires_grad_()
    (2 * bidirectional_ranking(0.1, 0.5)(scored(s))).backward()
    assert torch.allclose(s.grad, torch.tensor([[-0.5, 1.0], [0.0, -0.5]]))
    row, column = torch.tensor([[0.3], [-0.2]]), torch.tensor([[0.3, -0.2]])
    for weight, blind, sees in ((1.0, row, column), (0.0, column, row)):
        part = bidirectional_ranking(0.1, weight)
        assert part(scored(S + blind)).item() == pytest.approx(part(scored(S)).item(), abs=1e-6)
        assert abs(part(scored(S + sees)) - part(scored(S))) > 1e-3


def test_transposing_swaps_the_sides_and_positives_are_never_negatives():
    torch.manual_seed(0)
    s, up = torch.randn(3, 5), torch.eye(3, 5, dtype=torch.bool)
    up[0, 4] = True
    one, other = bidirectional_ranking(0.3, 1.0)(scored(s, up)), bidirectional_ranking(0.3, 0.0)(scored(s.T, up.T))
    assert one.item() == pytest.approx(other.item(), rel=1e-6)
    all_up = scored(torch.randn(2, 2, requires_grad=True), torch.ones(2, 2, dtype=torch.bool))
    assert bidirectional_ranking()(all_up).item() == 0
    assert bidirectional_ranking(0.1, 0.5, hardest=True)(scored(S)).item() == pytest.approx(0.125)
    with pytest.raises(ValueError, match="margin must be >= 0"):
        bidirectional_ranking(-0.1)


def with_vectors(chain, vectors):
    with torch.no_grad():
        chain.parts[0].vectors.copy_(vectors)
    return chain


@pytest.mark.parametrize(
    "y, temperature, value", [(1, 1.0, 0.59814), (0, 1.0, 0.79814), (1, 0.1, 0.12693), (0, 0.1, 2.12693)]
)
def test_the_normalised_softmax_by_hand(y, temperature, value):
    chain = with_vectors(normalized_softmax(2, 2, temperature), torch.eye(2))
    assert chain(from_classes(torch.tensor([[0.6, 0.8]]), torch.tensor([y]))).item() == pytest.approx(value, abs=1e-5)


def test_it_does_not_see_lengths_or_rotations_and_its_gradient_is_tangential():
    torch.manual_seed(0)
    x, y = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 1])
    chain = normalized_softmax(4, 3, 0.1).double()
    vectors = chain.parts[0].vectors.detach().clone()
    loss = chain(from_classes(x, y))
    loss.backward()
    assert torch.allclose((x.grad * x).sum(1), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turned = with_vectors(chain, 3 * vectors @ turn)(from_classes(0.5 * x.detach() @ turn, y))
    assert turned.item() == pytest.approx(loss.item(), rel=1e-9)
    zero = normalized_softmax(4, 3, 0.1)(from_classes(torch.zeros(1, 3), torch.tensor([2])))
    assert zero.item() == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.parametrize("scale, bound", [(1.0, 1.37693), (10.0, 1.345e-4)])
def test_a_simplex_reaches_the_lower_bound(scale, bound):
    simplex = torch.eye(10) - 0.1
    chain = with_vectors(normalized_softmax(10, 10, 1 / scale), simplex)
    assert chain(from_classes(simplex, torch.arange(10))).item() == pytest.approx(bound, rel=1e-3)
    other = with_vectors(normalized_softmax(10, 10, 1 / scale), torch.randn(10, 10))
    assert other(from_classes(torch.randn(10, 10), torch.arange(10))).item() > bound


def test_it_equals_cross_entropy_over_normalised_products():
    torch.manual_seed(1)
    x, y = torch.randn(5, 4), torch.tensor([0, 2, 1, 2, 0])
    chain = normalized_softmax(3, 4, 0.05)
    wanted = F.cross_entropy(F.normalize(x) @ F.normalize(chain.parts[0].vectors).T / 0.05, y)
    assert chain(from_classes(x, y)).item() == pytest.approx(wanted.item(), rel=1e-5)
