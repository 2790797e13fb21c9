"""Reweighted: an objective whose anchors count more or less, by what they cost and where training stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import checked_average
from litotes.objectives.base import Objective
from litotes.ops import weighted_mean

Weigher = Callable[[Tensor, SignedBatch, Moment | None], Tensor]


class Reweighted(Objective):
    """An objective whose anchors are weighed anew in every step by a weigher. With c the cost of an anchor, b how far
    it is believed (0 = it has no term) and v the weigher's factor:

        term    sum b v c / sum b v          factors are relative: twice all of them changes nothing
        anchor  sum v c / sum v              over the anchors with b > 0, each as one
        count   sum b v c / number of anchors that have a positive       a factor below 1 shrinks the loss

    In:   what the objective reads, and what the weigher reads.
    Out:  scalar; 0 with gradient 0 if no anchor has a term of factor > 0. No gradient through the factors.
          `weights(batch)` says how much each anchor counted; `terms(batch)` has the unweighted loss besides, the one
          that can be compared over time.
    Cost: that of the objective and the weigher.

    On several devices each one weighs its own anchors against each other.

    Args:
        objective: one with costs per anchor (InfoNCE, Hinge, MarginMSE, PairwiseLogistic, ...), not a Chain: that goes
            around, Chain(Dot(), Reweighted(...)).
        weigher: called with (cost [B], without gradient; the batch; now), gives factors [B], finite and >= 0. A part
            such as ByDifficulty, or any callable.
        average: "term", "anchor" or "count".
    Raises:
        ValueError: an argument is out of range, or the weigher gives another shape.
    """

    def __init__(self, objective: nn.Module, weigher: Weigher, average: Literal["term", "anchor", "count"] = "term"):
        super().__init__()
        if not isinstance(objective, Objective) or type(objective).per_anchor is Objective.per_anchor:
            raise ValueError(f"Reweighted: objective must be an objective with costs per anchor, got {objective}")
        if not callable(weigher):
            raise ValueError(f"Reweighted: weigher must be a part or callable (cost, batch, now), got {weigher!r}")
        self.objective = objective
        self.weigher = weigher
        self.average = checked_average(average, ("term", "anchor", "count"), "Reweighted")
        self.needs = tuple(dict.fromkeys((*objective.needs, *getattr(weigher, "needs", ()))))

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.terms(batch, now=now)["loss"]

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss, and what it is with every factor 1."""
        cost, believed = self.objective.per_anchor(batch, now=now)
        base = self._base(believed)
        factor = self._factors(cost, batch, now)
        return {"loss": self._averaged(cost, base * factor, batch), "unweighted": self._averaged(cost, base, batch)}

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B] as the objective gives it, and how much each anchor counts [B], 0 = it has no term."""
        cost, believed = self.objective.per_anchor(batch, now=now)
        return cost, self._base(believed) * self._factors(cost, batch, now)

    def weights(self, batch: SignedBatch, *, now: Moment | None = None) -> Tensor:
        """How much each anchor counts: [B], mean 1 over the anchors with a term, 0 for the others. No gradient."""
        with torch.no_grad():
            _, counted = self.per_anchor(batch, now=now)
            total = counted.sum()
            return counted * (counted > 0).sum() / total.masked_fill(total == 0, 1)

    def _base(self, believed: Tensor) -> Tensor:
        return (believed > 0).to(believed.dtype) if self.average == "anchor" else believed

    def _factors(self, cost: Tensor, batch: SignedBatch, now: Moment | None) -> Tensor:
        factor = self.weigher(cost.detach(), batch, now)
        if factor.shape != cost.shape:
            raise ValueError(f"Reweighted: weigher must give [{len(cost)}] factors, got {list(factor.shape)}")
        return factor.detach().to(cost.dtype)

    def _averaged(self, cost: Tensor, weight: Tensor, batch: SignedBatch) -> Tensor:
        if self.average != "count":
            return weighted_mean(cost, weight)
        anchors = (batch.exists & (batch.sign > 0)).any(dim=1).sum().to(cost.dtype)
        return (weight * cost.masked_fill(weight == 0, 0)).sum() / anchors.masked_fill(anchors == 0, 1)
