"""UNPG: class vectors and pairs of the batch in one denominator, outliers among the pairs left out."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_classes
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.pairwise.hinge import Hinge
from litotes.scoring import Cosine, PositiveMargin
from litotes.sources.mixed.shared_pairs import SharedPairs
from litotes.sources.proxies import Proxies
from litotes.training.chains import unpg
from litotes.vetting.whisker import Whisker


def with_vectors(chain, vectors):
    with torch.no_grad():
        chain.parts[0].vectors.copy_(vectors)
    return chain


def explicitly(x, y, w, temperature, margin, whisker):
    """The loss as its paper writes it: all pairs beside every row, one by one."""
    c = F.normalize(x) @ F.normalize(w).T
    s = F.normalize(x) @ F.normalize(x).T
    pairs = [s[a, b] for a in range(len(x)) for b in range(a + 1, len(x)) if y[a] != y[b]]
    if pairs and whisker != math.inf:
        ranked = sorted(v.item() for v in pairs)
        low, high = ranked[len(ranked) // 4], ranked[3 * len(ranked) // 4]
        reach = whisker * (high - low)
        pairs = [v for v in pairs if low - reach <= v.item() <= high + reach]
    losses = []
    for i in range(len(x)):
        row = [c[i, j] - (margin if j == y[i] else 0) for j in range(len(w))]
        logits = torch.stack([*row, *pairs]) / temperature
        losses.append(logits.logsumexp(0) - logits[y[i]])
    return torch.stack(losses).mean()


@given(st.integers(1, 5), st.integers(0, 99), st.sampled_from([0.0, 1.0, 1.5, math.inf]))
def test_value_and_gradient_are_those_of_all_pairs_written_out(b, seed, whisker):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(b, 4, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 3, (b,), generator=g)
    chain = unpg(3, 4, "additive", 1 / 16, 0.35, whisker).double()
    ours = chain(from_classes(x, y))
    theirs = explicitly(x, y.tolist(), chain.parts[0].vectors, 1 / 16, 0.35, whisker)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    grads = [torch.autograd.grad(loss, [x, chain.parts[0].vectors]) for loss in (ours, theirs)]
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*grads, strict=True))


def test_by_hand():
    x, y = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([0, 1])
    plain = Chain(Proxies(2, 2), PositiveMargin(Cosine(), "angular", 0.0), InfoNCE(1.0))
    assert with_vectors(plain, torch.eye(2))(from_classes(x, y)).item() == pytest.approx(0.45570, abs=1e-5)
    whole = with_vectors(unpg(2, 2, "angular", 1.0, 0.0, math.inf), torch.eye(2))
    assert whole(from_classes(x, y)).item() == pytest.approx(0.84094, abs=1e-5)


def test_one_class_is_the_plain_head_and_pairs_never_lower_the_loss():
    x = torch.randn(6, 4)
    chain = unpg(3, 4)
    plain = Chain(chain.parts[0], chain.parts[2], InfoNCE(1 / 64))
    one, several = torch.zeros(6, dtype=torch.long), torch.tensor([0, 1, 2, 0, 1, 2])
    assert chain(from_classes(x, one)).item() == pytest.approx(plain(from_classes(x, one)).item(), rel=1e-6)
    assert chain(from_classes(x, several)) > plain(from_classes(x, several))
    assert chain(from_classes(3 * x, several)).item() == pytest.approx(chain(from_classes(x, several)).item(), rel=1e-4)
    order = torch.randperm(6)
    assert chain(from_classes(x[order], several[order])).item() == pytest.approx(
        chain(from_classes(x, several)).item(), rel=1e-5
    )


def test_a_row_feels_pairs_of_which_it_is_no_part():
    x = torch.randn(3, 4, requires_grad=True)
    made = Chain(Proxies(3, 4), SharedPairs(), Cosine(), InfoNCE(0.1)).prepare(from_classes(x, torch.tensor([0, 1, 2])))
    lone = made.replace(
        sign=made.sign[:1], weight=made.weight[:1], scores=made.scores[:1], anchors=made.anchors[:1].detach(),
        rows={name: value[:1] for name, value in made.rows.items()},
    )  # fmt: skip
    InfoNCE(0.1)(lone).backward()
    assert x.grad[1].abs().sum() > 0 and x.grad[2].abs().sum() > 0


def test_outliers_are_counted_and_doubted_and_rows_without_a_class_have_no_pair():
    angles = torch.tensor([0.0, 1.5, 1.52, 1.54, 1.56, 0.001])
    x, y = torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0, 1, 1, 1, 1, -1])
    made = SharedPairs()(from_classes(x, y))
    assert int((made.common[1] > 0).sum()) == 4  # the row without a class is in none
    many = torch.cat([torch.linspace(0.1, 0.2, 11), torch.tensor([0.95, -0.8])])
    batch = made.replace(common=(many, torch.ones(13)))
    vetted = Whisker(1.5)(batch)
    assert vetted.common[1].tolist() == [1.0] * 11 + [0.0, 0.0]
    assert {name.split(": ")[1]: int(count) for name, count in vetted.notes.items()} == {"high": 1, "low": 1}
    assert torch.equal(Whisker(math.inf)(batch).common[1], batch.common[1])
    twice = Whisker(1.5)(vetted)
    assert torch.equal(twice.common[1], vetted.common[1])


def test_a_loss_without_a_log_sum_refuses_common_negatives():
    x, y = torch.randn(3, 4), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="common negatives have a meaning in a log-sum only"):
        Chain(Proxies(3, 4), SharedPairs(), Cosine(), Hinge(0.2))(from_classes(x, y))


def test_large_scales_are_finite_in_half_precision_at_the_ends_of_arccos():
    x = torch.eye(4).bfloat16().requires_grad_()
    chain = with_vectors(unpg(4, 4), torch.eye(4))
    loss = chain(from_classes(x, torch.arange(4)))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and chain.parts[0].vectors.grad.isfinite().all()
