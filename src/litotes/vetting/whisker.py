"""Whisker: doubts common negatives that lie outside the whiskers of a box plot."""

from __future__ import annotations

import torch
from torch import nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import whisker_mask
from litotes.spelling import spell


class Whisker(nn.Module):
    """Take the belief from common negatives whose score is an outlier among them, on either side.

    Far above the rest lie pairs whose labels are wrong, far below pairs that teach nothing:

        stays:  Q1 - r (Q3 - Q1) <= s <= Q3 + r (Q3 - Q1)        (`whisker_mask`)

    In:   SignedBatch with `common` = (scores, weight); without, nothing happens.
    Out:  the batch with weight 0 for outliers; `notes` counts them as "...: high" and "...: low".
    Cost: one sort of the common negatives; no host synchronisation.

    Args:
        whisker: r >= 0; inf = nothing is doubted.
    Raises:
        ValueError: whisker is negative or NaN.
    Source: UNPG (arXiv:2203.11593), section 3.3; r = 1.5 in its table of settings, 1 in its example scripts.
    """

    stage = "vetter"
    needs = ("common",)
    gives = ()

    def __init__(self, whisker: float = 1.5):
        super().__init__()
        if not whisker >= 0:
            raise ValueError(f"Whisker: whisker must be >= 0, got {whisker!r}")
        self.whisker = whisker

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch without its outliers."""
        if batch.common is None:
            return batch
        scores, weight = batch.common
        there = (weight > 0) & (scores != -torch.inf)
        out = there & ~whisker_mask(scores, self.whisker, there)
        middle = torch.where(there, scores.detach(), 0).sum() / there.sum().clamp(min=1)
        high = out & (scores > middle)
        made = batch.replace(common=(scores, torch.where(out, 0, weight)))
        return made.noted({f"{self}: high": high.sum(), f"{self}: low": (out & ~high).sum()})

    def __str__(self) -> str:
        return spell(self)
