"""rp_at_k: how many of the true labels stand among the first k, where there may be fewer or more than k of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def rp_at_k(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The mean over texts of (true labels among the first k) / min(k, number of true labels).

    Precision at k cannot reach 1 for a text with fewer than k labels, recall at k for one with more; RP@k can.
    The rank of a label is the number of labels that score at least as much, itself included: a tie is a fault, so a
    scorer that says nothing earns nothing. Two true labels that tie for the first place both have rank 2.
    -inf = no classifier: such a label is never among the first, and a true one counts as missed. Texts without a true
    label are left out.

    In:   scores float [T, L], truth bool (or 0/1) [T, L].
    Out:  in [0, 1].
    Cost: O(T L).

    Args:
        k: >= 1; may exceed L.
    Raises:
        ValueError: k is out of range, shapes differ, a score is NaN, or no text has a true label.
    Source: as used in Design of Negative Sampling Strategies for Distantly Supervised Skill Extraction
        (arXiv:2209.05987), section 4.
    """
    s, true = np.asarray(scores), np.asarray(truth).astype(bool)
    if not k >= 1:
        raise ValueError(f"rp_at_k: k must be >= 1, got {k!r}")
    if s.ndim != 2 or s.shape != true.shape:
        raise ValueError(f"rp_at_k: scores and truth must both be [T, L], got {list(s.shape)} and {list(true.shape)}")
    if np.isnan(s).any():
        raise ValueError(f"rp_at_k: scores must be numbers or -inf, got NaN in row {int(np.isnan(s).any(1).argmax())}")
    known = true.sum(axis=1)
    if not known.any():
        raise ValueError("rp_at_k: no text has a true label")
    s, true, known = s[known > 0], true[known > 0], known[known > 0]
    if k < s.shape[1]:  # among the first k = above the one at place k + 1
        beyond = np.partition(s, s.shape[1] - k - 1, axis=1)[:, -k - 1]
        first = s > beyond[:, None]
    else:
        first = s > -np.inf
    return float(((first & true).sum(axis=1) / np.minimum(k, known)).mean())
