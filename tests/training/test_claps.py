"""Imposters and distant targets by hand, what no gradient may reach, and the losses they enter."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from litotes.ops import unit
from litotes.scoring import Cosine
from litotes.sources.perturbed.claps import distant_target, imposter, pooled
from litotes.training.chains import claps
from litotes.training.claps import Claps, pairs

B, S, T, D, V = 4, 5, 6, 8, 30


def world(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    enc, dec = torch.randn(B, S, D, dtype=dtype), torch.randn(B, T, D, dtype=dtype)
    length = torch.tensor([6, 4, 2, 5])
    dec_mask, enc_mask = (torch.arange(T) < length[:, None]).long(), (torch.arange(S) < length[:, None] - 1).long()
    labels = torch.randint(0, V, (B, T)).masked_fill(dec_mask == 0, -100)
    return enc, enc_mask, dec, dec_mask, nn.Linear(D, V).to(dtype), labels


def nll(head, h, labels):
    return F.cross_entropy(head(h).flatten(0, 1), labels.flatten())


def test_an_imposter_by_hand():
    h, y = torch.zeros(1, 1, 2), torch.tensor([[0]])
    made = imposter(h, lambda x: x, y, 1.0)
    assert made[0, 0].tolist() == pytest.approx([-0.70711, 0.70711], abs=1e-5)
    assert nll(lambda x: x, h, y).item() == pytest.approx(0.69315, abs=1e-5)
    assert nll(lambda x: x, made, y).item() == pytest.approx(1.63184, abs=1e-5)


def test_every_token_moves_by_eps_and_ignored_ones_stay():
    _, _, dec, _, head, labels = world()
    moved = (imposter(dec, head, labels, 0.7) - dec).norm(dim=-1)
    assert torch.allclose(moved[labels != -100], torch.tensor(0.7), atol=1e-6) and (moved[labels == -100] == 0).all()
    half = imposter(dec.half(), lambda x: head(x.float()), labels, 0.7)
    assert torch.allclose((half - dec.half()).float().norm(dim=-1)[labels != -100], torch.tensor(0.7), atol=5e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_steps_go_where_they_should(seed):
    enc, enc_mask, dec, dec_mask, head, labels = world(seed, torch.float64)
    project = nn.Sequential(nn.Linear(D, D), nn.ReLU()).double()
    assert nll(head, imposter(dec, head, labels, 0.01), labels) > nll(head, dec, labels)

    def contrast(h):
        z = unit(pooled(enc, enc_mask, project)) @ unit(pooled(h, dec_mask, project)).T
        return F.cross_entropy(z / 0.1, torch.arange(B))

    def divergence(h):
        p = head(dec).log_softmax(-1)
        return (F.kl_div(head(h).log_softmax(-1), p, reduction="none", log_target=True).sum(-1) * dec_mask).sum()

    far = distant_target(enc, enc_mask, dec, dec_mask, head, project, eps=0.01, eps_restore=0.0)
    assert contrast(far) > contrast(dec)
    back = distant_target(enc, enc_mask, dec, dec_mask, head, project, eps=0.01, eps_restore=0.0001)
    assert divergence(back) < divergence(far)
    assert torch.allclose((far - dec).norm(dim=-1)[dec_mask == 1], torch.tensor(0.01, dtype=torch.float64))
    still = distant_target(enc, enc_mask, dec, dec_mask, head, project, eps=0.0)
    assert torch.equal(still, dec)  # no gradient of the divergence there: no 0 / 0


def flat(*cosines):
    """Vectors in the plane with these cosines to (1, 0)."""
    return torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines])


def test_the_losses_by_hand():
    zx, zy = torch.eye(2), torch.eye(2)
    near = torch.tensor([[0.5, math.sqrt(0.75)], [math.sqrt(0.75), 0.5]])
    far = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    negative, positive = pairs(zx, zy, near, far)
    assert Cosine()(negative).scores[0, :3].tolist() == pytest.approx([1.0, 0.0, 0.5])
    assert claps(0.1)(negative).item() == pytest.approx(0.0067604, abs=1e-6)
    assert claps(0.1)(positive).item() == pytest.approx(0.0489069, abs=1e-6)
    again = pairs(7 * zx, zy, near, far)
    assert claps(0.1)(again[1]).item() == pytest.approx(claps(0.1)(positive).item(), rel=1e-5)


def test_without_steps_the_imposter_is_the_target():
    enc, enc_mask, dec, dec_mask, head, labels = world()
    part = Claps(D, eps_neg=0.0, eps_pos=0.0)
    found = part(enc, enc_mask, dec, dec_mask, head, labels)
    assert found["pos"].item() == pytest.approx(found["neg"].item(), rel=1e-6)
    for temperature in (0.1, 3.0):
        one = Claps(D, temperature, 0.0, 0.0)(enc[:1], enc_mask[:1], dec[:1], dec_mask[:1], head, labels[:1])
        assert one["neg"].item() == pytest.approx(math.log(2), abs=1e-5)
        assert one["pos"].item() == pytest.approx(math.log(2), abs=1e-5)


def test_the_generators_touch_nobody_and_work_without_grad():
    enc, enc_mask, dec, dec_mask, head, labels = world()
    project = nn.Linear(D, D)
    dec.requires_grad_()
    with torch.no_grad():
        near = imposter(dec, head, labels)
    far = distant_target(enc, enc_mask, dec, dec_mask, head, project)
    assert not near.requires_grad and not far.requires_grad and not torch.equal(near, dec)
    assert dec.grad is None and all(p.grad is None for p in [*head.parameters(), *project.parameters()])
    head.weight.grad = torch.ones_like(head.weight)
    imposter(dec, head, labels)
    assert (head.weight.grad == 1).all()


def test_the_copies_teach_the_projection_and_not_the_hidden_states():
    enc, enc_mask, dec, dec_mask, head, labels = world()
    part = Claps(D)
    dec.requires_grad_()
    near = pooled(imposter(dec, head, labels), dec_mask, part.project)
    far = pooled(distant_target(enc, enc_mask, dec, dec_mask, head, part.project), dec_mask, part.project)
    (near.sum() + far.sum()).backward()
    assert dec.grad is None and (part.project[0].weight.grad != 0).any()
    part(enc, enc_mask, dec, dec_mask, head, labels)["loss"].backward()
    assert (dec.grad != 0).any() and (head.weight.grad != 0).any()


def test_padding_says_nothing_and_order_does_not_matter():
    enc, enc_mask, dec, dec_mask, head, labels = world(dtype=torch.float64)
    part = Claps(D, alpha_kl=0.5).double()
    found = part(enc, enc_mask, dec, dec_mask, head, labels)
    other = part(
        torch.where(enc_mask[..., None] == 1, enc, 50.0), enc_mask, torch.where(dec_mask[..., None] == 1, dec, -9.0),
        dec_mask, head, labels,
    )  # fmt: skip
    turn = torch.tensor([2, 0, 3, 1])
    turned = part(enc[turn], enc_mask[turn], dec[turn], dec_mask[turn], head, labels[turn])
    for name in found:
        assert other[name].item() == pytest.approx(found[name].item(), rel=1e-9)
        assert turned[name].item() == pytest.approx(found[name].item(), rel=1e-9)
    total = found["nll"] + (found["neg"] + found["pos"]) / 2 + 0.5 * found["kl"]
    assert found["loss"].item() == pytest.approx(total.item(), rel=1e-9)
    with pytest.raises(ValueError, match="row 1 is all padding"):
        pooled(enc, enc_mask.index_fill(0, torch.tensor([1]), 0), part.project)


def test_beta_of_zero_is_the_likelihood_and_raw_cosines_are_on_offer():
    enc, enc_mask, dec, dec_mask, head, labels = world()
    plain = Claps(D, beta=0.0)(enc, enc_mask, dec, dec_mask, head, labels)
    assert torch.equal(plain["loss"], nll(head, dec, labels)) and set(plain) == {"loss", "nll"}
    torch.manual_seed(1)
    one = Claps(D)
    torch.manual_seed(1)
    raw = Claps(D, positive_temperature=False)
    a, b = (part.eval()(enc, enc_mask, dec, dec_mask, head, labels) for part in (one, raw))
    assert a["neg"].item() == b["neg"].item() and abs(a["pos"] - b["pos"]) > 1e-3


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Claps(4, beta=-1), "beta must be >= 0"),
        (lambda: Claps(4, eps_neg=float("nan")), "eps_neg must be >= 0"),
        (lambda: Claps(4, temperature=0), "temperature must be > 0"),
        (lambda: imposter(torch.ones(1, 1, 2), lambda x: x, torch.zeros(1, 1).long(), -1.0), "eps must be >= 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
