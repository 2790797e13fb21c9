"""The best of given scores, in the order that every search answers in."""

from __future__ import annotations

import numpy as np


def best(ids: np.ndarray, scores: np.ndarray, k: np.ndarray, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k[i] best columns of each row i, ties to the lowest id, padded with -1 and -inf.

    In:   ids integer [n, w], -1 where there is none; scores float32 [n, w]; k integer [n].
    Out:  ids int32 [n, width], scores float32 [n, width].

    Args:
        width: of the result, >= every k. None = the largest k.
    """
    width = int(k.max(initial=0)) if width is None else width
    key = np.where(ids < 0, np.iinfo(np.int64).max, ids)  # what is absent comes after a real score of -inf
    order = np.lexsort((key, -scores), axis=1)[:, :width]
    found = np.full((len(ids), width), -1, np.int32), np.full((len(ids), width), -np.inf, np.float32)
    found[0][:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    found[1][:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    beyond = np.arange(width) >= k[:, None]
    found[0][beyond], found[1][beyond] = -1, -np.inf
    return found
