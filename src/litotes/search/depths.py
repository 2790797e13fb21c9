"""How many documents each query asks for."""

from __future__ import annotations

import numpy as np


def depths(owner: str, k: int | np.ndarray, queries: int) -> np.ndarray:
    """`k` for each query: int64 [queries]. Results are as wide as the largest, and padded beyond a query's own.

    Raises:
        ValueError: k is no whole number >= 1, nor whole numbers >= 0 [queries] (`owner` is named).
    """
    if isinstance(k, np.ndarray) and k.ndim:
        if k.shape != (queries,) or not (np.issubdtype(k.dtype, np.integer) and (k >= 0).all()):
            raise ValueError(f"{owner}: k must be whole numbers >= 0, one per query [{queries}], got {k!r}")
        return k.astype(np.int64)
    if not (isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1):
        raise ValueError(f"{owner}: k must be a whole number >= 1, got {k!r}")
    return np.full(queries, k, np.int64)
