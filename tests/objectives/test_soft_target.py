import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups, from_labels, soft_signs
from litotes.chain import Chain
from litotes.objectives import InfoNCE, SoftTargetInfoNCE
from litotes.scoring import Cosine


@st.composite
def batches(draw):
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def grid(values):
        flat = draw(st.lists(values, min_size=b * c, max_size=b * c))
        return torch.tensor(flat, dtype=torch.float64).reshape(b, c)

    scores = grid(st.floats(-1, 1) | st.just(-math.inf))
    target = {"target": grid(st.sampled_from([0.0, 0.5, 2.0]))} if draw(st.booleans()) else {}
    sign = grid(st.sampled_from([-1, 0, 1])).to(torch.int8)
    return SignedBatch(scores, sign, grid(st.sampled_from([0.0, 0.25, 1.0])), pairs=target)


def slowly(batch, temperature, smoothing):
    """The formula of the docstring, one row at a time."""
    costs = []
    for i in range(len(batch.sign)):
        row = []
        for j in range(batch.sign.shape[1]):
            s, y, w = batch.scores[i, j].item(), batch.sign[i, j].item(), batch.weight[i, j].item()
            if y == 0 or s == -math.inf or w == 0:
                continue
            given_target = batch.pairs["target"][i, j].item() if "target" in batch.pairs else (w if y > 0 else 0.0)
            row.append(((1.0 if y > 0 else w) * math.exp(s / temperature), given_target))
        mass = sum(t for _, t in row)
        if mass:
            total = sum(e for e, _ in row)
            share = [(1 - smoothing) * t / mass + smoothing / len(row) for _, t in row]
            costs.append(sum(-t * math.log(e / total) for (e, _), t in zip(row, share, strict=True)))
    return sum(costs) / len(costs) if costs else 0.0


@given(batches(), st.sampled_from([0.1, 1.0]), st.sampled_from([0.0, 0.1, 0.5]))
def test_it_is_its_formula(batch, temperature, smoothing):
    got = SoftTargetInfoNCE(temperature, smoothing)(batch).item()
    assert got == pytest.approx(slowly(batch, temperature, smoothing), abs=1e-12, rel=1e-9)
    assert got >= -1e-12  # a certain row costs 0 up to rounding


@given(batches())
def test_its_gradient_is_probability_minus_target(batch):
    scores, weight = batch.scores.clone().requires_grad_(), batch.weight.clone().requires_grad_()
    SoftTargetInfoNCE(1.0)(batch.replace(scores=scores, weight=weight)).backward()
    there = (batch.sign != 0) & (batch.scores != -math.inf) & (batch.weight > 0)
    full = torch.where(there, torch.where(batch.sign > 0, 1.0, batch.weight), 0)
    wanted = batch.pairs["target"] if "target" in batch.pairs else torch.where(batch.sign > 0, batch.weight, 0)
    wanted = torch.where(there, wanted, 0)
    rows = wanted.sum(dim=1, keepdim=True) > 0
    odds = torch.where(there, full * batch.scores.exp(), 0)
    slope = odds / odds.sum(dim=1, keepdim=True) - wanted / wanted.sum(dim=1, keepdim=True)
    expected = torch.where(rows, slope, 0).nan_to_num() / max(int(rows.sum()), 1)
    assert torch.allclose(scores.grad, expected, atol=1e-12) and weight.grad.isfinite().all()


@given(batches())
def test_a_row_is_shared_out_whatever_the_size_of_its_target(batch):
    if "target" in batch.pairs:
        larger = batch.replace(pairs={"target": batch.pairs["target"] * 3})
        assert SoftTargetInfoNCE()(larger).item() == pytest.approx(SoftTargetInfoNCE()(batch).item(), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_one_positive_it_is_torch_cross_entropy(smoothing):
    scores = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = from_groups(scores, torch.arange(8))
    wanted = F.cross_entropy(scores / 0.05, torch.arange(8), label_smoothing=smoothing)
    assert SoftTargetInfoNCE(0.05, smoothing)(batch).item() == pytest.approx(wanted.item(), rel=1e-12)
    if not smoothing:
        assert SoftTargetInfoNCE(0.05)(batch).item() == pytest.approx(InfoNCE(0.05)(batch).item(), rel=1e-12)


def test_continuous_targets_worked_by_hand():
    """Two pairs of the cross-modal loss: S = [[1, 0], [.6, .8]], targets [[1, .8], [.8, 1]], temperature 1."""
    scores, target = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    batch = from_groups(scores, torch.arange(2)).replace(pairs={"target": target})
    cost, believed = SoftTargetInfoNCE(1.0).per_anchor(batch)
    assert cost.tolist() == pytest.approx([0.75771, 0.68703], abs=1e-5) and believed.tolist() == [1, 1]
    assert SoftTargetInfoNCE(1.0)(batch).item() == pytest.approx(0.72237, abs=1e-5)
    assert InfoNCE(1.0)(batch.T).item() == pytest.approx(0.44206, abs=1e-5)


def test_equal_targets_cost_the_log_sum_less_the_mean():
    scores = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = from_groups(scores).replace(pairs={"target": torch.ones(4, 6, dtype=torch.float64)})
    wanted = (scores.logsumexp(dim=1) - scores.mean(dim=1)).mean()
    assert SoftTargetInfoNCE(1.0)(batch).item() == pytest.approx(wanted.item(), rel=1e-12)


def test_with_labels_it_is_supervised_contrastive_learning():
    """Three items of one class and one of another: every item against its classmates, all others below."""
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = torch.tensor([0, 0, 0, 1])
    u = x / x.norm(dim=1, keepdim=True)
    wanted = 0.0
    for i in range(3):
        others = [j for j in range(4) if j != i]
        total = math.log(sum(math.exp(float(u[i] @ u[j]) / 0.1) for j in others))
        mates = [j for j in others if y[j] == y[i]]
        wanted += sum(total - float(u[i] @ u[j]) / 0.1 for j in mates) / len(mates)
    got = Chain(Cosine(), SoftTargetInfoNCE(0.1))(from_labels(x, y))
    assert got.item() == pytest.approx(wanted / 3, rel=1e-10)


def test_soft_signs_carry_graded_rows():
    target = torch.tensor([[1.0, 0.25, 0.0]])
    sign, weight = soft_signs(target)
    scores = torch.tensor([[0.3, 0.1, 0.2]])
    soft = SoftTargetInfoNCE(0.1)(SignedBatch(scores, sign, weight))
    explicit = SoftTargetInfoNCE(0.1)(from_groups(scores).replace(pairs={"target": target}))
    assert soft.item() == pytest.approx(explicit.item(), rel=1e-6)


def test_common_negatives_stand_in_the_denominator_and_have_no_target():
    scores = torch.tensor([[0.4, 0.2]], dtype=torch.float64)
    common = (torch.tensor([0.1, -math.inf]), torch.tensor([0.5, 1.0]))
    got = SoftTargetInfoNCE(1.0)(from_groups(scores).replace(common=common))
    total = math.exp(0.4) + math.exp(0.2) + 0.5 * math.exp(0.1)
    assert got.item() == pytest.approx(math.log(total) - 0.4, rel=1e-7)


@pytest.mark.parametrize("bad", [-0.1, 1.0, math.nan])
def test_bad_arguments_are_named(bad):
    with pytest.raises(ValueError, match=r"SoftTargetInfoNCE: label_smoothing must be in \[0, 1\), got"):
        SoftTargetInfoNCE(label_smoothing=bad)
    with pytest.raises(ValueError, match="SoftTargetInfoNCE: temperature must be > 0"):
        SoftTargetInfoNCE(min(bad, 0.0))
