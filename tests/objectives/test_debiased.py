"""DebiasedInfoNCE is its formula, the published code on two views, and InfoNCE without its two numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_groups, two_views
from litotes.chain import Chain
from litotes.objectives import DebiasedInfoNCE, InfoNCE
from litotes.scoring import Cosine

PRIORS, HARDNESS = [0.0, 0.1, 0.6], [0.0, 0.5, 2.0]


@st.composite
def batches(draw):
    b, c = draw(st.integers(1, 3)), draw(st.integers(1, 5))

    def grid(values):
        flat = draw(st.lists(values, min_size=b * c, max_size=b * c))
        return torch.tensor(flat, dtype=torch.float64).reshape(b, c)

    sign = grid(st.sampled_from([-1, -1, 0, 1])).to(torch.int8)
    return SignedBatch(grid(st.floats(-1, 1) | st.just(-math.inf)), sign, grid(st.sampled_from([0.0, 0.25, 1.0])))


def slowly(batch, temperature, prior, hardness, lowest=-1.0):
    """The formulas of the docstring, one anchor at a time; the weighted mean over the terms."""
    total = belief = 0.0
    for scores, signs, weights in zip(batch.scores.tolist(), batch.sign.tolist(), batch.weight.tolist(), strict=True):
        row = [(s / temperature, y, w) for s, y, w in zip(scores, signs, weights, strict=True) if w and s != -math.inf]
        positives, negatives = ([(z, w) for z, y, w in row if y == side] for side in (1, -1))
        if not positives:
            continue
        field = 0.0
        if negatives:
            crowd = sum(w for _, w in negatives)
            emphasis = sum(w * math.exp(hardness * z) for z, w in negatives)
            seen = crowd * sum(w * math.exp((1 + hardness) * z) for z, w in negatives) / emphasis
            hidden = sum(w * math.exp(z) for z, w in positives) / sum(w for _, w in positives)
            field = max((seen - prior * crowd * hidden) / (1 - prior), crowd * math.exp(lowest / temperature))
            field = seen if not prior else field
        total += sum(w * math.log1p(math.exp(-z) * field) for z, w in positives)
        belief += sum(w for _, w in positives)
    return total / belief if belief else 0.0


@given(batches(), st.sampled_from(PRIORS), st.sampled_from(HARDNESS), st.sampled_from([0.2, 1.0]))
def test_it_is_its_formula(batch, prior, hardness, temperature):
    got = DebiasedInfoNCE(temperature, prior, hardness)(batch).item()
    assert got == pytest.approx(slowly(batch, temperature, prior, hardness), rel=1e-9, abs=1e-12)


@given(batches(), st.sampled_from(["term", "anchor", "count", "sum"]))
def test_without_prior_and_hardness_it_is_infonce(batch, average):
    leaves = [batch.scores.clone().requires_grad_() for _ in range(2)]
    losses = [
        objective(batch.replace(scores=leaf))
        for objective, leaf in zip(
            (DebiasedInfoNCE(0.3, 0.0, average=average), InfoNCE(0.3, average=average)), leaves, strict=True
        )
    ]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12, abs=1e-14)
    assert torch.allclose(leaves[0].grad, leaves[1].grad, rtol=1e-9, atol=1e-12)


@given(batches(), st.sampled_from(PRIORS))
def test_at_a_low_temperature_nothing_overflows_and_silence_is_silent(batch, prior):
    scores = batch.scores.clone().requires_grad_()
    loss = DebiasedInfoNCE(0.005, prior, 1.0)(batch.replace(scores=scores))
    loss.backward()
    assert loss.isfinite() and scores.grad.isfinite().all()
    silent = (batch.sign == 0) | (batch.weight == 0) | (batch.scores == -math.inf)
    assert (scores.grad[silent] == 0).all()


@pytest.mark.parametrize("hardness", HARDNESS[:2])
@pytest.mark.parametrize("prior", [0.05, 0.1])
def test_on_two_views_it_is_the_published_loss(prior, hardness):
    """Rows are 2B views, the twin is the positive, the other 2B - 2 are negatives."""
    b, t = 6, 0.5
    random = torch.Generator().manual_seed(1)
    u, v = (torch.randn(b, 4, generator=random, dtype=torch.float64) for _ in range(2))
    out = F.normalize(torch.cat([u, v]))
    z = out @ out.T / t
    positive = torch.cat([z.diagonal(b), z.diagonal(b)]).exp()
    own = torch.eye(b, dtype=torch.bool).repeat(2, 2)
    negative = z.masked_select(~own).view(2 * b, -1).exp()
    n = negative.shape[1]
    emphasis = negative**hardness
    seen = (emphasis * negative).sum(dim=1) / emphasis.mean(dim=1)
    field = ((seen - prior * n * positive) / (1 - prior)).clamp(min=n * math.exp(-1 / t))
    want = -(positive / (positive + field)).log().mean()
    got = Chain(Cosine(), DebiasedInfoNCE(t, prior, hardness))(two_views(u, v))
    assert got.item() == pytest.approx(want.item(), rel=1e-12)


def test_by_hand():
    """All scores 0, two negatives: R = 2, P = 1, so N = (2 - 0.25 * 2) / 0.75 = 2, whatever the prior."""
    row = from_groups(torch.zeros(1, 3, dtype=torch.float64))
    assert DebiasedInfoNCE(1.0, 0.25)(row).item() == pytest.approx(math.log(3))
    # the positive at 1: P = e, N = (2 - 0.5 e) / 0.75
    row = from_groups(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64))
    field = (2 - 0.5 * math.e) / 0.75
    assert DebiasedInfoNCE(1.0, 0.25)(row).item() == pytest.approx(math.log1p(field / math.e), rel=1e-12)
    # prior 0.5 would leave 2 - e < 0: the bound 2 / e holds
    assert DebiasedInfoNCE(1.0, 0.5)(row).item() == pytest.approx(math.log1p(2 * math.exp(-2)), rel=1e-12)
    # ... it holds above a remainder of 0.85 too, where no score is below 0 and two negatives are 2 at least
    assert DebiasedInfoNCE(1.0, 0.25, lowest=0.0)(row).item() == pytest.approx(math.log1p(2 / math.e), rel=1e-12)
    # ... and a higher lowest score is a higher bound
    assert DebiasedInfoNCE(1.0, 0.5, lowest=0.0)(row).item() == pytest.approx(math.log1p(2 / math.e), rel=1e-12)


def test_where_the_bound_holds_the_negatives_are_left_alone():
    scores = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    DebiasedInfoNCE(1.0, 0.5)(from_groups(scores)).backward()
    assert scores.grad[0, 0] < 0 and (scores.grad[0, 1:] == 0).all()


def test_hardness_moves_the_push_from_the_easy_to_the_hard():
    def easy_over_hard(hardness):
        scores = torch.tensor([[0.2, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
        DebiasedInfoNCE(0.5, 0.0, hardness)(from_groups(scores)).backward()
        return (scores.grad[0, 2] / scores.grad[0, 1]).item()

    assert easy_over_hard(0.0) == pytest.approx(math.exp(-1.0))  # exp((0 - 0.5) / 0.5)
    assert easy_over_hard(0.0) > easy_over_hard(0.3) > easy_over_hard(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1}, "temperature must be > 0 and finite, got -1"),
        ({"prior": 1.0}, r"prior must be in \[0, 1\), got 1.0"),
        ({"prior": math.nan}, r"prior must be in \[0, 1\), got nan"),
        ({"hardness": -0.5}, "hardness must be >= 0 and finite, got -0.5"),
        ({"lowest": -math.inf}, "lowest must be finite, got -inf"),
        ({"average": "mean"}, "average must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"DebiasedInfoNCE: {message}"):
        DebiasedInfoNCE(**arguments)
