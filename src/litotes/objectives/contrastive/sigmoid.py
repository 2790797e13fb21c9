"""SigmoidPairs: every pair is a question of its own, alike or not, and no softmax ties the pairs together."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored, without_common
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at


class SigmoidPairs(Objective):
    """The loss of SigLIP: a logistic regression on every pair of the batch.

        c = log(1 + exp(-y (s / temperature + bias))),    y the sign of the pair, weight of the pair = w

    No pair stands in the denominator of another, so small batches, several positives and rows of different length are
    all alike to it. Among C columns one positive meets C - 1 negatives: the bias, far below 0, says so before training
    begins; at 0 the first steps would do nothing but push. One factor on all weights changes nothing.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C]. Sign 0, -inf and weight 0 are no pair.
    Out:  scalar >= 0, float32 or the wider dtype of `scores`; 0 with gradient 0 where there is nothing to divide by.
    Cost: O(B C), no host synchronisation.

    Args:
        temperature: divides the scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature. As published:
            LearnedTemperature(0.1, max_scale=None).
        bias: added behind the division, finite.
        learn_bias: True = bias is where a trained parameter starts.
        average: "positive" (sum w c / sum of the weights of the positives; with one positive a row that is the mean
            over rows of the sums), "term" (sum w c / sum w), "anchor", "count" (divided by the number of pairs, weight
            0 counted) or "sum".
    Raises:
        ValueError: an argument is out of range, the batch has no scores, or it has common negatives.
    Source: Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), algorithm 1; weights ours.

    Example:
        >>> from litotes.batch import from_groups
        >>> pair = from_groups(torch.tensor([[0.0, 0.0]]))
        >>> round(SigmoidPairs(1.0, bias=0.0)(pair).item(), 4)  # 2 log 2
        1.3863
    """

    citation = """@inproceedings{zhai2023sigmoid,
    title = {Sigmoid Loss for Language Image Pre-Training},
    author = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
    booktitle = {ICCV},
    year = {2023}
}"""

    def __init__(
        self,
        temperature: Temperature = 0.1,
        bias: float = -10.0,
        learn_bias: bool = False,
        average: Literal["positive", "term", "anchor", "count", "sum"] = "positive",
    ):
        super().__init__()
        self.temperature = checked_temperature(temperature, "SigmoidPairs")
        if not math.isfinite(bias):
            raise ValueError(f"SigmoidPairs: bias must be finite, got {bias!r}")
        self.bias, self.learn_bias = float(bias), bool(learn_bias)
        self.offset = nn.Parameter(torch.tensor(self.bias)) if self.learn_bias else None
        self.average = checked_average(average, ("positive", "term", "anchor", "count", "sum"), "SigmoidPairs")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight = self._costs(batch, now)
        return average_terms(
            self.average,
            cost,
            weight,
            terms=lambda: (batch.exists & (batch.sign != 0)).sum().to(cost.dtype),
            positives=lambda: torch.where(batch.sign > 0, weight, 0).sum(),
        )

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean over an anchor's pairs, and the sum of their weights [B], 0 = no pair."""
        return anchor_means(*self._costs(batch, now))

    def _costs(self, batch: SignedBatch, now: Moment | None) -> tuple[Tensor, Tensor]:
        """Cost and weight of the pairs, [B, C] each; weight 0 where there is none."""
        scores = scored(batch, self)
        without_common(batch, self)
        dtype = torch.promote_types(scores.dtype, torch.float32)  # in bf16 a logit of -10 has steps of 1/16
        exists = batch.exists
        z = torch.where(exists, scores, 0).to(dtype) / temperature_at(self.temperature, now)
        z = z + (self.bias if self.offset is None else self.offset.to(dtype))
        return F.softplus(-batch.sign.to(dtype) * z), torch.where(exists, batch.weight, 0).to(dtype)
