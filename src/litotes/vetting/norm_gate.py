"""NormGate: doubts pairs whose anchor is longer than its candidate: it cannot be an edited copy of it."""

from __future__ import annotations

import torch
from torch import nn

from litotes.batch import Moment, SignedBatch, doubt
from litotes.spelling import spell


class NormGate(nn.Module):
    """Take the belief from pairs with |anchor| > max_ratio |candidate|.

    After training with `NormRatio` the length of a vector says how much of an original is in it; a query that is longer
    than a reference is no copy of it. The gate means something only for pairs of one content: ask the cosine first.

    In:   SignedBatch with `anchors` [B, D], and `candidates` [C, D] or `own` [B, M, D], not normalised.
    Out:  the batch with weight 0 for pairs beyond the line; equality stays. `notes` counts them.
    Cost: O(B C).

    Args:
        max_ratio: > 0; inf = nothing is doubted.
    Raises:
        ValueError: an argument is out of range, or features are missing.
    Source: A Benchmark and Asymmetrical-Similarity Learning for Practical Image Copy Detection (arXiv:2205.12358),
        section 4.3.
    """

    stage = "vetter"
    needs = ("features",)
    gives = ()

    def __init__(self, max_ratio: float = 1.0):
        super().__init__()
        if not max_ratio > 0:
            raise ValueError(f"NormGate: max_ratio must be > 0, got {max_ratio!r}")
        self.max_ratio = max_ratio

    @torch.no_grad()
    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch, pairs beyond the line doubted."""
        if batch.anchors is None or (batch.candidates is None and batch.own is None):
            raise ValueError("NormGate: needs anchors and candidates in the batch")
        ours = batch.anchors.float().norm(dim=1)[:, None]
        theirs = []
        if batch.candidates is not None:
            theirs.append(batch.candidates.float().norm(dim=1)[None, :].expand(len(ours), -1))
        if batch.own is not None:
            theirs.append(batch.own.float().norm(dim=2))
        # inf times a length of 0 would be no number
        line = torch.cat(theirs, dim=1) * min(self.max_ratio, torch.finfo(torch.float32).max)
        return doubt(batch, ours > line, reason=str(self))

    def __str__(self) -> str:
        return spell(self)
