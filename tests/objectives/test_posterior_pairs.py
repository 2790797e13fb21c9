"""Divergences of posteriors: positives to nothing, negatives to a margin."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_labels
from litotes.chain import Chain
from litotes.objectives.contrastive.posterior_pairs import PosteriorPairs
from litotes.scoring import PosteriorKL

NEAR = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]).log()
FAR = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).log()


def chain(*args, **named):
    return Chain(PosteriorKL(), PosteriorPairs(*args, **named))


def test_by_hand():
    same, other = torch.tensor([0, 0]), torch.tensor([0, 1])
    assert chain()(from_labels(NEAR, same)).item() == pytest.approx(0.177156, abs=1e-5)
    assert chain()(from_labels(FAR, other)).item() == pytest.approx(1.307530, abs=1e-5)
    far = FAR.clone().requires_grad_()
    loss = chain(margin=1.0)(from_labels(far, other))
    loss.backward()
    assert loss.item() == 0 and (far.grad == 0).all()
    level = torch.zeros(2, 3, requires_grad=True)
    assert chain()(from_labels(level, same)).item() == 0
    loss = chain()(from_labels(level, other))
    loss.backward()
    assert loss.item() == pytest.approx(4) and level.grad.abs().max() < 1e-6  # stationary there


@given(st.integers(2, 6), st.integers(0, 50), st.booleans())
def test_it_is_the_mean_over_unordered_pairs(b, seed, balanced):
    g = torch.Generator().manual_seed(seed)
    logits, y = 2 * torch.randn(b, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (b,), generator=g)
    weight = torch.rand(b, b, generator=g, dtype=torch.float64)
    weight = torch.minimum(weight, weight.T)
    p = logits.log_softmax(1)
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for i in range(b):
        for j in range(i + 1, b):
            kl = [float((p[a].exp() * (p[a] - p[c])).sum()) for a, c in ((i, j), (j, i))]
            same = bool(y[i] == y[j])
            cost = sum(kl) if same else sum(max(0, 1.5 - k) for k in kl)
            sums[same][0] += float(weight[i, j]) * cost
            sums[same][1] += float(weight[i, j])
    halves = [s / w if w else 0.0 for s, w in (sums[True], sums[False])]
    total = sums[True][1] + sums[False][1]
    wanted = sum(halves) if balanced else (sums[True][0] + sums[False][0]) / total if total else 0.0
    batch = from_labels(logits, y).replace(weight=weight)
    part = chain(1.5, balanced)
    assert part(batch).item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    terms = part.terms(batch)
    assert [terms["positive"].item(), terms["negative"].item()] == pytest.approx(halves, rel=1e-6, abs=1e-9)


def test_what_is_not_believed_is_neither_in_sum_nor_count_and_factors_cancel_when_balanced():
    torch.manual_seed(0)
    logits, y = torch.randn(5, 3), torch.tensor([0, 0, 1, 1, 2])
    batch = from_labels(logits, y)
    lower = torch.where(batch.sign < 0, 0.25, 1.0)
    assert chain()(batch.replace(weight=lower)).item() == pytest.approx(chain()(batch).item(), rel=1e-5)
    loose = chain(balanced=False)
    assert abs(loose(batch.replace(weight=lower)) - loose(batch)) > 1e-3
    without = batch.replace(
        weight=torch.ones(5, 5).index_fill(0, torch.tensor([4]), 0).index_fill(1, torch.tensor([4]), 0)
    )
    assert chain()(without).item() == pytest.approx(chain()(from_labels(logits[:4], y[:4])).item(), rel=1e-5)


def test_gradients_are_finite_far_apart_and_batches_without_a_half_are_no_nan():
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    for y in ([0, 0], [0, 1]):
        loss = chain()(from_labels(logits, torch.tensor(y)))
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all()
    lone = PosteriorPairs()(SignedBatch(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int8), torch.ones(1, 1)))
    assert lone.item() == 0


@pytest.mark.parametrize("margin", [0, -1.0, float("nan"), float("inf")])
def test_the_margin_is_checked(margin):
    with pytest.raises(ValueError, match="PosteriorPairs: margin must be > 0"):
        PosteriorPairs(margin)
