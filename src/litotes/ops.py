"""Pure tensor functions that several rooms share."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def yes_no_score(logit_true: Tensor, logit_false: Tensor) -> Tensor:
    """How far a language model says yes: p(True) / (p(True) + p(False)) = sigmoid(logit_true - logit_false).

    In:   the next-token logits of the two answers, any shapes that broadcast; -inf = the answer cannot be given (one of
          them can). Log-probabilities do as well: a constant added to both changes nothing. Which tokens stand for
          the answers (leading space, case) is for the caller to say.
    Out:  in [0, 1], float32 or the wider dtype of the two, for half-precision logits tie easily.
    Source: zero-shot reranking in MM-Embed (arXiv:2411.02571), section 3.4.
    """
    dtype = torch.promote_types(torch.promote_types(logit_true.dtype, logit_false.dtype), torch.float32)
    return torch.sigmoid(logit_true.to(dtype) - logit_false.to(dtype))


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


def pairwise_kl(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergences of all pairs of distributions given as logits: KL(p_i || r_j), in nats.

    In:   x [..., N, C], y [..., M, C] finite logits (None = x); a constant added to a row of logits changes nothing.
    Out:  [..., N, M], at least float32; >= 0 up to rounding, about 1e-6 of the largest |log r| in float32.
    Cost: one product; no [N, M, C] tensor.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    p = x.to(dtype).log_softmax(dim=-1)
    r = p if y is None else y.to(dtype).log_softmax(dim=-1)
    return (p.exp() * p).sum(dim=-1, keepdim=True) - p.exp() @ r.transpose(-1, -2)


def whisker_mask(values: Tensor, whisker: float, valid: Tensor | None = None) -> Tensor:
    """True for values between the whiskers of a box plot: Q1 - r IQR <= v <= Q3 + r IQR, ends included.

    Q1 and Q3 are the values at places floor(M / 4) and floor(3 M / 4) of the M sorted valid ones.

    Args:
        values: [N], finite where valid; no gradient passes. whisker: r >= 0; inf = all stay.
        valid: bool [N], which values count; None = all. What does not count is neither kept nor looked at.
    Raises:
        ValueError: whisker is negative or NaN.
    Source: UNPG (arXiv:2203.11593), its noise-negative filter.
    """
    if not whisker >= 0:
        raise ValueError(f"whisker_mask: whisker must be >= 0, got {whisker!r}")
    values = values.detach()
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    if whisker == float("inf") or not len(values):
        return valid
    ranked, count = values.masked_fill(~valid, torch.inf).sort().values, valid.sum()
    most = len(values) - 1
    places = torch.stack([(part * count // 4).clamp(max=most) for part in (1, 3)])
    low, high = ranked.gather(0, places)  # an index of one place would be read on the host
    reach = whisker * (high - low)
    return valid & (values >= low - reach) & (values <= high + reach)


@torch.no_grad()
def ema_(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """In place: every parameter of target becomes momentum * itself + (1 - momentum) * source's; buffers are copied.

    Args:
        target, source: modules with the same parameters and buffers. momentum: share of the old, in [0, 1].
    Raises:
        ValueError: momentum is out of range, or the two differ in their names.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"ema_: momentum must be in [0, 1], got {momentum!r}")
    ours, theirs = dict(target.named_parameters()), dict(source.named_parameters())
    if set(ours) != set(theirs):
        raise ValueError(f"ema_: the modules differ in {sorted(set(ours) ^ set(theirs))[:3]}")
    for name, old in ours.items():
        old.lerp_(theirs[name].detach().to(old), 1 - momentum)
    here = dict(source.named_buffers())
    for name, buffer in target.named_buffers():
        buffer.copy_(here[name])


def _formed(batch: SignedBatch) -> Tensor:
    if batch.scores is None or batch.scores.shape != batch.sign.shape:
        raise ValueError("the batch has columns without scores: run a scorer first")
    return batch.scores
