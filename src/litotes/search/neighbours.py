"""Nearest neighbours of every row, and the graph that they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litotes.search.approximate import ApproximateIndex
from litotes.search.components import labels
from litotes.search.exact import top_k
from litotes.search.mask import Mask, Rows


def neighbours(
    queries: np.ndarray,
    corpus: np.ndarray | None = None,
    k: int = 10,
    *,
    similarity: str = "cosine",
    exclude: Rows | None = None,
    mask: Mask | None = None,
    index: ApproximateIndex | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of `corpus` nearest to each row of `queries`, best first, ties to the lowest row.

    Without a corpus it is a self-join: no row is its own neighbour, and an exact copy of it, another row, is.

    In:   queries float32 [N, D], corpus float32 [M, D] or None.
    Out:  ids int32 [N, k], -1 padded; scores float32 [N, k], -inf padded: those of the definition.
    Cost: that of `top_k`, or of the index.

    Args:
        k: how many, >= 1; may exceed the rows.
        similarity: "cosine", "dot" or "l2"; that of the index where there is one.
        exclude: (offsets, items): rows that a query may not find, as all its known positives.
        mask: any further conditions.
        index: an approximate index of the corpus (in a self-join of `queries`) to ask instead of the exact search.
    Raises:
        ValueError: an argument is out of range, or the mask, the exclusion or the index does not fit.
        BadInput: vectors are no float32 matrices, or hold NaN or infinity.
    """
    target = queries if corpus is None else corpus
    given = Mask.fitting("neighbours", mask, len(queries), len(target))
    if exclude is not None:
        given = given.without(exclude)
    if corpus is None:
        given = given.without((np.arange(len(queries) + 1), np.arange(len(queries))))
    if index is None:
        return top_k(queries, target, k, similarity=similarity, mask=given)
    if index.corpus.shape != target.shape:
        shapes = list(target.shape), list(index.corpus.shape)
        raise ValueError(f"neighbours: index must be one of the corpus {shapes[0]}, got one of {shapes[1]}")
    return index.top_k(queries, k, given)


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed graph over N rows: the neighbours of row i are items[offsets[i]:offsets[i + 1]], best first.

    Args:
        offsets: int64 [N + 1]. items: int32 [E]. scores: float32 [E].
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, scores: np.ndarray) -> Graph:
        """The graph of a self-join, as `neighbours` gives it: ids [N, k], -1 padded, and scores [N, k].

        Raises:
            ValueError: the two differ in shape, or an id is no row.
        """
        if ids.ndim != 2 or ids.shape != scores.shape:
            raise ValueError(f"Graph: ids and scores must be [N, k], got {list(ids.shape)} and {list(scores.shape)}")
        if ids.size and not (ids.min() >= -1 and ids.max() < len(ids)):
            raise ValueError(f"Graph: ids must be rows in [0, {len(ids)}) or -1, got {ids.min()} to {ids.max()}")
        there = ids >= 0
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
        return cls(offsets, ids[there].astype(np.int32), scores[there].astype(np.float32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def rows(self) -> np.ndarray:
        """The row from which each edge goes: int32 [E]."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def mutual(self) -> Graph:
        """The edges that go both ways: j is among the neighbours of i, and i among those of j."""
        forward = self.rows.astype(np.int64) * len(self) + self.items
        return self._with(np.isin(forward, self.items.astype(np.int64) * len(self) + self.rows))

    def above(self, threshold: float) -> Graph:
        """The edges of a score >= threshold (compared in float32)."""
        return self._with(self.scores >= np.float32(threshold))

    def components(self) -> np.ndarray:
        """Which rows hang together, edges taken in both directions: int32 [N], the lowest row of each component."""
        return labels(self.rows, self.items, len(self))

    def _with(self, kept: np.ndarray) -> Graph:
        before = np.concatenate([[0], np.cumsum(kept)])
        return Graph(before[self.offsets], self.items[kept], self.scores[kept])
