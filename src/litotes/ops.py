"""Pure tensor functions that several rooms share."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import SignedBatch


def unit(x: Tensor) -> Tensor:
    """`x` divided by its Euclidean norm over the last axis; a norm below 1e-12 counts as 1e-12, so 0 stays 0."""
    return F.normalize(x, dim=-1, eps=1e-12)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """sum(w v) / sum(w); an empty sum is 0 and keeps its graph. Values of weight 0 may be anything, NaN included.

    The two broadcast against each other.
    Dividing by the sum of the weights means that one factor on every weight changes nothing.
    """
    values, weight = torch.broadcast_tensors(values, weight)
    believed = weight > 0
    total = torch.where(believed, weight, 0).sum()
    return (weight * torch.where(believed, values, 0)).sum() / torch.where(total > 0, total, 1)


def line_under(reference: Tensor, margin: float, strategy: Literal["absolute", "relative"]) -> Tensor:
    """The highest score a negative may have under a positive of score r: r - margin, or r - |r| * margin. float32."""
    if strategy not in ("absolute", "relative"):
        raise ValueError(f"line_under: strategy must be 'absolute' or 'relative', got {strategy!r}")
    if not margin >= 0:
        raise ValueError(f"line_under: margin must be >= 0, got {margin!r}")
    r = reference.float()
    return r - margin if strategy == "absolute" else r - r.abs() * margin


def keep_under(
    scores: Tensor, reference: Tensor, margin: float = 0.0, strategy: Literal["absolute", "relative"] = "relative"
) -> Tensor:
    """True where a negative stays: its score is not above the line under its positive. Equality keeps.

    Args:
        scores: [B, C]. reference: [B] or [B, 1], the anchor's positive score; NaN or infinite = no positive, everything
            stays.
        margin: depth of the line, >= 0. Larger is stricter, also under negative references.
    Compared in float32: in bfloat16 a duplicate and its neighbour have one score.
    """
    reference = reference.reshape(len(scores), 1)
    line = line_under(reference, margin, strategy)
    return ~((scores.float() > line) & reference.isfinite())


def pair_gaps(batch: SignedBatch) -> tuple[Tensor, Tensor]:
    """All differences positive minus negative: gap [B, P, C], weight [B, P, C]; P = most positives of a row.

    The weight of a pair is w_p * w_n; pairs that are not there have weight 0 and gap 0. Reading P off the batch costs
    one host synchronisation. Cost: O(B P C).
    """
    scores = _formed(batch)
    exists = batch.exists
    positive, negative = exists & (batch.sign > 0), exists & (batch.sign < 0)
    p = max(int(positive.sum(dim=1).max()), 1) if positive.numel() else 1
    place = torch.where(positive, torch.arange(positive.shape[1], device=scores.device), positive.shape[1])
    place = place.sort(dim=1).values[:, :p]
    there = place < positive.shape[1]
    place = torch.where(there, place, 0)

    safe = torch.where(exists, scores, 0)
    gap = safe.gather(1, place)[:, :, None] - safe[:, None, :]
    both = there[:, :, None] & negative[:, None, :]
    weight = batch.weight.gather(1, place)[:, :, None] * batch.weight[:, None, :]
    return torch.where(both, gap, 0), torch.where(both, weight, 0)


def top_negatives(batch: SignedBatch, k: int) -> tuple[Tensor, Tensor]:
    """The k highest believed negatives of every row: columns int64 [B, k'], valid bool [B, k']; k' = min(k, columns).

    Ties go to the lowest column. Where a row has fewer, valid is False: masked candidates never look like real ones.
    """
    if k < 1:
        raise ValueError(f"top_negatives: k must be >= 1, got {k!r}")
    scores = _formed(batch)
    field = (batch.sign < 0) & (batch.weight > 0) & (scores != -torch.inf)
    ranked = torch.where(field, scores, -torch.inf).sort(dim=1, descending=True, stable=True)
    k = min(k, scores.shape[1])
    return ranked.indices[:, :k], field.gather(1, ranked.indices[:, :k])


def _formed(batch: SignedBatch) -> Tensor:
    if batch.scores is None or batch.scores.shape != batch.sign.shape:
        raise ValueError("the batch has columns without scores: run a scorer first")
    return batch.scores
