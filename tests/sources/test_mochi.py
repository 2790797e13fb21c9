"""Mixes are harder than their parents, belong to their anchor, and no doubted candidate is a parent."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import Moment, SignedBatch, doubt, from_pairs
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.scoring import Cosine
from litotes.sources.mixed.mochi import MoCHi


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(b, c, d=8, seed=0, dtype=torch.float32):
    """b anchors with a positive each, c negatives in common; all scored by cosine."""
    g = generator(seed)
    made = [torch.randn(n, d, generator=g).to(dtype) for n in (b, b, c)]
    sign = torch.cat([torch.where(torch.eye(b, dtype=torch.bool), 1, 0), -torch.ones(b, c)], dim=1).to(torch.int8)
    return Cosine()(SignedBatch(None, sign, torch.ones(b, b + c), made[0], torch.cat(made[1:])))


@given(st.integers(1, 4), st.integers(2, 12), st.integers(2, 6), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_mixes_are_unit_vectors_of_parents_among_the_hardest_of_their_own_anchor(b, c, hard, two, one, distinct):
    # one-hot negatives of unique support: a mix shows its parents
    batch = batch_of(b, c, d=c + 3)
    pool = torch.eye(c, c + 3)
    anchors = torch.rand(b, c + 3, generator=generator(3))
    batch = Cosine()(batch.replace(scores=None, anchors=anchors, candidates=torch.cat([batch.candidates[:b], pool])))
    made = MoCHi(hard, two, one, distinct=distinct)(batch, generator=generator(1))
    if not two and not one:
        assert made is batch
        return
    assert made.own.shape == (b, two + one, c + 3) and (made.sign[:, b + c :] == -1).all()
    assert made.own.norm(dim=-1) == pytest.approx(torch.ones(b, two + one), abs=1e-5)
    for i in range(b):
        hardest = set(anchors[i, :c].topk(min(hard, c)).indices.tolist())
        for k in range(two):
            parents = set((made.own[i, k] > 0).nonzero().flatten().tolist())
            assert parents <= hardest and (len(parents) == 2 or not distinct or made.own[i, k].max() > 0.999)
        for k in range(two, two + one):  # without its share of the anchor there is one parent left
            share = made.own[i, k, c] / (anchors[i, c] / anchors[i].norm())
            rest = made.own[i, k] - share * anchors[i] / anchors[i].norm()
            assert set((rest > 1e-5).nonzero().flatten().tolist()) <= hardest and (rest > 1e-5).sum() == 1
            assert 0 <= share / (share + rest.max()) <= 0.5


def test_a_mix_of_two_by_hand_is_harder_than_both():
    anchors, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    sign = torch.tensor([[1, -1, -1]], dtype=torch.int8)
    batch = Cosine()(SignedBatch(None, sign, torch.ones(1, 3), anchors, pool))
    made = Cosine()(MoCHi(2, 200, 0)(batch, generator=generator()))
    scores = made.scores[0, 3:]
    assert (scores >= 0.6 - 1e-6).all() and scores.max() > 0.99  # alpha = 1/2 gives q itself
    # the loss by hand, without mixes and with the one of alpha = 1/2: log(1 + 2 e^-2) and log(2 + 2 e^-2)
    assert InfoNCE(0.2)(batch).item() == pytest.approx(0.23954, abs=1e-5)
    half = SignedBatch(
        torch.tensor([[1.0, 0.6, 0.6, 1.0]]), torch.tensor([[1, -1, -1, -1]]).to(torch.int8), torch.ones(1, 4)
    )
    assert InfoNCE(0.2)(half).item() == pytest.approx(0.82008, abs=1e-5)


@given(st.integers(0, 30))
def test_a_mix_with_the_anchor_lies_between_it_and_its_parent(seed):
    anchors, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    sign = torch.tensor([[1, -1]], dtype=torch.int8)
    batch = Cosine()(SignedBatch(None, sign, torch.ones(1, 2), anchors, pool))
    own = MoCHi(1, 0, 5)(batch, generator=generator(seed)).own[0]
    assert (own[:, 0] >= 0).all() and (own[:, 1] >= own[:, 0] - 1e-6).all()  # the negative has the larger share


def test_doubted_and_absent_candidates_are_no_parents():
    c, d = 6, 9
    pool = torch.eye(c, d)
    anchors = torch.zeros(2, d)
    anchors[:, :c] = torch.tensor([9.0, 8, 7, 3, 2, 1])  # columns 0, 1 and 2 are the hardest
    anchors[:, c] = 1
    sign = torch.tensor([[1, -1, 0, -1, -1, -1], [-1, 1, -1, -1, -1, -1]], dtype=torch.int8)
    batch = Cosine()(SignedBatch(None, sign, torch.ones(2, c), anchors, pool))
    batch = doubt(batch, torch.tensor([[False, True, False, False, False, False]] + [[True] + 5 * [False]]), reason="x")
    made = MoCHi(2, 50, 20)(batch, generator=generator())
    share = made.own[0, 50:, c] / (anchors[0, c] / anchors[0].norm())
    rest = made.own[0, 50:] - share[:, None] * anchors[0] / anchors[0].norm()
    assert (made.own[0, :50, :3] == 0).all() and (rest[:, :3].abs() < 1e-6).all()  # positive, doubted, absent
    assert (made.own[1, :50, [0, 1]] == 0).all() and (made.own[1, :50, 2] > 0).any()


def test_anchors_with_too_few_negatives_have_no_mix_of_two():
    sign = torch.tensor([[1, -1, 0], [1, 0, 0], [1, -1, -1]], dtype=torch.int8)
    batch = Cosine()(SignedBatch(None, sign, torch.ones(3, 3), torch.randn(3, 4), torch.randn(3, 4)))
    made = MoCHi(8, 2, 1)(batch, generator=generator())
    assert made.sign[:, 3:].tolist() == [[0, 0, -1], [0, 0, 0], [-1, -1, -1]]
    loose = MoCHi(8, 2, 1, distinct=False)(batch, generator=generator())
    assert loose.sign[:, 3:].tolist() == [[-1, -1, -1], [0, 0, 0], [-1, -1, -1]]


def test_the_gradient_is_that_of_frozen_mixes():
    batch = batch_of(3, 5, dtype=torch.float64)
    anchors = batch.anchors.clone().requires_grad_()
    pool = batch.candidates.clone().requires_grad_()
    part = MoCHi(4, 3, 2)

    def loss(a, p, mixes=None):
        scored = Cosine()(batch.replace(scores=None, anchors=a, candidates=p))
        made = part(scored, generator=generator(5))
        made = made if mixes is None else made.replace(own=mixes)
        return InfoNCE(0.2)(Cosine()(made)), made.own

    value, mixes = loss(anchors, pool)
    assert not mixes.requires_grad
    frozen, _ = loss(anchors, pool, mixes.detach())
    ours = torch.autograd.grad(value, [anchors, pool], retain_graph=True)
    theirs = torch.autograd.grad(frozen, [anchors, pool])
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))
    moving = MoCHi(4, 0, 2, stop_gradient=False)(
        Cosine()(batch.replace(scores=None, anchors=anchors)), generator=generator()
    )
    assert moving.own.requires_grad


def test_draws_are_the_generators_and_warm_up_is_plain():
    batch, part = batch_of(3, 9), MoCHi(4, 3, 2, warmup=0.5)
    late = Moment(9, 0, 0.5)
    state = torch.get_rng_state()
    one, two, other = (part(batch, now=late, generator=generator(s)).own for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other) and torch.equal(torch.get_rng_state(), state)
    early = Moment(1, 0, 0.49)
    assert part(batch, now=early, generator=generator()) is batch
    chain = Chain(Cosine(), part, InfoNCE(0.2))
    assert torch.equal(chain(batch, now=early, generator=generator()), InfoNCE(0.2)(batch))
    assert chain(batch, now=late, generator=generator()) > InfoNCE(0.2)(batch)


def test_belief_of_the_parents_is_that_of_the_mix_on_request():
    batch = batch_of(2, 4)
    batch = doubt(batch, batch.sign < 0, 0.5, reason="x")
    made = MoCHi(4, 2, 1, parent_belief=True)(batch, generator=generator())
    assert made.weight[:, 6:].tolist() == [[0.25, 0.25, 0.5]] * 2
    assert (MoCHi(4, 2, 1)(batch, generator=generator()).weight[:, 6:] == 1).all()


def test_antipodal_parents_are_finite():
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    sign = torch.tensor([[1, -1, -1]], dtype=torch.int8)
    anchors = torch.tensor([[1.0, 0.0]], requires_grad=True)
    batch = Cosine()(SignedBatch(None, sign, torch.ones(1, 3), anchors, pool))
    made = Cosine()(MoCHi(2, 64, 0)(batch, generator=generator()))
    InfoNCE(0.2)(made).backward()
    assert made.own.isfinite().all() and anchors.grad.isfinite().all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MoCHi(1, 5), "n_hard must be a whole number >= 2, got 1"),
        (lambda: MoCHi(beta_max=0.6), r"beta_max must be in \(0, 0.5\], got 0.6"),
        (lambda: MoCHi(warmup=1.0), r"warmup must be in \[0, 1\), got 1.0"),
        (lambda: MoCHi(4, 2, 2)(batch_of(2, 4)), "need a generator"),
        (lambda: MoCHi(4, 2, 2)(from_pairs(torch.eye(2), torch.eye(2)), generator=generator()), "a scorer comes first"),
        (lambda: MoCHi(4, 2, warmup=0.1)(batch_of(2, 4), generator=generator()), "now"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
