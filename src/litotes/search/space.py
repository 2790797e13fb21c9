"""A space: two sets of vectors and the similarity by which they are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from litotes.search.definition import check_similarity, check_vectors, score_pairs
from litotes.search.depths import rows_in
from litotes.search.exact import WORTH_COMPILING, top_k
from litotes.search.mask import Mask
from litotes.search.norms import norms
from litotes.search.report import SearchReport


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
        folder: where an index of the vectors may be kept, None = nowhere. Not where the vectors lie, unless that is a
            folder made for such things.
    Raises:
        BadInput: vectors of another type or width, or NaN or infinity (input and row are named).
        ValueError: no such similarity.
    """

    queries: np.ndarray
    corpus: np.ndarray
    similarity: str = "cosine"
    name: str = ""
    checksum: str = ""
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_similarity("Space", self.similarity)
        check_vectors(self.queries, "queries")
        if self.corpus is not self.queries:  # in a self-join one reading is enough
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

        query_rows = rows_in("Space", query_rows, len(self.queries), "query_rows")
        document_rows = rows_in("Space", document_rows, len(self.corpus), "document_rows")
        if len(query_rows) != len(document_rows):
            raise ValueError(f"Space.pairs: {len(query_rows)} query rows, but {len(document_rows)} document rows")
        lengths = self.query_norms, self.corpus_norms
        pairs = query_rows, document_rows
        return score_pairs(self.queries, self.corpus, *pairs, self.similarity, *lengths, torch.get_num_threads())

    def top_k(
        self,
        query_rows: np.ndarray,
        k: int | np.ndarray,
        mask: Mask | None = None,
        *,
        report: Callable[[SearchReport], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of the given queries: exact, ties to the lowest row.

        In:   query_rows integer [n], repeats allowed; k a number or integers [n]; row i of the mask for query_rows[i];
              `report` is called with how it was proved.
        Out:  ids int32 [n, max k], -1 padded; scores float32 [n, max k], -inf padded.
        Raises:
            ValueError: k < 1, a row is out of range, or the mask does not fit.
        """
        rows = rows_in("Space", query_rows, len(self.queries), "query_rows")
        whole = len(self.queries) * self.corpus.size  # a large search is asked for in many small calls
        return top_k(
            self.queries[rows],
            self.corpus,
            k,
            similarity=self.similarity,
            mask=mask,
            query_norms=self.query_norms[rows],
            corpus_norms=self.corpus_norms,
            engine="compiled" if whole >= WORTH_COMPILING else "auto",
            report=report,
        )

    def over(self, corpus: np.ndarray) -> Space:
        """The same queries over other documents, searched where this one is.

        Raises:
            BadInput, ValueError: the documents do not fit.
        """
        return Space(self.queries, corpus, self.similarity, self.name)

    def kept_in(self, folder: Path | None) -> Space:
        """The same space, whose indices are kept in another folder. Nothing is read or checked again."""
        made = copy.copy(self)
        made.__dict__["folder"] = folder
        return made

    @cached_property
    def query_norms(self) -> np.ndarray:
        """Norms of the queries by the definition, float64 [Q]."""
        return norms(self.queries)

    @cached_property
    def corpus_norms(self) -> np.ndarray:
        """Norms of the documents by the definition, float64 [N]."""
        return self.query_norms if self.corpus is self.queries else norms(self.corpus)
