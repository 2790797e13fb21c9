"""InfoNCE: lift each positive above the field of negatives, each negative counted as far as it is believed."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at


class InfoNCE(Objective):
    """Weighted InfoNCE over signed scores. With z = scores / temperature, N the field of an anchor's negatives,

        N = sum over negatives n of w_n exp(z_n)

    its positives p cost

        each    log(1 + exp(-z_p) N)              one term of weight w_p for every positive (default)
        joint   log(1 + sum_p v_p exp(-z_p) N)    one term: all positives must stand above all negatives
        any     log(1 + N / sum_p v_p exp(z_p))   one term: it is enough that one of them does

    with v_p = w_p / max w and max w the weight of the one term. With one positive the three are the same, and with
    all weights 1 they are cross-entropy. Positives of an anchor do not push each other away, sign 0 says nothing, and
    a negative of weight w counts as w copies of itself: weight 0 is absence, same loss, same gradient, none of it
    through that score.

    In:   SignedBatch: `scores` [B, C] float (-inf = no such pair), `sign` [B, C] int8 (-1, 0, 1),
          `weight` [B, C] float in [0, 1]; `own` columns as any others; `common` negatives join every field.
          One device, nothing moved, nothing changed in place.
    Out:  scalar >= 0 in nats per term, float32 or the wider dtype of `scores`. A batch without a believed
          positive costs 0 and gives gradients of 0, not NaN.
    Cost: O(B C); no [B, C, C] tensor, no host synchronisation.

    Args:
        temperature: divides the scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature. 0.01 to 0.1
            is usual for cosine scores.
        positives: what several positives of an anchor cost together: "each", "joint" or "any".
        average: "term" (sum w c / sum w), "anchor" (mean over anchors of their own mean), "count" (sum w c / number of
            terms, weight 0 counted) or "sum".
    Raises:
        ValueError: an argument is out of range, or scores, sign and weight are not all of one shape [B, C].
    Source: Representation Learning with Contrastive Predictive Coding (arXiv:1807.03748), equation 4; "joint":
        CTVIS (arXiv:2307.12616), its embedding loss; weights and signs ours.
    """

    citation = """@article{oord2018representation,
    title = {Representation Learning with Contrastive Predictive Coding},
    author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},
    journal = {arXiv preprint arXiv:1807.03748},
    year = {2018}
}"""
    name_in_recipes = "infonce"

    def __init__(
        self,
        temperature: Temperature = 0.05,
        positives: Literal["each", "joint", "any"] = "each",
        average: Literal["term", "anchor", "count", "sum"] = "term",
    ):
        super().__init__()
        self.temperature = checked_temperature(temperature, "InfoNCE")
        if positives not in ("each", "joint", "any"):
            raise ValueError(f"InfoNCE: positives must be 'each', 'joint' or 'any', got {positives!r}")
        self.positives = positives
        self.average = checked_average(average, ("term", "anchor", "count", "sum"), "InfoNCE")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch, now)
        return average_terms(self.average, cost, weight, terms=lambda: self._terms(batch).to(cost.dtype))

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean of an anchor's terms, and the sum of their weights [B], 0 = no term."""
        return anchor_means(*self._costs(batch, now))

    def _costs(self, batch: SignedBatch, now: Moment | None) -> tuple[Tensor, Tensor]:
        """Cost and weight of the terms: [B, C] for "each", [B, 1] else."""
        scores, sign = scored(batch, self), batch.sign
        dtype = torch.promote_types(scores.dtype, torch.float32)  # in bf16 near-ties would collapse
        temperature = temperature_at(self.temperature, now)
        exists = scores != -math.inf
        z = torch.where(exists, scores, 0).to(dtype) / temperature
        weight = torch.where(exists, batch.weight, 0).to(dtype)

        field = log_sum(z, weight * (sign < 0), common=common_field(batch, temperature, dtype))  # [B, 1]
        belief = torch.where(sign > 0, weight, 0)
        if self.positives == "each":
            return -F.logsigmoid(z - field), belief  # keeps the tiny values that logsumexp(...) - z would cancel

        most = belief.amax(dim=1, keepdim=True) if belief.shape[1] else belief.sum(dim=1, keepdim=True)
        share = belief / most.masked_fill(most == 0, 1)
        lifted = log_sum(z if self.positives == "any" else -z, share)
        lifted = torch.where(most > 0, lifted, 0)  # a row without positives would make inf - inf
        gap = lifted - field if self.positives == "any" else -(lifted + field)
        return -F.logsigmoid(gap), most

    def _terms(self, batch: SignedBatch) -> Tensor:
        positive = batch.exists & (batch.sign > 0)
        return positive.sum() if self.positives == "each" else positive.any(dim=1).sum()


def log_sum(z: Tensor, weight: Tensor, common: Tensor | None = None) -> Tensor:
    """log(sum of w exp(z)) of each row, [B, 1]; -inf, with gradient 0, for a row without weight.

    `common`: 0-d, the log-sum of what every row has besides.
    """
    believed = weight > 0
    logs = (z + torch.where(believed, weight, 1).log()).masked_fill(~believed, -math.inf)
    if common is not None:
        logs = torch.cat([logs, common.expand(len(logs), 1)], dim=1)  # logaddexp would give NaN where both are -inf
    return logs.logsumexp(dim=1, keepdim=True)


def common_field(batch: SignedBatch, temperature: float | Tensor, dtype: torch.dtype) -> Tensor | None:
    """The log-sum of the common negatives, 0-d; None without any."""
    if batch.common is None:
        return None
    scores, weight = batch.common
    exists = scores != -math.inf
    z = torch.where(exists, scores, 0).to(dtype) / temperature
    return log_sum(z[None, :], torch.where(exists, weight, 0).to(dtype)[None, :])[0, 0]
