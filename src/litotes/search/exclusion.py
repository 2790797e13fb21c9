"""Which documents a query may not find: one row of items per query (offsets and items)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Exclusion:
    """Excluded documents of n queries: `items[offsets[i]:offsets[i + 1]]` of query i, in any order, repeats allowed.

    Args:
        offsets: integer [n + 1], from 0 upwards to len(items).
        items: integer document rows.
    """

    offsets: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, exclude: Rows | None, queries: int, documents: int) -> Exclusion:
        """The exclusion of `queries` queries over `documents` documents, checked; None excludes nothing.

        Raises:
            ValueError: offsets and items do not fit each other, the queries or the corpus.
        """
        if exclude is None:
            return cls(np.zeros(queries + 1, np.int64), np.zeros(0, np.int64))
        offsets, items = (np.asarray(part) for part in exclude)
        if offsets.shape != (queries + 1,) or items.ndim != 1:
            raise ValueError(
                f"exclude: need offsets [{queries + 1}] and items [any], got shapes {offsets.shape}, {items.shape}"
            )
        if any(len(part) and not np.issubdtype(part.dtype, np.integer) for part in (offsets, items)):
            raise ValueError(f"exclude: need integers, got {offsets.dtype} offsets and {items.dtype} items")
        if offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
            raise ValueError(f"exclude: offsets must rise from 0 to {len(items)}, the number of items")
        if len(items) and not (items.min() >= 0 and items.max() < documents):
            raise ValueError(
                f"exclude: items must be document rows in [0, {documents}), got {items.min()} to {items.max()}"
            )
        return cls(offsets.astype(np.int64), items.astype(np.int64))

    def within(self, queries: slice, documents: slice) -> tuple[np.ndarray, np.ndarray]:
        """The excluded pairs inside one block, counted from its corner: (query rows, document columns)."""
        offsets = self.offsets[queries.start : queries.stop + 1]
        items = self.items[offsets[0] : offsets[-1]]
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        inside = (items >= documents.start) & (items < documents.stop)
        return rows[inside], items[inside] - documents.start

    def of_rows(self, rows: np.ndarray) -> Exclusion:
        """The exclusion of some of the queries."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Exclusion(offsets, self.items[where])
