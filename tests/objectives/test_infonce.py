import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups
from litotes.objectives import InfoNCE

MODES = ["each", "joint", "any"]
AVERAGES = ["term", "anchor", "count", "sum"]


@st.composite
def batches(draw):
    """Small, in float64, with pairs that do not exist, weights of 0, rows without positives, common negatives."""
    b, c, m = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(0, 3))

    def grid(values, shape):
        flat = draw(st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape)))
        return torch.tensor(flat, dtype=torch.float64).reshape(shape)

    scores, weights = st.floats(-1, 1) | st.just(-math.inf), st.sampled_from([0.0, 0.25, 1.0])
    common = (grid(scores, (m,)), grid(weights, (m,))) if m else None
    sign = grid(st.sampled_from([-1, 0, 1]), (b, c)).to(torch.int8)
    return SignedBatch(grid(scores, (b, c)), sign, grid(weights, (b, c)), common=common)


def slowly(batch, temperature, positives, average):
    """The formulas of the docstring, one anchor at a time."""
    field_of_all = 0.0
    if batch.common is not None:
        common = zip(batch.common[0].tolist(), batch.common[1].tolist(), strict=True)
        field_of_all = sum(w * math.exp(s / temperature) for s, w in common if s != -math.inf)
    anchors, existing = [], 0
    for scores, signs, weights in zip(batch.scores.tolist(), batch.sign.tolist(), batch.weight.tolist(), strict=True):
        row = [(s / temperature, y, w) for s, y, w in zip(scores, signs, weights, strict=True) if s != -math.inf]
        field = field_of_all + sum(w * math.exp(z) for z, y, w in row if y < 0)
        there = [(z, w) for z, y, w in row if y > 0]
        pulled = [(z, w) for z, w in there if w > 0]
        most = max((w for _, w in pulled), default=0)
        existing += len(there) if positives == "each" else bool(there)
        if positives == "each":
            anchors.append([(math.log1p(math.exp(-z) * field), w) for z, w in pulled])
        elif not pulled:
            anchors.append([])
        elif positives == "joint":
            anchors.append([(math.log1p(sum(w / most * math.exp(-z) for z, w in pulled) * field), most)])
        else:
            anchors.append([(math.log1p(field / sum(w / most * math.exp(z) for z, w in pulled)), most)])
    total, belief = (sum(f(c, w) for terms in anchors for c, w in terms) for f in (lambda c, w: w * c, lambda c, w: w))
    if average == "term":
        return total / belief if belief else 0.0
    if average == "anchor":
        means = [sum(w * c for c, w in terms) / sum(w for _, w in terms) for terms in anchors if terms]
        return sum(means) / len(means) if means else 0.0
    return total / (existing or 1) if average == "count" else total


def gradients(objective, batch):
    scores, weight = batch.scores.clone().requires_grad_(), batch.weight.clone().requires_grad_()
    objective(batch.replace(scores=scores, weight=weight)).backward()
    assert weight.grad.isfinite().all()  # belief may itself be learned
    return scores.grad


@given(batches(), st.sampled_from([0.1, 1.0]))
def test_it_is_its_formula(batch, temperature):
    for positives, average in itertools.product(MODES, AVERAGES):
        got = InfoNCE(temperature, positives, average)(batch).item()
        assert got == pytest.approx(slowly(batch, temperature, positives, average), abs=1e-12, rel=1e-9)


@given(batches(), st.sampled_from(MODES), st.sampled_from(AVERAGES))
def test_positives_are_pulled_negatives_pushed_and_silence_is_silent(batch, positives, average):
    pull = gradients(InfoNCE(0.5, positives, average), batch)
    assert pull.isfinite().all()
    assert (pull[batch.sign > 0] <= 0).all() and (pull[batch.sign < 0] >= 0).all()
    assert (pull[(batch.weight == 0) | (batch.sign == 0) | (batch.scores == -math.inf)] == 0).all()
    if batch.common is None:
        assert pull.sum(dim=1).abs().max() < 1e-12  # adding a constant to a row is free


@given(batches(), st.sampled_from(MODES))
def test_what_is_not_there_may_hold_anything(batch, positives):
    silent = (batch.sign == 0) | (batch.weight == 0) | (batch.scores == -math.inf)
    other = batch.replace(scores=torch.where(silent & (batch.scores != -math.inf), 1e6, batch.scores))
    objective = InfoNCE(0.1, positives)
    assert objective(other).item() == objective(batch).item()


@given(batches(), st.sampled_from(MODES))
def test_one_positive_makes_the_three_readings_one(batch, positives):
    first = (batch.sign > 0).cumsum(dim=1) <= 1
    single = batch.replace(sign=torch.where(first, batch.sign, 0).to(torch.int8))
    assert InfoNCE(0.2, positives)(single).item() == pytest.approx(InfoNCE(0.2)(single).item(), rel=1e-12, abs=1e-14)


@given(batches(), st.sampled_from(MODES))
def test_the_costs_of_anchors_make_up_the_loss(batch, positives):
    cost, believed = InfoNCE(0.3, positives).per_anchor(batch)
    assert cost.shape == believed.shape == (len(batch.sign),) and (cost[believed == 0] == 0).all()
    total = (cost * believed).sum() / max(believed.sum().item(), 1e-30)
    assert total.item() == pytest.approx(InfoNCE(0.3, positives)(batch).item(), rel=1e-12, abs=1e-14)
    assert list(InfoNCE(0.3, positives).terms(batch)) == ["loss"]


@given(batches(), st.sampled_from(MODES), st.sampled_from(AVERAGES))
def test_its_gradient_is_its_slope(batch, positives, average):
    finite = batch.scores.masked_fill(batch.scores == -math.inf, 0.1).requires_grad_()

    def loss(scores):
        return InfoNCE(0.3, positives, average)(batch.replace(scores=scores))

    assert torch.autograd.gradcheck(loss, (finite,), fast_mode=True)


@pytest.mark.parametrize("positives", MODES)
def test_one_weight_on_everything_counts_in_count_only(positives):
    batch = from_groups(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    half = batch.replace(weight=torch.where(batch.sign > 0, 0.5, 1.0))
    for average in ("term", "anchor"):
        assert InfoNCE(0.1, positives, average)(half).item() == pytest.approx(
            InfoNCE(0.1, positives)(batch).item(), rel=1e-6
        )
    for average in ("count", "sum"):
        objective = InfoNCE(0.1, positives, average)
        assert objective(half).item() == pytest.approx(objective(batch).item() / 2, rel=1e-6)


@pytest.mark.parametrize("n, w", [(1, 1.0), (7, 1.0), (7, 0.5), (0, 1.0)])
def test_equal_scores_cost_the_log_of_the_believed_crowd(n, w):
    sign, weight = torch.tensor([[1] + [-1] * n], dtype=torch.int8), torch.tensor([[1.0] + [w] * n])
    assert InfoNCE()(SignedBatch(torch.full((1, n + 1), 0.3), sign, weight)).item() == pytest.approx(math.log1p(n * w))


def test_common_negatives_are_columns_that_need_no_room():
    random = torch.Generator().manual_seed(1)
    scores, extra = torch.randn(3, 4, generator=random).double(), torch.randn(5, generator=random).double()
    weight = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.25], dtype=torch.float64)
    batch = from_groups(scores)
    wide = from_groups(torch.cat([scores, extra.expand(3, 5)], dim=1))
    wide = wide.replace(weight=torch.cat([batch.weight, weight.expand(3, 5)], dim=1))
    assert InfoNCE(0.5)(batch.replace(common=(extra, weight))).item() == pytest.approx(
        InfoNCE(0.5)(wide).item(), rel=1e-12
    )


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("positives", MODES)
def test_averages_of_rows_that_are_not_alike(positives, average):
    """Row 0 has two positives of weights 1 and 0.25, row 1 one of 0.25, row 2 one of 0, row 3 none."""
    sign = torch.tensor([[1, 1, -1], [1, -1, -1], [1, -1, -1], [-1, -1, 0]], dtype=torch.int8)
    weight = torch.tensor([[1, 0.25, 1], [0.25, 1, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.float64)
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.1, 0.1], [0.2, 0.3, 0.1], [0.0, 0.0, 0.0]], dtype=torch.float64)
    batch = SignedBatch(scores, sign, weight)
    each = {"each": 4, "joint": 3, "any": 3}[positives]  # terms that are there, weight 0 counted
    cost, believed = InfoNCE(0.5, positives).per_anchor(batch)
    assert believed.tolist() == ([1.25, 0.25, 0, 0] if positives == "each" else [1, 0.25, 0, 0])
    total = (cost * believed).sum().item()
    want = {
        "term": total / believed.sum().item(),
        "anchor": cost[:2].mean().item(),
        "count": total / each,
        "sum": total,
    }
    assert InfoNCE(0.5, positives, average)(batch).item() == pytest.approx(want[average], rel=1e-12)


def test_two_positives_by_hand():
    """Scores 1 and 0 for the positives, 0 and 0 for the negatives, temperature 1."""
    batch = SignedBatch(
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[1, 1, -1, -1]], dtype=torch.int8), torch.ones(1, 4)
    )
    each = (math.log1p(2 / math.e) + math.log(3)) / 2
    assert InfoNCE(1.0)(batch).item() == pytest.approx(each, rel=1e-6)
    assert InfoNCE(1.0, "joint")(batch).item() == pytest.approx(math.log(1 + 2 / math.e + 2), rel=1e-6)
    assert InfoNCE(1.0, "any")(batch).item() == pytest.approx(math.log(1 + 2 / (math.e + 1)), rel=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_with_arange_labels_it_is_cross_entropy(dtype, tolerance):
    scores = torch.randn(16, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    got = InfoNCE(0.05)(from_groups(scores, torch.arange(16)))
    assert got.item() == pytest.approx(F.cross_entropy(scores / 0.05, torch.arange(16)).item(), rel=tolerance)


@pytest.mark.parametrize("gap, cost", [(500.0, 0.0), (-500.0, 1e5), (0.08, math.log1p(math.exp(-16)))])
@pytest.mark.parametrize("positives", MODES)
def test_far_apart_scores_neither_overflow_nor_vanish(gap, cost, positives):
    batch = from_groups(torch.tensor([[gap, 0.0]]))
    assert InfoNCE(0.005, positives)(batch).item() == pytest.approx(cost, rel=1e-4, abs=1e-12)
    assert gradients(InfoNCE(0.005, positives), batch).isfinite().all()


def test_bfloat16_scores_are_counted_in_float32():
    scores = torch.tensor([[0.5, 0.498046875, 0.25]], dtype=torch.bfloat16, requires_grad=True)
    loss = InfoNCE(0.01)(from_groups(scores))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.1953125) + math.exp(-25)), rel=1e-6)
    loss.backward()
    assert scores.grad.dtype == torch.bfloat16 and scores.grad.isfinite().all()


@pytest.mark.parametrize("positives", MODES)
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3)])
def test_an_empty_batch_costs_nothing_and_still_has_a_graph(positives, average, shape):
    scores = torch.zeros(shape, requires_grad=True)
    batch = SignedBatch(scores, torch.full(shape, -1, dtype=torch.int8), torch.ones(shape))
    loss = InfoNCE(0.1, positives, average)(batch)
    loss.backward()
    assert loss.item() == 0.0 and (scores.grad == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("positives", MODES)
def test_it_compiles_whole(positives):
    objective = InfoNCE(0.05, positives)

    def loss(scores, sign, weight):
        return objective(SignedBatch(scores, sign, weight))

    scores = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    batch = from_groups(scores)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaf, other = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    one, two = compiled(leaf, batch.sign, batch.weight), loss(other, batch.sign, batch.weight)
    one.backward(), two.backward()
    assert torch.allclose(one, two) and torch.allclose(leaf.grad, other.grad, atol=1e-7)


@pytest.mark.parametrize("bad", [0, -0.1, math.nan, math.inf])
def test_a_bad_temperature_is_named_with_its_range(bad):
    with pytest.raises(ValueError, match=f"InfoNCE: temperature must be > 0 and finite, got {bad}"):
        InfoNCE(bad)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="InfoNCE: positives must be 'each', 'joint' or 'any', got 'all'"):
        InfoNCE(positives="all")
    with pytest.raises(ValueError, match="InfoNCE: average must be one of 'term', .* got 'positive'"):
        InfoNCE(average="positive")


def test_a_batch_without_scores_is_refused():
    batch = SignedBatch(None, torch.ones(2, 2, dtype=torch.int8), torch.ones(2, 2), torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"InfoNCE: scores must have the shape of sign \[2, 2\], got None; a scorer"):
        InfoNCE()(batch)


def test_its_spelling_holds_every_argument():
    assert str(InfoNCE(0.01, "joint", "count")) == "infonce(temperature=0.01, positives=joint, average=count)"
