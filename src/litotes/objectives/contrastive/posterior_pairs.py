"""PosteriorPairs: class posteriors of one individual come together, those of two stay a divergence apart."""

from __future__ import annotations

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective, scored, without_common
from litotes.ops import weighted_mean


class PosteriorPairs(Objective):
    """A pairwise term on divergences. With K_ij = KL(p_i || p_j) = -scores (the scorer is `PosteriorKL`):

        positive pair   K_ij + K_ji
        negative pair   max(0, margin - K_ij) + max(0, margin - K_ji)

    The loss is the mean over positive pairs plus the mean over negative ones, for negatives are many; or, not balanced,
    one mean over all. A pair counts as far as its sign is believed. It goes beside the cross-entropy of a classifier
    and does not hold it. Signs alone are enough: no class needs to be known.

    In:   SignedBatch, scored by `PosteriorKL` both ways round, as `from_labels(logits, y)` is: `scores` [B, C] <= 0.
    Out:  scalar >= 0 in nats; a half without pairs is 0, with gradient 0. `terms` gives "positive" and "negative".
    Cost: O(B C).

    Args:
        margin: divergence that is far enough, > 0 and finite. 2 is usual.
        balanced: positives and negatives have a mean each.
    Raises:
        ValueError: an argument is out of range, or the batch is not scored or has common negatives.
    Source: Primate Face Identification in the Wild (arXiv:1907.02642); that the pair term is a divergence with a hinge
        is read from the authors' earlier work on pairs, for no code is public; balancing ours.
    """

    def __init__(self, margin: float = 2.0, balanced: bool = True):
        super().__init__()
        if not 0 < margin < float("inf"):
            raise ValueError(f"PosteriorPairs: margin must be > 0 and finite, got {margin!r}")
        self.margin, self.balanced = margin, bool(balanced)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.terms(batch, now=now)["loss"]

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss, and its two means over pairs (both directions of a pair added)."""
        without_common(batch, self)
        scores = scored(batch, self)
        exists = batch.exists
        scores = torch.where(exists, scores, 0).to(torch.promote_types(scores.dtype, torch.float32))
        weight = torch.where(exists, batch.weight, 0).to(scores.dtype)
        near, far = -scores, (self.margin + scores).clamp(min=0)
        ours, theirs = weight * (batch.sign > 0), weight * (batch.sign < 0)
        positive, negative = 2 * weighted_mean(near, ours), 2 * weighted_mean(far, theirs)
        whole = 2 * weighted_mean(torch.where(batch.sign > 0, near, far), weight)
        return {
            "loss": positive + negative if self.balanced else whole,
            "positive": positive,
            "negative": negative,
        }
