"""What an exact search is asked, checked and in one form for all back ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litotes.search.mask import Mask


@dataclass(frozen=True, eq=False)
class Problem:
    """The k best documents of each query.

    Args:
        queries, corpus: float32 [Q, D] and [N, D], finite; either may be memory-mapped.
        similarity: "cosine", "dot" or "l2".
        query_norms, corpus_norms: float64 [Q] and [N], by the definition.
        k: int64 [Q], each in [0, N].
        documents: int64 [M]: rows of the corpus that are looked at, rising; None = all.
        mask: what each query may find; None = anything. Its `allowed` has been used up for `documents`.
    """

    queries: np.ndarray
    corpus: np.ndarray
    similarity: str
    query_norms: np.ndarray
    corpus_norms: np.ndarray
    k: np.ndarray
    documents: np.ndarray | None
    mask: Mask | None

    @property
    def dimensions(self) -> int:
        """D."""
        return self.queries.shape[1]

    @property
    def count(self) -> int:
        """How many documents are looked at."""
        return len(self.corpus) if self.documents is None else len(self.documents)

    def rows(self, low: int, *highs: int) -> slice | np.ndarray:
        """Rows of the documents from the low-th to the lowest of `highs`: a slice where they are all of the corpus."""
        span = slice(low, min(highs))
        return span if self.documents is None else self.documents[span]


def capacity(k: int) -> int:
    """Candidates that a query may have before its line is raised or they are scored by the definition."""
    return max(4 * k, k + 256)


def padded(rows: int) -> int:
    """Rows of zeros are added up to a multiple of 32: small products take other paths, with other errors."""
    return -(-rows // 32) * 32
