"""SignMSE: scores drawn to one value for positives and another for negatives."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored


class SignMSE(Objective):
    """The squared distance of every score from where its sign wants it:

        (score - positive)^2 for positives,    (score - negative)^2 for negatives,    each times its weight

    Over cosines with 1 and 0 it holds angles where a loss over inner products alone could win by growing norms.

    In:   SignedBatch: `scores` [B, C] (-inf = no such pair), `sign`, `weight`.
    Out:  scalar >= 0; 0, with a graph, if no pair is believed.
    Cost: O(B C).

    Args:
        positive, negative: wanted scores, finite.
        average: "anchor" (mean over anchors of the mean over their pairs), "term" (over all pairs) or "sum".
    Raises:
        ValueError: an argument is out of range, or scores lack.
    Source: CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616), its auxiliary loss.
    """

    name_in_recipes = "sign_mse"

    def __init__(
        self, positive: float = 1.0, negative: float = 0.0, average: Literal["anchor", "term", "sum"] = "anchor"
    ):
        super().__init__()
        for name, value in (("positive", positive), ("negative", negative)):
            if not math.isfinite(value):
                raise ValueError(f"SignMSE: {name} must be finite, got {value!r}")
        self.positive, self.negative = float(positive), float(negative)
        self.average = checked_average(average, ("anchor", "term", "sum"), "SignMSE")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch)
        return average_terms(self.average, cost, weight, terms=lambda: weight.sum())

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean over an anchor's pairs, and the sum of their weights [B]."""
        return anchor_means(*self._costs(batch))

    def _costs(self, batch: SignedBatch) -> tuple[Tensor, Tensor]:
        scores = scored(batch, self)
        there = batch.exists
        dtype = torch.promote_types(scores.dtype, torch.float32)
        wanted = torch.where(batch.sign > 0, self.positive, self.negative)
        cost = (torch.where(there, scores, 0).to(dtype) - wanted).square()
        return cost, torch.where(there, batch.weight, 0).to(dtype)
