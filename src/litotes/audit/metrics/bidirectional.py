"""bidirectional_recall: how well each side of a pair finds the other, and which side is better at it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def bidirectional_recall(scores: ArrayLike, positives: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall at k and median rank from rows to columns and back.

    The rank of an answer is the number of items that score at least as much, itself included: a tie is a fault. Of
    several answers the best-ranked counts (any of five captions). Rows or columns without an answer are left out of
    their direction.

    In:   scores float [R, C], larger = more alike; positives bool [R, C].
    Out:  "rows r@k", "columns r@k" in [0, 1] and "rows median", "columns median" (ranks from 1); "gap r@k", rows minus
          columns: above 0 for a model that finds columns from rows better than the other way round.
    Cost: O(R C).
    Raises:
        ValueError: shapes differ, a k is < 1, a score is NaN, or nothing is an answer.
    Source: the two tasks of Deep Learning Applied to Image and Text Matching (arXiv:1601.03478): rows are images.
    """
    s, true = np.asarray(scores, dtype=np.float64), np.asarray(positives).astype(bool)
    if s.ndim != 2 or s.shape != true.shape:
        shapes = f"{list(s.shape)} and {list(true.shape)}"
        raise ValueError(f"bidirectional_recall: scores and positives must both be [R, C], got {shapes}")
    if any(not k >= 1 for k in ks):
        raise ValueError(f"bidirectional_recall: ks must be >= 1, got {list(ks)}")
    if np.isnan(s).any():
        raise ValueError("bidirectional_recall: scores must be numbers, got NaN")
    if not true.any():
        raise ValueError("bidirectional_recall: nothing is an answer")
    found: dict[str, float] = {}
    for name, one, answers in (("rows", s, true), ("columns", s.T, true.T)):
        ranks = _best_ranks(one[answers.any(axis=1)], answers[answers.any(axis=1)])
        found |= {f"{name} r@{k}": float((ranks <= k).mean()) for k in ks}
        found[f"{name} median"] = float(np.median(ranks))
    return found | {f"gap r@{k}": found[f"rows r@{k}"] - found[f"columns r@{k}"] for k in ks}


def _best_ranks(scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Rank of the best answer of every row: items that score at least as much, other answers aside."""
    best = np.where(answers, scores, -np.inf).max(axis=1)
    return 1 + ((scores >= best[:, None]) & ~answers).sum(axis=1)
