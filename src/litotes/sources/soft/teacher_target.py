"""TeacherTarget: what a teacher thinks of an anchor's candidates, as a distribution for the student to learn."""

from __future__ import annotations

import math

import torch
from torch import nn

from litotes.batch import Moment, SignedBatch
from litotes.spelling import spell


class TeacherTarget(nn.Module):
    """Write `pairs["target"]`: the softmax of the teacher's scores over the candidates of a row that it scored.

        t_c = exp(g_c / temperature) / sum over scored columns c' of exp(g_c' / temperature)

    With `SoftTargetInfoNCE` behind it the loss is, but for the entropy of the target, the divergence of the student
    from the teacher. Columns that the teacher did not score (NaN), that do not exist or that nobody believes (weight 0)
    have the target 0; they stay in the student's denominator as far as they are believed. A row without a scored column
    has no target and costs nothing. Signs and weights stay as they are.

    In:   SignedBatch with `pairs[teacher]` [B, C] float, NaN = not scored.
    Out:  the batch with `pairs["target"]` [B, C], rows that sum to 1 or 0; it gets no gradient.
    Cost: O(B C).

    Args:
        temperature: divides the teacher's scores; > 0 and finite. 1 suits raw scores of cross-encoders.
        teacher: key of `pairs`.
    Raises:
        ValueError: an argument is out of range, or the batch has no such scores.
    Source: Distilling the Knowledge in a Neural Network (arXiv:1503.02531), section 2, over candidates in place of
        classes.

    Example:
        >>> from litotes.chain import Chain
        >>> from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
        >>> from litotes.scoring import Cosine
        >>> from litotes.sources.soft.teacher_target import TeacherTarget
        >>> chain = Chain(TeacherTarget(temperature=1.0), Cosine(), SoftTargetInfoNCE(temperature=0.05))
    """

    stage = "source"
    gives = ("target",)

    def __init__(self, temperature: float = 1.0, teacher: str = "teacher"):
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"TeacherTarget: temperature must be > 0 and finite, got {temperature!r}")
        if not (isinstance(teacher, str) and teacher):
            raise ValueError(f"TeacherTarget: teacher must be the name of a key of pairs, got {teacher!r}")
        self.temperature, self.teacher = float(temperature), teacher
        self.needs = (teacher,)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the target."""
        if self.teacher not in batch.pairs:
            keys = ", ".join(map(repr, batch.pairs)) or "nothing"
            raise ValueError(f"TeacherTarget: pairs has no {self.teacher!r}, it has {keys}")
        scores = batch.pairs[self.teacher].detach()
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        there = batch.exists & (batch.weight > 0) & scores.isfinite()
        logits = torch.where(there, scores / self.temperature, -math.inf)
        some = there.any(dim=1, keepdim=True)
        target = torch.where(there, logits.masked_fill(~some, 0).softmax(dim=1), 0)
        return batch.replace(pairs={**batch.pairs, "target": target})

    def __str__(self) -> str:
        return spell(self)
