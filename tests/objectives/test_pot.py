"""Bounds by hand and against every augmentation drawn: what is said to be below is below."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import two_views
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.graph.bounds import (
    augmentation_bounds,
    drop_budget,
    drop_edges,
    layer_bounds,
    normalised_adjacency,
    out_of_range,
    relaxation,
)
from litotes.objectives.graph.pot import Compactness, NodeCompactness, contrast_direction
from litotes.ops import unit
from litotes.scoring import Cosine
from litotes.training.chains import pot_loss

PAIR = torch.tensor([[0, 1], [1, 0]])


def graph(seed, n=10, share=0.4):
    g = torch.Generator().manual_seed(seed)
    upper = (torch.rand(n, n, generator=g) < share).triu(1)
    return (upper | upper.T).nonzero().T, g


def network(g, f=4, h=5, k=3, positive=False, dtype=torch.float32):
    gcn = [torch.randn(*shape, generator=g).to(dtype) for shape in ((f, h), (h,), (h, k), (k,))]
    return tuple(w.abs() for w in gcn) if positive else tuple(gcn)


def encode(x, gcn, adjacency, slope=0.0):
    w1, b1, w2, b2 = gcn
    return F.leaky_relu(adjacency @ F.leaky_relu(adjacency @ (x @ w1) + b1, slope) @ w2 + b2, slope)


def test_two_nodes_by_hand():
    upper, lower = augmentation_bounds(PAIR, 2, 0.4)
    assert drop_budget(PAIR, 2, 0.4).tolist() == [0, 0]
    assert torch.allclose(upper.to_dense(), torch.full((2, 2), 0.5)) and torch.allclose(
        lower.to_dense(), torch.eye(2) / 2
    )
    x = torch.tensor([[1.0], [2.0]])
    low, high = layer_bounds(upper, lower, x, x, torch.zeros(1))
    assert high.flatten().tolist() == [1.5, 1.5] and low.flatten().tolist() == [0.5, 1.0]


@pytest.mark.parametrize("a, s, b", [(0.0, 0.75, 1.0), (0.25, 0.8125, 0.692308)])
def test_the_relaxation_by_hand(a, s, b):
    low, high = torch.tensor([-1.0, 1.0, -3.0, 0.0]), torch.tensor([3.0, 2.0, -1.0, 0.0])
    slope, shift = relaxation(low, high, a)
    assert slope.tolist() == pytest.approx([s, 1, a, 1]) and shift.tolist() == pytest.approx([b, 0, 0, 0], abs=1e-6)
    assert s * (3 + b) == pytest.approx(3, abs=1e-5) and s * (-1 + b) == pytest.approx(-a, abs=1e-5)


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1))
def test_the_lines_lie_around_act(low, width, a, at):
    slope, shift = relaxation(torch.tensor([low]), torch.tensor([low + width]), a)
    x = torch.tensor([low + at * width])
    y = F.leaky_relu(x, a)
    assert (slope * x <= y + 1e-5).all() and (y <= slope * (x + shift) + 1e-5).all()


@given(st.integers(0, 400), st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 0.3, 0.6]))
def test_no_augmentation_in_budget_is_below_its_bound(seed, slope, rate):
    edges, g = graph(seed)
    x, gcn, other = torch.randn(10, 4, generator=g), network(g), torch.randn(10, 3, generator=g)
    bounds, part, w = augmentation_bounds(edges, 10, rate), NodeCompactness(slope), contrast_direction(other)
    floor = part.certify(x, gcn, other, bounds)
    upper, lower = (bound.to_dense() for bound in bounds)
    for _ in range(10):
        kept = drop_edges(edges, 10, rate, generator=g, within=rate)
        assert out_of_range(edges, kept, 10, rate) == 0
        adjacency = normalised_adjacency(kept, 10)
        dense = adjacency.to_dense()
        assert (dense <= upper + 1e-6).all() and (dense >= lower - 1e-6).all()
        true = (w * encode(x, gcn, adjacency, slope)).sum(dim=1)
        score = part(x, gcn, other, adjacency, bounds)
        assert (score <= true + 1e-5 * (1 + true.abs())).all()
        assert (floor <= true + 1e-5 * (1 + true.abs())).all()


def test_where_every_unit_is_above_zero_the_score_is_the_truth():
    edges, g = graph(3)
    x, gcn, other = torch.rand(10, 4, generator=g), network(g, positive=True), torch.randn(10, 3, generator=g)
    adjacency = normalised_adjacency(drop_edges(edges, 10, 0.3, generator=g, within=0.3), 10)
    for rows in ("anchor",):
        score = NodeCompactness(rows=rows)(x, gcn, other, adjacency, augmentation_bounds(edges, 10, 0.3))
        true = (contrast_direction(other) * encode(x, gcn, adjacency)).sum(dim=1)
        assert torch.allclose(score, true, rtol=1e-4, atol=1e-4)


def test_the_released_variants_are_no_bounds():
    above = {("nominal", "own"): 0, ("nominal", "anchor"): 0, ("sound", "anchor"): 0}
    for seed in range(20):
        edges, g = graph(seed)
        x, gcn, other = torch.randn(10, 4, generator=g), network(g), torch.randn(10, 3, generator=g)
        bounds, whole = augmentation_bounds(edges, 10, 0.4), normalised_adjacency(edges, 10)
        adjacency = normalised_adjacency(drop_edges(edges, 10, 0.4, generator=g, within=0.4), 10)
        true = (contrast_direction(other) * encode(x, gcn, adjacency)).sum(dim=1)
        for second, rows in above:
            score = NodeCompactness(0.0, second, rows)(x, gcn, other, adjacency, bounds, whole=whole)
            above[second, rows] += int((score > true + 1e-4).sum())
    assert above["nominal", "own"] > 20 and above["sound", "anchor"] == 0  # of 200


def test_a_rate_of_zero_still_has_no_edges_in_its_lower_bound():
    edges, g = graph(5)
    lower = augmentation_bounds(edges, 10, 0.0)[1].to_dense()
    assert torch.equal(lower, torch.diag(lower.diagonal())) and (lower.diagonal() > 0).all()
    x, gcn, other = torch.randn(10, 4, generator=g), network(g), torch.randn(10, 3, generator=g)
    adjacency = normalised_adjacency(edges, 10)
    true = (contrast_direction(other) * encode(x, gcn, adjacency)).sum(dim=1)
    score = NodeCompactness()(x, gcn, other, adjacency, augmentation_bounds(edges, 10, 0.0))
    assert (score <= true + 1e-5).all() and (score < true - 1e-3).any()


def test_directions_sum_to_nothing_and_rows_alike_have_none():
    other = torch.randn(7, 3)
    slow = torch.stack([unit(other)[i] - unit(other)[torch.arange(7) != i].mean(dim=0) for i in range(7)])
    assert torch.allclose(contrast_direction(other), slow, atol=1e-6)
    assert contrast_direction(other).sum(dim=0).abs().max() < 1e-5
    edges, g = graph(2)
    same = torch.ones(10, 3)
    score = NodeCompactness()(
        torch.randn(10, 4), network(g), same, normalised_adjacency(edges, 10), augmentation_bounds(edges, 10, 0.3)
    )
    assert score.abs().max() < 1e-5


def views(seed=0):
    g = torch.Generator().manual_seed(seed)
    batch = two_views(torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g))
    return batch.replace(rows={**batch.rows, "compactness": torch.randn(8, generator=g)})


def test_the_loss_is_a_mixture():
    batch = views()
    assert torch.equal(pot_loss(0.0, 0.7)(batch), InfoNCE(0.7)(Cosine()(batch)))
    assert torch.equal(pot_loss(1.0)(batch), Compactness()(batch))
    both = 0.6 * InfoNCE(0.7)(Cosine()(batch)) + 0.4 * F.softplus(-batch.rows["compactness"]).mean()
    assert pot_loss(0.4, 0.7)(batch).item() == pytest.approx(both.item(), rel=1e-6)
    zero = batch.replace(rows={"compactness": torch.zeros(8)})
    assert Compactness()(zero).item() == pytest.approx(math.log(2))


def test_gradients_reach_weights_and_the_other_view_and_not_the_bounds():
    edges, g = graph(1)
    gcn = tuple(w.requires_grad_() for w in network(g))
    other = torch.randn(10, 3, generator=g).requires_grad_()
    bounds = augmentation_bounds(edges, 10, 0.3)
    score = NodeCompactness()(torch.randn(10, 4), gcn, other, normalised_adjacency(edges, 10), bounds)
    F.softplus(-score).mean().backward()
    assert all(w.grad.isfinite().all() and (w.grad != 0).any() for w in (*gcn, other))
    assert not bounds[0].requires_grad and not bounds[1].requires_grad


def test_scores_go_with_the_nodes_and_a_node_without_edges_is_finite():
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])  # node 4 is alone
    g = torch.Generator().manual_seed(0)
    x, gcn, other = torch.randn(5, 4, generator=g), network(g), torch.randn(5, 3, generator=g)
    bounds = augmentation_bounds(edges, 5, 0.6)
    assert [bound.to_dense()[4].tolist() for bound in bounds] == [[0, 0, 0, 0, 1]] * 2
    adjacency = normalised_adjacency(edges, 5)
    for rows in ("anchor", "own"):
        part = NodeCompactness(0.1, rows=rows)
        score = part(x, gcn, other, adjacency, bounds)
        order = torch.tensor([3, 4, 0, 2, 1])
        back = order.argsort()[edges]
        moved = part(x[order], gcn, other[order], normalised_adjacency(back, 5), augmentation_bounds(back, 5, 0.6))
        assert score.isfinite().all() and torch.allclose(moved, score[order], atol=1e-5)
        dense = part(x, gcn, other, adjacency.to_dense(), tuple(bound.to_dense() for bound in bounds))
        assert torch.allclose(dense, score, atol=1e-6)
        for nodes in (torch.arange(5), torch.tensor([4, 1])):
            assert torch.allclose(part(x, gcn, other, adjacency, bounds, nodes), score[nodes], atol=1e-6)


def test_augmentations_beyond_the_budget_are_counted():
    edges = torch.tensor([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]])
    assert drop_budget(edges, 4, 0.4).tolist() == [1, 0, 0, 0]
    kept = edges[:, [0, 3]]  # nodes 2 and 3 lost their only edge, node 0 two
    assert out_of_range(edges, kept, 4, 0.4).item() == 0.75
    assert drop_edges(edges, 4, 0.99, generator=torch.Generator().manual_seed(0), within=0.4).shape == (2, 6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: augmentation_bounds(PAIR, 2, 1.0), r"drop_rate must be in \[0, 1\), got 1.0"),
        (lambda: normalised_adjacency(torch.tensor([[0], [0]]), 1), "no self loops"),
        (lambda: NodeCompactness(1.5), r"slope must be in \[0, 1\]"),
        (lambda: NodeCompactness(rows="both"), "rows must be"),
        (lambda: NodeCompactness(second_layer="x"), "second_layer must be"),
        (lambda: pot_loss(1.5), r"kappa must be in \[0, 1\]"),
        (lambda: Compactness()(two_views(torch.eye(2), torch.eye(2))), "compactness"),
        (lambda: contrast_direction(torch.ones(1, 2)), "at least 2 nodes"),
        (
            lambda: NodeCompactness()(torch.ones(2, 1), (torch.ones(1, 1),) * 3, torch.ones(2, 1), PAIR, (PAIR, PAIR)),
            "exactly two GCN layers",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
