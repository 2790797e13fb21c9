"""PairwiseLogistic: the logistic loss of every pair of a positive and a negative, each as far as it is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored, without_common
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at
from litotes.ops import pair_gaps

AVERAGES = ("term", "anchor", "positive", "count", "sum")


class PairwiseLogistic(Objective):
    """RankNet: each positive should stand above each negative of its anchor, and the logistic loss says how far.

        c = e_pn log(1 + exp(-(s_p - s_n) / temperature)),    weight of the pair = w_p w_n

    Unlike a hinge it never lets go, and it asks for an order only: one constant on all scores of an anchor changes
    nothing. e is an emphasis, 1 as a rule. It says how much a pair matters, not whether it is true, so it stands in
    no divisor: twice the emphasis is twice the loss.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C]. Sign 0 and -inf make no pair; neither does a weight of 0,
          whose score gets no gradient.
    Out:  scalar >= 0, float32 or the wider dtype of `scores`; 0 with gradient 0 without a pair. Large gaps do not
          overflow.
    Cost: O(B P C), P = most positives of a row; one host synchronisation to read P.

    Args:
        emphasis: None, the key of factors in `pairs` ([B, C], read at the negative), or a part (any callable) that
            gives factors for a batch: [B, C], read at the negative, or [B, P, C], pairs as in `ops.pair_gaps`. Factors
            are >= 0; whoever makes them detaches them. What it holds where there is no pair is not read.
        average: "term" (sum w c / sum w over pairs), "anchor" (mean over anchors of their own mean), "positive" (sum
            over negatives, mean over positives), "count" (divided by the number of pairs, weight 0 counted) or "sum".
        temperature: divides the gaps; > 0 and finite, or a LearnedTemperature or ScheduledTemperature. 1 suits raw
            inner products, 0.05 scores of vectors of length 1.
    Raises:
        ValueError: an argument is out of range, the batch has no scores or no such key, or it has common negatives.
    Source: Learning to Rank using Gradient Descent (doi:10.1145/1102351.1102363), equation 3 with certain order;
        emphasis: From RankNet to LambdaRank to LambdaMART (Microsoft MSR-TR-2010-82), section 3; weights ours.
    """

    citation = """@inproceedings{burges2005ranknet,
    title = {Learning to Rank using Gradient Descent},
    author = {Burges, Chris and Shaked, Tal and Renshaw, Erin and Lazier, Ari and Deeds, Matt and Hamilton, Nicole and
        Hullender, Greg},
    booktitle = {ICML},
    year = {2005}
}"""

    def __init__(
        self,
        emphasis: Callable[[SignedBatch], Tensor] | str | None = None,
        average: Literal["term", "anchor", "positive", "count", "sum"] = "term",
        temperature: Temperature = 1.0,
    ):
        super().__init__()
        if not (emphasis is None or callable(emphasis) or (isinstance(emphasis, str) and emphasis)):
            raise ValueError(
                f"PairwiseLogistic: emphasis must be None, a key of pairs, or a part that gives factors, "
                f"got {emphasis!r}"
            )
        self.emphasis = emphasis
        self.average = checked_average(average, AVERAGES, "PairwiseLogistic")
        self.temperature = checked_temperature(temperature, "PairwiseLogistic")
        if isinstance(emphasis, str):
            self.needs = ("scores", emphasis)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch, now)
        positive, negative = batch.exists & (batch.sign > 0), batch.exists & (batch.sign < 0)
        return average_terms(
            self.average,
            cost,
            weight,
            terms=lambda: (positive.sum(dim=1) * negative.sum(dim=1)).sum().to(cost.dtype),
            positives=lambda: torch.where(positive, batch.weight, 0).sum().to(cost.dtype),
        )

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean over an anchor's pairs, and the sum of their weights [B], 0 = no pair."""
        return anchor_means(*self._costs(batch, now))

    def _costs(self, batch: SignedBatch, now: Moment | None) -> tuple[Tensor, Tensor]:
        """Cost and weight of the pairs [B, P, C]; weight 0 where there is none."""
        scores = scored(batch, self)
        without_common(batch, self)
        dtype = torch.promote_types(scores.dtype, torch.float32)  # in bf16 near-ties would collapse
        gap, weight = pair_gaps(batch.replace(scores=scores.to(dtype), weight=batch.weight.to(dtype)))
        cost = F.softplus(-gap / temperature_at(self.temperature, now))
        if self.emphasis is None:
            return cost, weight
        factor = self._factors(batch).to(dtype)
        factor = factor[:, None, :] if factor.ndim == 2 else factor
        return cost * torch.where(weight > 0, factor, 0), weight  # NaN times a cost of 0 would still have a gradient

    def _factors(self, batch: SignedBatch) -> Tensor:
        if not isinstance(self.emphasis, str):
            assert self.emphasis is not None
            return self.emphasis(batch)
        if self.emphasis not in batch.pairs:
            keys = ", ".join(map(repr, batch.pairs)) or "nothing"
            raise ValueError(f"PairwiseLogistic: pairs has no {self.emphasis!r}, it has {keys}")
        return batch.pairs[self.emphasis]
