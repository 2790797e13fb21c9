"""Hinge: a positive must stand above each negative by a margin, and what stands far enough costs nothing."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored, without_common
from litotes.ops import pair_gaps, top_negatives


class Hinge(Objective):
    """Triplet loss over all pairs (positive, negative) of an anchor, or over its k hardest believed negatives.

        h = max(0, margin - (s_p - s_n)),    weight of the pair = w_p w_n

    With `weight_temperature` the k slots of a positive are emphasised by how hard they are: h is multiplied by
    softmax over its slots of (s_n / weight_temperature where h > 0, else 0). The emphasis is no belief: it is in no
    divisor, so with "count" the loss shrinks by it as in the source.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C]. -inf, sign 0 and, with k, weight 0 make no slot.
    Out:  scalar >= 0, float32 or the wider dtype of `scores`; 0 with gradient 0 without a pair. At h = 0 the
          gradient is 0.
    Cost: O(B P C), P = most positives of a row; one host synchronisation to read P.

    Args:
        margin: >= 0, in units of the scores. Raw scores: nothing is divided.
        k: take the k highest negatives of an anchor, >= 1; None = all. Ties go to the lower column.
        weight_temperature: > 0; None = no emphasis. Needs k.
        average: "term" (sum w h / sum w over pairs), "anchor", "positive" (sum over negatives, mean over positives),
            "count" (divided by the number of pairs, with k of slots) or "sum".
        detach_weights: True = no gradient through the emphasis.
    Raises:
        ValueError: an argument is out of range, the batch has no scores, or it has common negatives.
    Source: FaceNet (arXiv:1503.03832), equation 2; k and emphasis: NGAME (arXiv:2207.04452), its released loss.
    """

    citation = """@inproceedings{schroff2015facenet,
    title = {{FaceNet}: A Unified Embedding for Face Recognition and Clustering},
    author = {Schroff, Florian and Kalenichenko, Dmitry and Philbin, James},
    booktitle = {CVPR},
    year = {2015}
}"""

    def __init__(
        self,
        margin: float = 0.3,
        k: int | None = None,
        weight_temperature: float | None = None,
        average: Literal["term", "anchor", "positive", "count", "sum"] = "term",
        detach_weights: bool = False,
    ):
        super().__init__()
        if not (margin >= 0 and math.isfinite(margin)):
            raise ValueError(f"Hinge: margin must be >= 0 and finite, got {margin!r}")
        if k is not None and not (isinstance(k, int) and k >= 1):
            raise ValueError(f"Hinge: k must be an integer >= 1 or None, got {k!r}")
        if weight_temperature is not None and not (weight_temperature > 0 and math.isfinite(weight_temperature)):
            raise ValueError(f"Hinge: weight_temperature must be > 0 and finite or None, got {weight_temperature!r}")
        if weight_temperature is not None and k is None:
            raise ValueError("Hinge: weight_temperature emphasises the slots of k; got k=None")
        self.margin = float(margin)
        self.k = k
        self.weight_temperature = weight_temperature
        self.average = checked_average(average, ("term", "anchor", "positive", "count", "sum"), "Hinge")
        self.detach_weights = bool(detach_weights)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch)
        return average_terms(
            self.average,
            cost,
            weight,
            terms=lambda: self._terms(batch).to(cost.dtype),
            positives=lambda: torch.where(batch.exists & (batch.sign > 0), batch.weight, 0).sum().to(cost.dtype),
        )

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean over an anchor's pairs, and the sum of their weights [B], 0 = no pair."""
        return anchor_means(*self._costs(batch))

    def _costs(self, batch: SignedBatch) -> tuple[Tensor, Tensor]:
        """Cost and weight of the pairs, [B, P, C] or [B, P, k]; weight 0 where there is none."""
        scores = scored(batch, self)
        without_common(batch, self)
        dtype = torch.promote_types(scores.dtype, torch.float32)
        gap, weight = pair_gaps(batch.replace(scores=scores.to(dtype), weight=batch.weight.to(dtype)))
        if self.k is None:
            return torch.relu(self.margin - gap), weight
        column, valid = top_negatives(batch, self.k)
        at = column[:, None, :].expand(-1, gap.shape[1], -1)
        slot = valid[:, None, :].expand_as(at)
        cost = torch.relu(self.margin - gap.gather(2, at))
        weight = weight.gather(2, at)  # 0 where the slot is empty: what it holds then is no believed negative
        if self.weight_temperature is None:
            return cost, weight
        hardness = torch.where(valid, scores.gather(1, column), 0).to(dtype) / self.weight_temperature
        active = torch.where(cost > 0, hardness[:, None, :], 0).masked_fill(~slot, -math.inf)
        emphasis = torch.where(slot.any(dim=2, keepdim=True), active, 0).softmax(dim=2)
        return cost * (emphasis.detach() if self.detach_weights else emphasis), weight

    def _terms(self, batch: SignedBatch) -> Tensor:
        exists = batch.exists
        slots = (exists & (batch.sign < 0)).sum(dim=1) if self.k is None else top_negatives(batch, self.k)[1].sum(dim=1)
        return ((exists & (batch.sign > 0)).sum(dim=1) * slots).sum()
