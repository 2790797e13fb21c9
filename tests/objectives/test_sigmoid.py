"""SigmoidPairs is a logistic regression on every pair."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups, from_pairs
from litotes.chain import Chain
from litotes.objectives import LearnedTemperature, SigmoidPairs
from litotes.scoring import Cosine

AVERAGES = ["positive", "term", "anchor", "count", "sum"]


@st.composite
def batches(draw):
    b, c = draw(st.integers(1, 3)), draw(st.integers(1, 4))

    def grid(values):
        flat = draw(st.lists(values, min_size=b * c, max_size=b * c))
        return torch.tensor(flat, dtype=torch.float64).reshape(b, c)

    sign = grid(st.sampled_from([-1, 0, 1])).to(torch.int8)
    return SignedBatch(grid(st.floats(-1, 1) | st.just(-math.inf)), sign, grid(st.sampled_from([0.0, 0.25, 1.0])))


def slowly(batch, temperature, bias, average):
    """One pair at a time."""
    rows, positives, count = [], 0.0, 0
    for scores, signs, weights in zip(batch.scores.tolist(), batch.sign.tolist(), batch.weight.tolist(), strict=True):
        pairs = [(s, y, w) for s, y, w in zip(scores, signs, weights, strict=True) if y and s != -math.inf]
        count += len(pairs)
        positives += sum(w for _, y, w in pairs if y > 0)
        rows.append([(w, math.log1p(math.exp(-y * (s / temperature + bias)))) for s, y, w in pairs])
    total = sum(w * c for row in rows for w, c in row)
    belief = sum(w for row in rows for w, _ in row)
    if average == "anchor":
        means = [sum(w * c for w, c in row) / sum(w for w, _ in row) for row in rows if any(w for w, _ in row)]
        return sum(means) / len(means) if means else 0.0
    return total / ({"positive": positives, "term": belief, "count": count, "sum": 1}[average] or 1)


@given(batches(), st.sampled_from(AVERAGES), st.sampled_from([0.0, -2.0, 1.0]))
def test_it_is_its_formula(batch, average, bias):
    got = SigmoidPairs(0.5, bias, average=average)(batch).item()
    assert got == pytest.approx(slowly(batch, 0.5, bias, average), rel=1e-12, abs=1e-14)


@given(batches(), st.sampled_from(AVERAGES))
def test_positives_are_pulled_negatives_pushed_and_silence_is_silent(batch, average):
    scores = batch.scores.clone().requires_grad_()
    SigmoidPairs(0.5, -1.0, average=average)(batch.replace(scores=scores)).backward()
    pull = scores.grad
    assert pull.isfinite().all()
    assert (pull[batch.sign > 0] <= 0).all() and (pull[batch.sign < 0] >= 0).all()
    assert (pull[(batch.weight == 0) | (batch.sign == 0) | (batch.scores == -math.inf)] == 0).all()


@given(batches())
def test_the_costs_of_anchors_make_up_the_mean_over_pairs(batch):
    objective = SigmoidPairs(0.3, average="term")
    cost, believed = objective.per_anchor(batch)
    total = (cost * believed).sum() / max(believed.sum().item(), 1e-30)
    assert total.item() == pytest.approx(objective(batch).item(), rel=1e-12, abs=1e-14)


def test_on_a_square_batch_it_is_the_published_algorithm():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 8, generator=random), torch.randn(5, 8, generator=random)
    logits = F.normalize(x) @ F.normalize(y).T * 10.0 - 10.0
    labels = 2 * torch.eye(5) - torch.ones(5, 5)
    want = -F.logsigmoid(labels * logits).sum() / 5
    assert Chain(Cosine(), SigmoidPairs(0.1, -10.0))(from_pairs(x, y)).item() == pytest.approx(want.item(), rel=1e-6)


def test_it_is_binary_cross_entropy_on_the_pairs():
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = from_groups(scores, torch.arange(6))
    want = F.binary_cross_entropy_with_logits(scores / 0.2 - 3, torch.eye(6, dtype=torch.float64))
    assert SigmoidPairs(0.2, -3.0, average="term")(batch).item() == pytest.approx(want.item(), rel=1e-12)


def test_temperature_and_bias_are_learned():
    temperature = LearnedTemperature(0.1, max_scale=None)
    objective = SigmoidPairs(temperature, -10.0, learn_bias=True)
    assert {name for name, _ in objective.named_parameters()} == {"offset", "temperature.log_scale"}
    objective(from_groups(torch.tensor([[0.5, 0.1]]))).backward()
    # d/db of log(1 + exp(-(5 + b))) + log(1 + exp(1 + b)) at b = -10
    want = -torch.sigmoid(torch.tensor(5.0)) + torch.sigmoid(torch.tensor(-9.0))
    assert objective.offset.grad.item() == pytest.approx(want.item(), rel=1e-5)
    assert temperature.log_scale.grad.abs() > 0
    assert not list(SigmoidPairs(0.1).parameters())


def test_far_apart_scores_do_not_overflow():
    batch = from_groups(torch.tensor([[-500.0, 500.0]], requires_grad=True))
    loss = SigmoidPairs(0.005, 0.0)(batch)
    assert loss.item() == pytest.approx(2e5, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "temperature must be > 0 and finite, got 0"),
        ({"bias": math.nan}, "bias must be finite, got nan"),
        ({"bias": math.inf}, "bias must be finite, got inf"),
        ({"average": "mean"}, "average must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"SigmoidPairs: {message}"):
        SigmoidPairs(**arguments)


def test_common_negatives_are_refused():
    batch = from_groups(torch.zeros(1, 2)).replace(common=(torch.zeros(1), torch.ones(1)))
    with pytest.raises(ValueError, match="SigmoidPairs: common negatives"):
        SigmoidPairs()(batch)
