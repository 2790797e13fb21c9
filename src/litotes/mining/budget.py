"""A memory budget for a whole process: what is taken already, what the work needs, and how much is done at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.data.collection import Collection
from litotes.memory import spell_bytes
from litotes.sources.mined.bm25 import Bm25

LEAST = 64  # anchors at a time, below which the search only re-reads vectors
_ROW = 480  # bytes of one candidate on its way to disk: the block that is sorted, and the one that is written
_WRITER = 64 << 20  # a row group of Parquet that waits to be full, and its compression
_TIED = 64  # bytes of one survivor of a small search, which is not compiled: all documents may survive, if they tie
_CORPUS_BLOCK = 16384  # documents that such a search looks at together
_TEXT = 180  # bytes a text takes while a side is encoded: its name, its place, its index
_KEPT = 64  # bytes a query or document takes besides: norms, rows, digests
_LEXICAL = 24  # bytes that BM25 takes for one byte of text: words as Python objects, then weights
_SPARE = 0.04  # of the budget: pieces of freed memory that nobody can use


@dataclass(frozen=True)
class Budget:
    """What `--memory` promises, reckoned before the start.

    `total`: bytes that the process and its descendants may hold (RssAnon + RssShmem: what cannot be reclaimed).
    `held`: bytes held before the start: imports, model, collection; `collection`: the part of it that is the data.
    `encoding`: bytes that encoding takes; `standing`: bytes that stay while candidates are sought, and `index` those of
    approximate indices, which stay too. `depth` and `dimensions` (0 = no vectors): of the search, among so many
    `documents`.

    The number of anchors at a time is all that a budget decides. No vector, score or byte of evidence depends on it, so
    a run may be gone on with under another budget.
    """

    total: int
    held: int
    collection: int
    encoding: int
    standing: int
    depth: int
    dimensions: int
    documents: int = 0
    index: int = 0

    def need(self, anchors: int) -> int:
        """Bytes at the peak, with so many anchors at a time."""
        rows = 2 * _ROW * (self.depth + 1) * anchors  # one block is made while the one before is written
        search = 0
        if self.dimensions:
            import torch

            from litotes.search import approximate
            from litotes.search.exact import WORTH_COMPILING, scratch_bytes

            search = scratch_bytes(anchors, self.depth, self.dimensions, threads=torch.get_num_threads())
            if anchors * self.documents * self.dimensions < WORTH_COMPILING:  # ties may keep a whole block in hand
                search += _TIED * anchors * min(self.documents, _CORPUS_BLOCK)
            if self.index:  # a query that it cannot answer goes to the exact search, so both are needed
                search += approximate.scratch_bytes(anchors, self.documents, self.dimensions)
        work = max(self.encoding, self.standing + self.index + search + rows)
        return int((self.held + work) * (1 + _SPARE))

    def anchors(self, most: int) -> int:
        """Anchors at a time: the most that fit, halving from `most`.

        Raises:
            MemoryError: not even the least fits; the message says what was asked, what is held and what is needed.
        """
        least = min(LEAST, most)
        anchors = most
        while anchors > least and self.need(anchors) > self.total:
            anchors = max(least, anchors // 2)
        if self.need(anchors) > self.total:
            held = f"imports and model hold {spell_bytes(self.held - self.collection)}"
            if self.collection:
                held += f", the collection {spell_bytes(self.collection)}"
            work = spell_bytes(self.need(anchors) - self.held)
            index = f", {spell_bytes(self.index)} of it for approximate indices" if self.index else ""
            raise MemoryError(
                f"--memory {spell_bytes(self.total)} cannot be kept: {held}, "
                f"and the work needs {work} at least{index}; "
                f"give {spell_bytes(self.need(anchors))} or more"
            )
        return anchors


def budget_of(
    collection: Collection, sources: Iterable[Any], encoder: Any, dimensions: int, *, total: int, held: int
) -> Budget:
    """The budget of a run with these sources, and an encoder that has yet to run (None: there are vectors, or none).

    Raises:
        ValueError: not even the smallest approximate index fits into this machine.
    """
    sizes, sources = (len(collection.queries), len(collection.corpus)), list(sources)
    lexical = 0 if dimensions and not has_lexical(sources) else collection.corpus["text"].nbytes
    return Budget(
        total=total,
        held=held,
        collection=data_bytes(collection),
        encoding=0 if encoder is None else encoding_bytes(encoder, *sizes),
        standing=standing_bytes(*sizes, lexical),
        depth=depth_of(sources),
        dimensions=dimensions,
        documents=sizes[1],
        index=indices_bytes(sources, sizes[1], dimensions) if dimensions else 0,
    )


def data_bytes(collection: Collection) -> int:
    """Bytes of a collection's tables."""
    return sum(table.nbytes for table in (collection.queries, collection.corpus, *collection.qrels.values()))


def indices_bytes(sources: Iterable[Any], documents: int, dimensions: int) -> int:
    """Bytes of the approximate indices of these sources while they are built; 0 where all search exactly."""
    from litotes.search.approximate import choose, index_bytes

    kinds = [part.search for part in parts_of(sources) if getattr(part, "search", "exact") != "exact"]
    kinds = [choose(documents, dimensions) if kind == "auto" else kind for kind in kinds]
    return sum(index_bytes(kind, documents, dimensions) for kind in kinds)


def standing_bytes(queries: int, documents: int, lexical: int = 0) -> int:
    """Bytes that stay while candidates are sought: norms, rows and digests, the writer, and the index of BM25.

    Args:
        lexical: bytes of text that BM25 indexes.
    """
    return _KEPT * (queries + documents) + _WRITER + _LEXICAL * lexical


def encoding_bytes(encoder: Any, queries: int, documents: int) -> int:
    """Bytes that an encoder takes at work beyond its weights, with the names of the texts of one side."""
    return int(encoder.scratch_bytes) + _TEXT * max(queries, documents)


def warm_up(encoder: Any, dimensions: int) -> None:
    """Run one text and one query, so that what they load counts as held before the start and not as work."""
    if encoder is not None:
        encoder.compute_shard(["warm up"], "document")
    if dimensions:
        from litotes.search.exact import top_k

        one = np.ones((1, dimensions), np.float32)
        top_k(one, one, 1, engine="compiled")


def parts_of(sources: Iterable[Any]) -> list[Any]:
    """All plain sources, those of mixtures among them."""
    return [part for source in sources for part in (parts_of(source.parts) if hasattr(source, "parts") else [source])]


def depth_of(sources: Iterable[Any]) -> int:
    """Candidates that these sources hold per anchor at most, as they say."""
    return sum(getattr(part, "skip", 0) + getattr(part, "depth", 100) for part in parts_of(sources))


def has_lexical(sources: Iterable[Any]) -> bool:
    """Whether one of them is BM25."""
    return any(isinstance(part, Bm25) for part in parts_of(sources))
