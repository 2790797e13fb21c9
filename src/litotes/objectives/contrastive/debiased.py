"""DebiasedInfoNCE: InfoNCE that subtracts the positives hidden among its negatives, and may prefer the hard ones."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored, without_common
from litotes.objectives.contrastive.infonce import log_sum
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at


class DebiasedInfoNCE(Objective):
    """InfoNCE whose field of negatives is an estimate: what it would be if no negative were a positive in disguise.

    Negatives drawn blindly are positives with probability `prior`. With z = scores / temperature, W = sum of w_n,

        R = W sum_n w_n e_n exp(z_n) / sum_n w_n e_n,   e_n = exp(hardness z_n)     the field, hard negatives preferred
        P = sum_p w_p exp(z_p) / sum_p w_p                                          what a positive adds to it
        N = max((R - prior W P) / (1 - prior),  W exp(lowest / temperature))

    and each positive costs log(1 + exp(-z_p) N), as in InfoNCE; with prior = hardness = 0 it is InfoNCE. `prior` and
    `hardness` belong together: hardness alone looks for what is alike, and what is alike is often true. It knows no
    single false negative; a vetter (Gist) does, and leaves less to subtract.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C]. Sign 0, -inf and weight 0 are no pair; a row without believed
          negatives costs 0, one without positives has no term.
    Out:  scalar >= 0 in nats per term, float32 or the wider dtype of `scores`. Gradients pass through e; where the
          bound holds, none reach the negatives.
    Cost: O(B C), no host synchronisation.

    Args:
        temperature: divides the scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature.
        prior: probability that a negative is a positive, in [0, 1).
        hardness: >= 0 and finite; 0 = all negatives alike (debiased), 0.5 to 2 is usual (hard-negative sampling).
        lowest: the lowest score there can be, finite; -1 for cosines.
        average: "term" (sum w c / sum w), "anchor", "count" (divided by the number of positives, weight 0 counted) or
            "sum".
    Raises:
        ValueError: an argument is out of range, the batch has no scores, or it has common negatives.
    Source: Debiased Contrastive Learning (arXiv:2007.00224), equations 7 and 8; hardness: Contrastive Learning with
        Hard Negative Samples (arXiv:2010.04592), equation 4, its e_n of z as in the released code. There the one
        positive estimates P; here all positives of a row do.

    Example:
        >>> from litotes.batch import from_groups
        >>> row = from_groups(torch.tensor([[0.0, 0.0, 0.0]]))
        >>> round(DebiasedInfoNCE(1.0, prior=0.0)(row).item(), 4)  # log 3
        1.0986
    """

    citation = """@inproceedings{chuang2020debiased,
    title = {Debiased Contrastive Learning},
    author = {Chuang, Ching-Yao and Robinson, Joshua and Lin, Yen-Chen and Torralba, Antonio and Jegelka, Stefanie},
    booktitle = {NeurIPS},
    year = {2020}
}
@inproceedings{robinson2021contrastive,
    title = {Contrastive Learning with Hard Negative Samples},
    author = {Robinson, Joshua and Chuang, Ching-Yao and Sra, Suvrit and Jegelka, Stefanie},
    booktitle = {ICLR},
    year = {2021}
}"""
    name_in_recipes = "debiased_infonce"

    def __init__(
        self,
        temperature: Temperature = 0.5,
        prior: float = 0.1,
        hardness: float = 0.0,
        lowest: float = -1.0,
        average: Literal["term", "anchor", "count", "sum"] = "term",
    ):
        super().__init__()
        self.temperature = checked_temperature(temperature, "DebiasedInfoNCE")
        if not 0.0 <= prior < 1.0:
            raise ValueError(f"DebiasedInfoNCE: prior must be in [0, 1), got {prior!r}")
        if not (hardness >= 0 and math.isfinite(hardness)):
            raise ValueError(f"DebiasedInfoNCE: hardness must be >= 0 and finite, got {hardness!r}")
        if not math.isfinite(lowest):
            raise ValueError(f"DebiasedInfoNCE: lowest must be finite, got {lowest!r}")
        self.prior, self.hardness, self.lowest = float(prior), float(hardness), float(lowest)
        self.average = checked_average(average, ("term", "anchor", "count", "sum"), "DebiasedInfoNCE")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch, now)
        terms = lambda: (batch.exists & (batch.sign > 0)).sum().to(cost.dtype)
        return average_terms(self.average, cost, weight, terms=terms)

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean of an anchor's terms, and the sum of their weights [B], 0 = no term."""
        return anchor_means(*self._costs(batch, now))

    def _costs(self, batch: SignedBatch, now: Moment | None) -> tuple[Tensor, Tensor]:
        """Cost and weight of the terms, [B, C] each."""
        scores = scored(batch, self)
        without_common(batch, self)
        dtype = torch.promote_types(scores.dtype, torch.float32)
        temperature = temperature_at(self.temperature, now)
        exists = batch.exists
        z = torch.where(exists, scores, 0).to(dtype) / temperature
        weight = torch.where(exists, batch.weight, 0).to(dtype)
        pull, push = weight * (batch.sign > 0), weight * (batch.sign < 0)
        return -F.logsigmoid(z - self._field(z, pull, push, temperature)), pull

    def _field(self, z: Tensor, pull: Tensor, push: Tensor, temperature: float | Tensor) -> Tensor:
        """log N, [B, 1]; -inf, with gradient 0, in a row without believed negatives."""
        some = (push > 0).any(dim=1, keepdim=True)
        push = torch.where(some, push, 1)  # all of it is thrown away below; -inf minus -inf would be NaN
        count = push.sum(dim=1, keepdim=True).log()
        field = log_sum((1 + self.hardness) * z, push) - log_sum(self.hardness * z, push) + count
        if self.prior:
            field = self._debiased(field, count, z, pull, self.lowest / temperature)
        return torch.where(some, field, -math.inf)

    def _debiased(self, field: Tensor, count: Tensor, z: Tensor, pull: Tensor, lowest: float | Tensor) -> Tensor:
        """log max((R - prior W P) / (1 - prior), W exp(lowest)); of any value in a row without a positive."""
        pull = torch.where((pull > 0).any(dim=1, keepdim=True), pull, 1)
        hidden = log_sum(z, pull) - pull.sum(dim=1, keepdim=True).log()
        share = math.log(self.prior) + count + hidden - field  # log of the part of R that is to go
        left = share < -1e-30  # nearer to 0 its slope would overflow
        rest = (-torch.expm1(torch.where(left, share, -1))).log() - math.log1p(-self.prior)
        bound = count + lowest
        return torch.where(left, torch.maximum(field + rest, bound), bound)
