"""Scorers: how alike an anchor and a candidate are. They write `scores`; nothing else does."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import pairwise_kl, unit
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


class ClippedCosine(Cosine):
    """Cosine with negative values clipped to 0: in [0, 1]. A pair at an obtuse angle gives no gradient."""

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return super().between(x, y).clamp(min=0)


class PosteriorKL(Scorer):
    """Minus the divergence of class posteriors, -KL(p || r) with p = softmax(anchor), r = softmax(candidate): <= 0.

    Features are logits over the same classes. Directed: the transpose of a batch compares the other way round.

    Args:
        detach_target: no gradient through p, so that the candidate alone moves towards or away from it.
    Source: PFID (arXiv:1907.02642), the divergence of its pairwise term.
    """

    def __init__(self, detach_target: bool = False):
        super().__init__()
        self.detach_target = bool(detach_target)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return -pairwise_kl(x.detach() if self.detach_target else x, y)

    def extra_repr(self) -> str:
        return f"detach_target={self.detach_target}"


class PositiveMargin(Scorer):
    """Another scorer, its positives made harder by a margin; negatives stay as they are.

        additive    s - margin                        (CosFace)
        angular     cos(arccos(s) + margin)           (ArcFace; base must be a cosine). Beyond arccos(s) = pi - margin,
                                                      where this would rise again, s - margin sin(margin)

    Args:
        base: the scorer. kind: "additive" or "angular".
        margin: >= 0; in radians and < pi / 2 for "angular".
    Raises:
        ValueError: an argument is out of range.
    Source: CosFace (arXiv:1801.09414), equation 4; ArcFace (arXiv:1801.07698), equation 3, continued as its code does.
    """

    def __init__(
        self, base: Scorer | None = None, kind: Literal["additive", "angular"] = "angular", margin: float = 0.5
    ):
        super().__init__()
        if kind not in ("additive", "angular"):
            raise ValueError(f"PositiveMargin: kind must be 'additive' or 'angular', got {kind!r}")
        if not 0 <= margin < (math.pi / 2 if kind == "angular" else math.inf):
            most = "pi / 2" if kind == "angular" else "infinity"
            raise ValueError(f"PositiveMargin: margin must be in [0, {most}), got {margin!r}")
        self.base = Cosine() if base is None else base
        self.kind, self.margin = kind, margin

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return self.base.between(x, y)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        done = 0 if batch.scores is None else batch.scores.shape[1]
        batch = self.base(batch, now=now, generator=generator)
        assert batch.scores is not None
        new = torch.arange(batch.sign.shape[1], device=batch.sign.device) >= done  # a score has its margin only once
        lower = (batch.sign > 0) & new[None, :] & (batch.scores != -torch.inf)
        return batch.replace(scores=torch.where(lower, self._harder(batch.scores), batch.scores))

    def _harder(self, s: Tensor) -> Tensor:
        if self.kind == "additive":
            return s - self.margin
        m = self.margin
        # cos(a + m) by the addition theorem; arccos has no gradient at its ends, and neither has the root
        sine = (1 - s.square()).clamp(min=1e-12).sqrt()
        return torch.where(s > -math.cos(m), s * math.cos(m) - sine * math.sin(m), s - m * math.sin(m))

    def extra_repr(self) -> str:
        return f"kind={self.kind}, margin={self.margin}"


class NormAsymmetric(Scorer):
    """Cosine where the anchor's norm is at most `max_ratio` times the candidate's, else -1: a directed similarity.

    After training with `NormRatio` an original has a larger norm than an edited copy of it; so a copy finds its
    original, and the original does not find the copy. The gate has no gradient.

    Args:
        max_ratio: largest norm(anchor) / norm(candidate), > 0; inf = plain cosine.
    Raises:
        ValueError: max_ratio is not > 0.
    Source: ASL (arXiv:2205.12358), section 4.
    """

    def __init__(self, max_ratio: float = 1.0):
        super().__init__()
        if not max_ratio > 0:
            raise ValueError(f"NormAsymmetric: max_ratio must be > 0, got {max_ratio!r}")
        self.max_ratio = max_ratio

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return directed_similarity(x, y, self.max_ratio)

    def extra_repr(self) -> str:
        return f"max_ratio={self.max_ratio}"


def directed_similarity(x: Tensor, y: Tensor, max_ratio: float = 1.0) -> Tensor:
    """cos(x_i, y_j) where |x_i| <= max_ratio |y_j|, else -1: [..., n, D], [..., m, D] -> [..., n, m].

    Source: ASL (arXiv:2205.12358), section 4.
    """
    cosine = unit(x) @ unit(y).transpose(-1, -2)
    ours, theirs = x.detach().norm(dim=-1)[..., :, None], y.detach().norm(dim=-1)[..., None, :]
    keep = ours <= max_ratio * theirs if math.isfinite(max_ratio) else torch.ones_like(cosine, dtype=torch.bool)
    return torch.where(keep, cosine, -1.0)
