"""A space whose corpus is cut into shards: each is searched by itself, and the answers become one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from litotes.search.definition import check_similarity, check_vectors, score_pairs
from litotes.search.depths import depths, rows_in
from litotes.search.exact import check_rows, top_k
from litotes.search.mask import Mask
from litotes.search.norms import norms
from litotes.search.ranked import best
from litotes.search.report import SearchReport
from litotes.search.space import Space

Hits = tuple[np.ndarray, np.ndarray]
Reported = tuple[np.ndarray, np.ndarray, SearchReport]
_QUERIES = 8192  # at a time, so that partial answers stay small


def merge(parts: Iterable[Hits], k: int | np.ndarray) -> Hits:
    """The k best of several answers to the same queries, by score, ties to the lowest id.

    Where every part is the exact top k of its own documents, the result is the exact top k of all of them: a document
    that is among the k best of all has fewer than k before it, hence fewer than k in its own part, so it is there; and
    its score is the definition's, the same bits wherever it was formed. So the certificates of the parts are one for
    the whole, and the order of the parts does not matter.

    In:   per part ids integer [Q, any], -1 = nothing, and scores float32 of that shape. No document in two parts.
    Out:  ids int32 [Q, k], -1 padded; scores float32 [Q, k], -inf padded (k the largest, where it is per query).
    Cost: O(parts Q k log k) time, O(Q k) memory beside one part.

    Args:
        k: how many, >= 1; or whole numbers >= 0 [Q], one per query.
    Raises:
        ValueError: there is no part, k is out of range, or parts differ in the number of queries.
    """
    made: Hits | None = None
    for ids, scores in parts:
        if ids.shape != scores.shape or ids.ndim != 2 or (made is not None and len(ids) != len(made[0])):
            raise ValueError(
                f"merge: ids {list(ids.shape)} and scores {list(scores.shape)} must be [Q, any], Q the same"
            )
        each, wide = depths("merge", k, len(ids))
        if made is not None:
            ids, scores = np.concatenate([made[0], ids], axis=1), np.concatenate([made[1], scores], axis=1)
        made = best(ids, scores, each, wide)
    if made is None:
        raise ValueError("merge: there must be at least one part, got none")
    return made


class Joined:
    """Matrices one below the other, as one to read from; nothing is copied but the rows that are asked for."""

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *map(len, self.parts)])
        self.shape = (int(self.starts[-1]), self.parts[0].shape[1])
        self.dtype, self.ndim = self.parts[0].dtype, 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        rows = np.where(rows < 0, rows + len(self), rows)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        made = np.empty((len(rows), self.shape[1]), self.dtype)
        for number in np.unique(part):
            here = part == number
            made[here] = self.parts[number][rows[here] - self.starts[number]]
        return made


class ShardedSpace:
    """A `Space` over shards of documents; same methods, same bits as one space over the shards one below the other.

    Args:
        queries: float32 [Q, D], finite; may be memory-mapped.
        shards: float32 [any, D] each, at least one, finite; may be memory-mapped files. Row i of the corpus is row i of
            the shards one below the other.
        similarity, name, checksum: as for `Space`.
        checked: the vectors are known to be finite, and need not be read for that.
    Raises:
        BadInput: vectors of another type or width, or NaN or infinity (input and row are named).
        ValueError: no shard, shards of several widths, or no such similarity.
    """

    def __init__(
        self,
        queries: np.ndarray,
        shards: Sequence[np.ndarray],
        similarity: str = "cosine",
        name: str = "",
        checksum: str = "",
        *,
        checked: bool = False,
    ):
        check_similarity(type(self).__name__, similarity)
        if not len(shards):
            raise ValueError(f"{type(self).__name__}: there must be at least one shard, got none")
        check_vectors(queries, "queries", finite=not checked)
        for number, shard in enumerate(shards):
            check_vectors(shard, f"shard {number}", finite=not checked)
            if shard.shape[1] != queries.shape[1]:
                widths = f"queries have {queries.shape[1]} dimensions, shard {number} has {shard.shape[1]}"
                raise ValueError(f"{type(self).__name__}: {widths}")
        check_rows(type(self).__name__, sum(map(len, shards)))
        self.queries, self.shards = queries, tuple(shards)
        self.corpus: np.ndarray | Joined = Joined(shards)
        self.starts = self.corpus.starts.tolist()  # first row of each shard, and the number of all rows
        self.similarity, self.name, self.checksum = similarity, name, checksum
        self.folder: Path | None = None  # where an index of the vectors may be kept

    def kept_in(self, folder: Path | None) -> ShardedSpace:
        """The same space, whose indices are kept in that folder."""
        made = copy.copy(self)
        made.folder = folder
        return made

    def pairs(self, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
        """Scores of aligned rows. Integer [P], [P] -> float32 [P].

        Raises:
            ValueError: the two differ in length, or a row is out of range.
        """
        import torch

        owner = type(self).__name__
        query_rows = rows_in(owner, query_rows, len(self.queries), "query_rows")
        document_rows = rows_in(owner, document_rows, len(self.corpus), "document_rows")
        if len(query_rows) != len(document_rows):
            raise ValueError(f"{owner}.pairs: {len(query_rows)} query rows, but {len(document_rows)} document rows")
        # `score_pairs` only asks the corpus for its width and for rows
        corpus: np.ndarray = self.corpus  # type: ignore[assignment]
        lengths = self.query_norms, self.corpus_norms
        threads = torch.get_num_threads()
        return score_pairs(self.queries, corpus, query_rows, document_rows, self.similarity, *lengths, threads)

    def top_k(
        self,
        query_rows: np.ndarray,
        k: int | np.ndarray,
        mask: Mask | None = None,
        *,
        report: Callable[[SearchReport], None] | None = None,
    ) -> Hits:
        """The k best documents of the given queries: exact, ties to the lowest row.

        In:   query_rows integer [n], repeats allowed; mask: row i says what query_rows[i] may find; `report` is called
              with the report of each shard's search.
        Out:  ids int32 [n, k], -1 padded; scores float32 [n, k], -inf padded.
        Cost: that of the shards' searches; memory O(n k + 8,192 k).
        Raises:
            ValueError: k is out of range, a row is, or `mask` is for other queries or documents.
        """
        rows = rows_in(type(self).__name__, query_rows, len(self.queries), "query_rows")
        each, wide = depths("top_k", k, len(rows))
        if mask is not None:
            mask = Mask.fitting("top_k", mask, len(rows), len(self.corpus))
        ids, scores = np.full((len(rows), wide), -1, np.int32), np.full((len(rows), wide), -np.inf, np.float32)
        blocks = [np.arange(lo, min(lo + _QUERIES, len(rows))) for lo in range(0, len(rows), _QUERIES)]
        found = self._found(rows, each, mask, blocks)
        for block in blocks:
            parts = (_from(next(found), start, report) for start in self.starts[:-1])
            merged = merge(parts, each[block])  # as wide as the largest k of this block
            ids[block, : merged[0].shape[1]], scores[block, : merged[1].shape[1]] = merged
        return ids, scores

    def over(self, corpus: np.ndarray) -> Space | ShardedSpace:
        """The same queries over other documents, searched where this one is.

        Raises:
            BadInput, ValueError: the documents do not fit.
        """
        return Space(self.queries, corpus, self.similarity, self.name)

    @cached_property
    def query_norms(self) -> np.ndarray:
        """Norms of the queries by the definition, float64 [Q]."""
        return norms(self.queries)

    @cached_property
    def corpus_norms(self) -> np.ndarray:
        """Norms of the documents by the definition, float64 [N]."""
        return np.concatenate([norms(shard) for shard in self.shards])

    def _found(
        self, rows: np.ndarray, each: np.ndarray, mask: Mask | None, blocks: Sequence[np.ndarray]
    ) -> Iterator[Reported]:
        """Answers of every block (outer) and shard (inner), ids counted from the shard's first row."""
        for block in blocks:
            for number, shard in enumerate(self.shards):
                lo, hi = self.starts[number : number + 2]
                yield reported(
                    self.queries[rows[block]],
                    shard,
                    each[block],
                    similarity=self.similarity,
                    mask=None if mask is None else mask.of_queries(block).of_documents(lo, hi),
                    query_norms=self.query_norms[rows[block]],
                    corpus_norms=self.corpus_norms[lo:hi],
                )


def cut(corpus: np.ndarray, shards: int) -> list[np.ndarray]:
    """A corpus in that many runs of rows, as even as can be; none is empty unless the corpus is."""
    if not shards >= 1:
        raise ValueError(f"cut: shards must be >= 1, got {shards!r}")
    bounds = np.linspace(0, len(corpus), min(shards, max(len(corpus), 1)) + 1).astype(np.int64).tolist()
    return [corpus[lo:hi] for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]


def reported(*arguments: Any, **options: Any) -> Reported:
    """What `top_k` answers, and its report."""
    seen: list[SearchReport] = []
    ids, scores = top_k(*arguments, **options, report=seen.append)
    return ids, scores, seen[0]


def _from(found: Reported, start: int, report: Callable[[SearchReport], None] | None) -> Hits:
    ids, scores, seen = found
    if report is not None:
        report(seen)
    return np.where(ids >= 0, ids + np.int64(start), -1), scores
