"""SoftTargetInfoNCE: cross-entropy against targets that are shared out over several candidates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective, scored
from litotes.objectives.contrastive.infonce import common_field, log_sum
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at
from litotes.ops import weighted_mean


class SoftTargetInfoNCE(Objective):
    """Cross-entropy between soft targets and the softmax over candidates, each negative as far as it is believed.

        q_c = u_c exp(z_c) / sum over columns c' of u_c' exp(z_c'),    z = scores / temperature
        cost of an anchor = - sum_c t_c log q_c

    u is 1 for positives and the weight for negatives; t is `pairs["target"]` divided by its row sum, or, without
    one, the weight of the positives (supervised contrastive learning). Positives stand in each other's denominator.
    A column that is out of the denominator (sign 0, -inf, weight 0) has no target and the rest of the row is shared
    out anew; a row without target is skipped. The loss is the mean over the other rows.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C]; `pairs["target"]` [B, C] >= 0 if there; `common`
          negatives join every denominator and have no target.
    Out:  scalar >= 0, float32 or the wider dtype of `scores`; 0, with gradient 0, if no row has a target.
    Cost: O(B C).

    Args:
        temperature: divides the scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature.
        label_smoothing: this share of the target is spread evenly over all columns of the denominator, the true one
            too; in [0, 1).
    Raises:
        ValueError: an argument is out of range, or scores, sign and weight are not all of one shape [B, C].
    Source: Supervised Contrastive Learning (arXiv:2004.11362), equation 2 (its L_out); weights and soft targets ours.
    """

    name_in_recipes = "soft_target_infonce"

    def __init__(self, temperature: Temperature = 0.05, label_smoothing: float = 0.0):
        super().__init__()
        self.temperature = checked_temperature(temperature, "SoftTargetInfoNCE")
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"SoftTargetInfoNCE: label_smoothing must be in [0, 1), got {label_smoothing!r}")
        self.label_smoothing = float(label_smoothing)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return weighted_mean(*self.per_anchor(batch, now=now))

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], and 1 where the row has a target, else 0 [B]."""
        scores, sign = scored(batch, self), batch.sign
        dtype = torch.promote_types(scores.dtype, torch.float32)
        temperature = temperature_at(self.temperature, now)
        exists = scores != -math.inf
        z = torch.where(exists, scores, 0).to(dtype) / temperature
        weight = torch.where(exists & (sign != 0), batch.weight, 0).to(dtype)
        there = weight > 0

        full = torch.where((sign > 0) & there, 1, weight)
        total = log_sum(z, full, common=common_field(batch, temperature, dtype))
        target = torch.where(there, batch.pairs["target"] if "target" in batch.pairs else weight * (sign > 0), 0).to(
            dtype
        )
        mass = target.sum(dim=1, keepdim=True)
        target = target / mass.masked_fill(mass == 0, 1)
        if self.label_smoothing:
            even = there.to(dtype) / there.sum(dim=1, keepdim=True).clamp(min=1)
            target = (1 - self.label_smoothing) * target + self.label_smoothing * even
        log_full = torch.where(there, full, 1).log()
        surprise = torch.where(there & (mass > 0), total.masked_fill(mass == 0, 0) - z - log_full, 0)
        return (target * surprise).sum(dim=1), (mass[:, 0] > 0).to(dtype)
