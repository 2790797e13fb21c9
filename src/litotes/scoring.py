"""Scorers: how alike an anchor and a candidate are. They write `scores`; nothing else does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import unit
from litotes.spelling import spell


class Scorer(nn.Module):
    """Forms the scores of the columns that have none yet, in float32 or wider.

    Shared columns are scored against the row's anchor, or, where `columns["side"]` is 1, against the row's drawn
    positive (`rows["positive"]`; -inf where there is none). `own` columns are scored row by row.
    Mixed precision (autocast) is switched off inside: in bfloat16 near-ties would collapse.
    A subclass says how vectors compare: `between`.

    In:   SignedBatch with features `anchors` [B, D] and `candidates` [C, D] and/or `own` [B, M, D], any float dtype.
    Out:  the batch with `scores` [B, C + M]; a batch that is fully scored comes back as it is.
    Cost: O(B (C + M) D), twice the shared part of it if there is a "side".
    Raises:
        ValueError: columns lack scores and there are no features to form them from.
    """

    stage = "scorer"
    needs = ("features",)
    gives = ("scores",)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of x [..., n, D] and y [..., m, D]: [..., n, m]."""
        raise TypeError(f"{type(self).__name__} does not say how vectors compare")

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        done = 0 if batch.scores is None else batch.scores.shape[1]
        if batch.scores is not None and done == batch.sign.shape[1]:
            return batch
        if batch.anchors is None:
            raise ValueError(f"{self}: {batch.sign.shape[1] - done} columns lack scores and the batch has no features")
        dtype = torch.float32
        for there in (batch.anchors, batch.candidates, batch.own, batch.scores):
            dtype = dtype if there is None else torch.promote_types(dtype, there.dtype)
        blocks = [] if batch.scores is None else [batch.scores.to(dtype)]
        with torch.autocast(batch.anchors.device.type, enabled=False):  # it would multiply in bf16, upcast or not
            if done < batch.shared or batch.own is None:
                blocks.append(self._shared(batch, done, dtype))
            if batch.own is not None:
                own = batch.own[:, max(done - batch.shared, 0) :]
                blocks.append(self.between(batch.anchors.to(dtype)[:, None, :], own.to(dtype))[:, 0, :])
        return batch.replace(scores=torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0])

    def _shared(self, batch: SignedBatch, done: int, dtype: torch.dtype) -> Tensor:
        assert batch.anchors is not None and batch.candidates is not None
        anchors, candidates = batch.anchors.to(dtype), batch.candidates.to(dtype)
        scores = self.between(anchors, candidates[done:])
        side = batch.columns.get("side")
        if side is None:
            return scores
        if "positive" not in batch.rows:
            raise ValueError(f"{self}: columns of side 1 are scored against the drawn positive; rows['positive'] lacks")
        drawn = batch.rows["positive"]
        against = self.between(candidates[drawn.clamp(min=0)], candidates[done:])
        against = against.masked_fill((drawn < 0)[:, None], -torch.inf)
        return torch.where((side[done : batch.shared] == 1)[None, :], against, scores)

    def __str__(self) -> str:
        return spell(self)


class Cosine(Scorer):
    """Cosine of the angle between anchor and candidate, in [-1, 1]; a zero vector scores 0."""

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return unit(x) @ unit(y).transpose(-1, -2)


class Dot(Scorer):
    """Inner product of anchor and candidate."""

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y.transpose(-1, -2)


class NegL2(Scorer):
    """Minus the squared Euclidean distance, or, with squared=False, minus the distance.

    Args:
        squared: True is the score of search by L2; False is what triplet losses usually call Euclidean.
    """

    def __init__(self, squared: bool = True):
        super().__init__()
        self.squared = bool(squared)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        # differences, not |x|^2 + |y|^2 - 2xy: that cancels for close vectors, which are the ones that matter
        distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        return -distance.square() if self.squared else -distance

    def extra_repr(self) -> str:
        return f"squared={self.squared}"
