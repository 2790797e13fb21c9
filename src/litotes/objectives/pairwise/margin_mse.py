"""MarginMSE: leave as much room between positive and negative as a teacher does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import anchor_means, average_terms, checked_average
from litotes.objectives.base import Objective, scored, without_common
from litotes.ops import pair_gaps


class MarginMSE(Objective):
    """Squared difference of two gaps, the student's and the teacher's, over pairs (positive, negative) of an anchor:

        ((s_p - s_n) - (t_p - t_n))^2,    weight of the pair = w_p w_n

    Only pairs of which the teacher has scored both ends count. A constant on all scores of a row, the student's or
    the teacher's, changes nothing; the scale is the teacher's, so `Dot` is the usual scorer.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C] and `pairs[teacher]` [B, C], NaN = not scored.
    Out:  scalar >= 0, float32 or the wider dtype of `scores`; 0 with gradient 0 without a pair. Whoever makes the
          teacher's scores detaches them.
    Cost: O(B P C), P = most positives of a row; one host synchronisation to read P.

    Args:
        teacher: key of the teacher's scores in `pairs`.
        average: "term" (sum w c / sum w), "anchor", "count" (divided by the number of scored pairs) or "sum".
    Raises:
        ValueError: `average` is none of these, the batch has no scores or no such teacher, or common negatives.
    Source: Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation
        (arXiv:2010.02666), equation 2; weights ours.
    """

    citation = """@article{hofstaetter2020marginmse,
    title = {Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation},
    author = {Hofst{\\"a}tter, Sebastian and Althammer, Sophia and Schr{\\"o}der, Michael and Sertkan, Mete and
        Hanbury, Allan},
    journal = {arXiv preprint arXiv:2010.02666},
    year = {2020}
}"""

    def __init__(self, teacher: str = "teacher", average: Literal["term", "anchor", "count", "sum"] = "term"):
        super().__init__()
        if not (isinstance(teacher, str) and teacher):
            raise ValueError(f"MarginMSE: teacher must be the name of a key of pairs, got {teacher!r}")
        self.teacher = teacher
        self.needs = ("scores", teacher)
        self.average = checked_average(average, ("term", "anchor", "count", "sum"), "MarginMSE")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost, weight, there = self._costs(batch)
        return average_terms(self.average, cost, weight, terms=lambda: there.sum().to(cost.dtype))

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the weighted mean over an anchor's pairs, and the sum of their weights [B], 0 = no pair."""
        cost, weight, _ = self._costs(batch)
        return anchor_means(cost, weight)

    def _costs(self, batch: SignedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Cost, weight and existence of the pairs, all [B, P, C]."""
        scores = scored(batch, self)
        without_common(batch, self)
        if self.teacher not in batch.pairs:
            keys = ", ".join(map(repr, batch.pairs)) or "nothing"
            raise ValueError(f"MarginMSE: pairs has no {self.teacher!r}, it has {keys}")
        dtype = torch.promote_types(scores.dtype, torch.float32)
        teacher = batch.pairs[self.teacher].to(dtype)
        # sign 0 takes a pair away for both gaps alike, so their positives stand in the same places
        sign = torch.where(batch.exists & teacher.isfinite(), batch.sign, 0)
        seen = batch.replace(scores=scores.to(dtype), sign=sign, weight=batch.weight.to(dtype))
        gap, weight = pair_gaps(seen)
        wanted, there = pair_gaps(
            seen.replace(scores=torch.where(sign != 0, teacher, 0), weight=torch.ones_like(seen.weight))
        )
        return (gap - wanted).square(), weight, there > 0
