"""How many documents each query asks for, and which rows: arguments that every search checks alike."""

from __future__ import annotations

import numpy as np


def depths(owner: str, k: int | np.ndarray, queries: int) -> tuple[np.ndarray, int]:
    """`k` for each query, int64 [queries], and how wide the results are: the largest of them, or `k` itself.

    Results are padded beyond a query's own number.

    Raises:
        ValueError: k is no whole number >= 1, nor whole numbers >= 0 [queries] (`owner` is named).
    """
    if isinstance(k, np.ndarray) and k.ndim:
        if k.shape != (queries,) or not (np.issubdtype(k.dtype, np.integer) and (k >= 0).all()):
            raise ValueError(f"{owner}: k must be whole numbers >= 0, one per query [{queries}], got {k!r}")
        return k.astype(np.int64), int(k.max(initial=0))
    if not (isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1):
        raise ValueError(f"{owner}: k must be a whole number >= 1, got {k!r}")
    return np.full(queries, k, np.int64), int(k)


def rows_in(owner: str, rows: np.ndarray, length: int, name: str) -> np.ndarray:
    """Row numbers, int64 [n].

    Raises:
        ValueError: they are no whole numbers in [0, length) (`owner` and `name` are named).
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
        raise ValueError(f"{owner}: {name} must be whole numbers [n], got {rows.dtype} of shape {list(rows.shape)}")
    if len(rows) and not (rows.min() >= 0 and rows.max() < length):
        raise ValueError(f"{owner}: {name} must be in [0, {length}), got {rows.min()} to {rows.max()}")
    return rows.astype(np.int64)
