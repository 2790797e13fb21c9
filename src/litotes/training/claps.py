"""Claps: the loss of a sequence model with its own hard pairs, imposters and distant targets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litotes.batch import SignedBatch, from_pairs
from litotes.columns import append_own
from litotes.sources.perturbed.claps import IGNORED, Head, distant_target, imposter, pooled
from litotes.training.chains import claps


class Claps(nn.Module):
    """Likelihood of the target, and a contrast of pooled sources and targets with pairs made by gradient steps:

        L = NLL + beta (L_neg + L_pos) / 2 + alpha_kl KL
        L_neg   each source finds its target among those of the batch and its own imposter
        L_pos   the same with the distant target in the place of the target

    Teacher forcing alone never shows a wrong output. In training only; decoding is as it was. The steps are in units
    of the hidden states that the head reads: compare them with the mean norm there.

    In:   enc [B, S, D], enc_mask [B, S]; dec [B, T, D], what `head` reads, dec_mask [B, T]; labels int64 [B, T], -100 =
          ignored. One decoder pass: all copies are of the same dec.
    Out:  {"loss", "nll", "neg", "pos"}, and "kl" with alpha_kl.
    Args:
        dim: D. temperature: > 0. eps_neg, eps_pos, eps_restore: see `imposter` and `distant_target`.
        beta: >= 0; 0 = the likelihood alone, the rest is not computed.
        alpha_kl: >= 0, of a KL that keeps what the head says of the distant target near what it says of the target.
        positive_temperature: False: the logits of L_pos are raw cosines, as in the released code.
    Raises:
        ValueError: an argument is out of range, or a row is all padding.
    Source: Contrastive Learning with Adversarial Perturbations for Conditional Text Generation (arXiv:2012.07280);
        the released code has no KL in its loss.
    """

    def __init__(
        self,
        dim: int,
        temperature: float = 0.1,
        eps_neg: float = 1.0,
        eps_pos: float = 3.0,
        eps_restore: float | None = None,
        beta: float = 1.0,
        alpha_kl: float = 0.0,
        positive_temperature: bool = True,
    ):
        super().__init__()
        for name, value in (("beta", beta), ("alpha_kl", alpha_kl), ("eps_neg", eps_neg), ("eps_pos", eps_pos)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"Claps: {name} must be >= 0 and finite, got {value!r}")
        self.temperature, self.eps_neg, self.eps_pos, self.eps_restore = temperature, eps_neg, eps_pos, eps_restore
        self.beta, self.alpha_kl = float(beta), float(alpha_kl)
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
        self.negative = claps(temperature)
        self.positive = claps(temperature if positive_temperature else 1.0)

    def forward(
        self, enc: Tensor, enc_mask: Tensor, dec: Tensor, dec_mask: Tensor, head: Head, labels: Tensor
    ) -> dict[str, Tensor]:
        logits = head(dec)
        nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        found = {"loss": nll, "nll": nll}
        if not (self.beta or self.alpha_kl):
            return found
        near = imposter(dec, head, labels, self.eps_neg)
        project = self.project
        far = distant_target(
            enc, enc_mask, dec, dec_mask, head, project, self.temperature, self.eps_pos, self.eps_restore
        )
        zx, zy = pooled(enc, enc_mask, project), pooled(dec, dec_mask, project)
        negative, positive = pairs(zx, zy, pooled(near, dec_mask, project), pooled(far, dec_mask, project))
        found |= {"neg": self.negative(negative), "pos": self.positive(positive)}
        found["loss"] = nll + self.beta * (found["neg"] + found["pos"]) / 2
        if self.alpha_kl:
            each = F.kl_div(
                head(far).log_softmax(dim=-1), logits.detach().log_softmax(dim=-1), reduction="none", log_target=True
            ).sum(dim=-1)
            found["kl"] = torch.where(dec_mask.bool(), each, 0).sum() / dec_mask.sum()
            found["loss"] = found["loss"] + self.alpha_kl * found["kl"]
        return found


def pairs(zx: Tensor, zy: Tensor, near: Tensor, far: Tensor) -> tuple[SignedBatch, SignedBatch]:
    """The batches of L_neg and L_pos: columns [targets | own imposter | own distant target], [B, D] each.

    In the first the target is the positive and the distant one has sign 0, in the second it is the other way round.
    """
    batch = from_pairs(zx, zy)
    b = len(zx)
    own = torch.stack([near, far], dim=1)
    made = append_own(
        batch, own, torch.tensor([[-1, 0]], dtype=torch.int8, device=zx.device).repeat(b, 1), part="Claps"
    )
    swapped = made.sign.clone()
    swapped[:, :b].fill_diagonal_(0)
    swapped[:, b + 1] = 1
    return made, made.replace(sign=swapped, rows={"positive": torch.full((b,), b + 1, device=zx.device)})
