"""A space: two sets of vectors and the similarity by which they are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from litotes.search.definition import check_similarity, check_vectors, norms, score_pairs
from litotes.search.exact import top_k
from litotes.search.mask import Mask


@dataclass(frozen=True, eq=False)
class Space:
    """Queries and documents as one scorer sees them; every score read from it is the definition's, bit for bit.

    Larger is more alike for all three similarities. Scores depend on the two vectors alone, not on what else is asked.

    Args:
        queries: float32 [Q, D], finite; may be memory-mapped.
        corpus: float32 [N, D], finite; may be memory-mapped.
        similarity: "cosine", "dot" or "l2" (minus the squared distance).
        name: the scorer's name, as evidence will carry it.
        checksum: of the scorer's weights and settings.
    Raises:
        BadInput: vectors of another type or width, or NaN or infinity (input and row are named).
        ValueError: no such similarity.
    """

    queries: np.ndarray
    corpus: np.ndarray
    similarity: str = "cosine"
    name: str = ""
    checksum: str = ""

    def __post_init__(self) -> None:
        check_similarity("Space", self.similarity)
        check_vectors(self.queries, "queries")
        check_vectors(self.corpus, "corpus")
        if self.queries.shape[1] != self.corpus.shape[1]:
            widths = self.queries.shape[1], self.corpus.shape[1]
            raise ValueError(f"Space: queries have {widths[0]} dimensions, the corpus has {widths[1]}")

    def pairs(self, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
        """Scores of aligned rows. Integer [P], [P] -> float32 [P].

        Raises:
            ValueError: the two differ in length, or a row is out of range.
        """
        import torch

        query_rows = _rows(query_rows, len(self.queries), "query_rows")
        document_rows = _rows(document_rows, len(self.corpus), "document_rows")
        if len(query_rows) != len(document_rows):
            raise ValueError(f"Space.pairs: {len(query_rows)} query rows, but {len(document_rows)} document rows")
        lengths = self.query_norms, self.corpus_norms
        pairs = query_rows, document_rows
        return score_pairs(self.queries, self.corpus, *pairs, self.similarity, *lengths, torch.get_num_threads())

    def top_k(
        self, query_rows: np.ndarray, k: int | np.ndarray, mask: Mask | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of the given queries: exact, ties to the lowest row.

        In:   query_rows integer [n], repeats allowed; k a number or integers [n]; row i of the mask for query_rows[i].
        Out:  ids int32 [n, max k], -1 padded; scores float32 [n, max k], -inf padded.
        Raises:
            ValueError: k < 1, a row is out of range, or the mask does not fit.
        """
        rows = _rows(query_rows, len(self.queries), "query_rows")
        return top_k(
            self.queries[rows],
            self.corpus,
            k,
            similarity=self.similarity,
            mask=mask,
            query_norms=self.query_norms[rows],
            corpus_norms=self.corpus_norms,
        )

    @cached_property
    def query_norms(self) -> np.ndarray:
        """Norms of the queries by the definition, float64 [Q]."""
        return norms(self.queries)

    @cached_property
    def corpus_norms(self) -> np.ndarray:
        """Norms of the documents by the definition, float64 [N]."""
        return norms(self.corpus)


def _rows(rows: np.ndarray, length: int, name: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
        raise ValueError(f"Space: {name} must be whole numbers [n], got {rows.dtype} of shape {list(rows.shape)}")
    if len(rows) and not (rows.min() >= 0 and rows.max() < length):
        raise ValueError(f"Space: {name} must be in [0, {length}), got {rows.min()} to {rows.max()}")
    return rows.astype(np.int64)
