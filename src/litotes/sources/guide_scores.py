"""GuideScores: what a second model thinks of every pair of the batch, as a teacher for the objective."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import unit
from litotes.spelling import spell


class GuideScores(nn.Module):
    """Score all shared pairs with the features of a guide and write the scores into `pairs[into]`.

    The guide is asked on the fly, so every pair that meets has a teacher's score, chance meetings too:

        scale * g_anchor . g_candidate        ("dot"; "cosine": of vectors of length 1)

    With `share` the scores of a row become a soft target: their softmax over the pairs that are there.

    In:   SignedBatch with `rows["guide"]` [B, G] and `columns["guide"]` [C, G] (or longer, C + M).
    Out:  the batch with `pairs[into]` [B, C + M] float32, without gradient. `own` columns, which have no features of
          the guide, are NaN (target: 0). Pairs of sign 0 are scored, but have no share.
    Cost: O(B C G).

    Args:
        into: key of pairs.
        similarity: "dot" or "cosine".
        scale: multiplies the scores, > 0 and finite. The student's gaps become as wide as the teacher's.
        share: True = softmax of the scores.
    Raises:
        ValueError: an argument is out of range, or the batch has no features of a guide.
    Source: Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling (arXiv:2104.06967),
        section 3.3: the teacher of in-batch negatives.
    """

    stage = "source"
    needs = ("guide",)

    def __init__(
        self,
        into: str = "teacher_inbatch",
        similarity: Literal["dot", "cosine"] = "dot",
        scale: float = 1.0,
        share: bool = False,
    ):
        super().__init__()
        if not (isinstance(into, str) and into):
            raise ValueError(f"GuideScores: into must be the name of a key of pairs, got {into!r}")
        if similarity not in ("dot", "cosine"):
            raise ValueError(f"GuideScores: similarity must be 'dot' or 'cosine', got {similarity!r}")
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"GuideScores: scale must be > 0 and finite, got {scale!r}")
        self.into, self.similarity, self.scale, self.share = into, similarity, float(scale), bool(share)
        self.gives = (into,)

    @torch.no_grad()
    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the guide's scores."""
        if "guide" not in batch.rows or "guide" not in batch.columns:
            raise ValueError(f'{self}: the batch has no rows["guide"] and columns["guide"]; give the loss a guide')
        anchors, candidates = batch.rows["guide"].float(), batch.columns["guide"][: batch.shared].float()
        if self.similarity == "cosine":
            anchors, candidates = unit(anchors), unit(candidates)
        with torch.autocast(anchors.device.type, enabled=False):
            scores: Tensor = self.scale * (anchors @ candidates.T)
        beyond = scores.new_full((len(scores), batch.private), math.nan)
        scores = torch.cat([scores, beyond], dim=1)
        if self.share:
            there = (batch.sign != 0) & ~scores.isnan()
            shares = scores.masked_fill(~there, -math.inf).softmax(dim=1)
            scores = torch.where(there, shares, 0)
        return batch.replace(pairs={**batch.pairs, self.into: scores})

    def __str__(self) -> str:
        return spell(self)
