"""Lengths say how much of an original is left; angles are left alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch
from litotes.objectives.contrastive.norm_ratio import NormRatio


def batch_of(x, label, scale):
    b = len(x)
    rows = {"label": torch.as_tensor(label), "scale": torch.as_tensor(scale)}
    return SignedBatch(None, torch.zeros(b, b, dtype=torch.int8), torch.ones(b, b), x, x, rows=rows)


def lengths(*values):
    return torch.tensor([[float(v), 0.0] for v in values], requires_grad=True)


@pytest.mark.parametrize("norms, value", [((2, 1), 0.367879), ((1, 1), 1.0), ((1, 2), 1.648721)])
@pytest.mark.parametrize("pairs", ["random", "all"])
def test_by_hand(norms, value, pairs):
    batch = batch_of(lengths(*norms), [0, 0], [1.0, 0.5])
    assert NormRatio(pairs)(batch, generator=torch.Generator()).item() == pytest.approx(value, abs=1e-6)


def test_the_gradient_is_radial_and_lifts_the_original():
    torch.manual_seed(0)
    x = torch.randn(2, 5, dtype=torch.float64)
    x = (x / x.norm(dim=1, keepdim=True)).requires_grad_()
    NormRatio("all")(batch_of(x, [0, 0], [1.0, 0.5])).backward()
    radial = (x.grad * x).sum(dim=1)
    assert radial.tolist() == pytest.approx([-1, 1])
    assert torch.allclose(x.grad, radial[:, None] * x, atol=1e-12)


@given(st.integers(0, 40))
def test_all_pairs_by_loops(seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 3, generator=g, dtype=torch.float64)
    label = torch.randint(-1, 3, (7,), generator=g)
    scale = torch.tensor([1.0, 0.5, 0.25, 0.5])[torch.randint(0, 4, (7,), generator=g)]
    means = []
    for content in range(3):
        costs = [
            math.exp(1 - float(x[i].norm() / x[j].norm()))
            for i in range(7)
            for j in range(7)
            if label[i] == label[j] == content and scale[i] > scale[j]
        ]
        means += [sum(costs) / len(costs)] if costs else []
    wanted = sum(means) / len(means) if means else 0.0
    assert NormRatio("all")(batch_of(x, label, scale)).item() == pytest.approx(wanted, rel=1e-6)


def test_one_pair_of_each_content_is_drawn_evenly():
    x = lengths(4, 2, 1, 3, 3)
    batch = batch_of(x, [0, 0, 0, 1, 1], [1.0, 0.5, 0.25, 0.5, 0.5])  # the second content has no direction
    g = torch.Generator().manual_seed(0)
    seen = [round(NormRatio()(batch, generator=g).item(), 5) for _ in range(3000)]
    values = {round(math.exp(1 - r), 5) for r in (2, 4, 2)}
    assert set(seen) == values
    assert seen.count(round(math.exp(-1), 5)) / 3000 == pytest.approx(2 / 3, abs=0.04)
    one = [NormRatio()(batch, generator=torch.Generator().manual_seed(3)).item() for _ in range(2)]
    assert one[0] == one[1]


def test_a_factor_on_a_content_changes_nothing_and_no_pair_costs_nothing():
    x = torch.randn(4, 3)
    label, scale = [0, 0, 1, 1], [1.0, 0.5, 0.75, 0.5]
    part = NormRatio("all")
    louder = x * torch.tensor([5.0, 5, 1, 1])[:, None]
    assert part(batch_of(louder, label, scale)).item() == pytest.approx(
        part(batch_of(x, label, scale)).item(), rel=1e-5
    )
    still = torch.randn(2, 3, requires_grad=True)
    loss = part(batch_of(still, [0, 0], [0.5, 0.5]))
    loss.backward()
    assert loss.item() == 0 and (still.grad == 0).all()


def test_a_cap_stops_the_push():
    x = lengths(4, 1)
    NormRatio("all", ratio_cap=3.0)(batch_of(x, [0, 0], [1.0, 0.5])).backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: NormRatio("some"), "pairs must be 'random' or 'all', got 'some'"),
        (lambda: NormRatio(ratio_cap=0), "ratio_cap must be > 0 and finite or None, got 0"),
        (lambda: NormRatio()(batch_of(lengths(1, 2), [0, 0], [1.0, 0.5])), "needs a generator"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
