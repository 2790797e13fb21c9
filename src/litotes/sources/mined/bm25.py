"""Bm25: the documents that share the most telling words with an anchor, its positives aside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.bm25 import Bm25Index
from litotes.search.space import Space
from litotes.sources.found import Found, from_matrix
from litotes.sources.mined.conditions import check_conditions, masks
from litotes.sources.mined.window import check_window, window
from litotes.spelling import spell


@dataclass(frozen=True)
class Bm25:
    """The rank window [skip, skip + depth) of BM25 among the documents that an anchor may find.

    Lexical negatives: the words of the query without its answer. They need no model and complement dense ones, whose
    mistakes are those of the model at hand. With `per_anchor`, that many are drawn evenly from the window and the rest
    is not given; the draw depends on (seed, anchor id, rank) alone. Never found are an anchor's positives and their
    exact copies, nor what `apart`, `time` and `only` rule out; ranks are counted without them.

    Out:  Found of source "bm25": `rank` in [skip, skip + depth), `score` the BM25 score, always above 0. An anchor with
          fewer candidates gets what is there and is counted in `short`.
    Cost: one index of the corpus in memory; one BM25 search of depth skip + depth.

    Args:
        depth: width of the window, >= 1.
        skip: ranks left out at the top, >= 0.
        per_anchor: how many to keep of the window, in [1, depth], or None for all.
        k1: saturation of a repeated word, >= 0 and finite.
        b: how far long documents are marked down, in [0, 1].
        method: "lucene", "robertson" or "atire": which BM25.
        stemmer: a language of PyStemmer, or None = words as they stand.
        stopwords: a language whose commonest words are left out, or None.
        seed: of the draw for `per_anchor`.
        apart: a column of queries and corpus, as "group": documents with the query's own value are not found.
        time: a column of both with numbers or dates, as "date"; dates count in days.
        before: only documents at least so much earlier than the query: time <= query's - before. 0 = not later.
        after: only documents at least so much later: time >= query's + after. after=-30, before=0 is a window.
        only: "column=value": only documents with that value, as "language=en".
    Raises:
        ValueError: an argument is out of range, or the collection lacks a column.
        BadInput: a time is neither a number nor a date.
    Source: The Probabilistic Relevance Framework: BM25 and Beyond (doi:10.1561/1500000019); as a source of negatives,
        Dense Passage Retrieval for Open-Domain Question Answering (arXiv:2004.04906), section 3.2.
    """

    name: ClassVar[str] = "bm25"

    depth: int = 100
    skip: int = 0
    per_anchor: int | None = None
    k1: float = 1.5
    b: float = 0.75
    method: Literal["lucene", "robertson", "atire"] = "lucene"
    stemmer: str | None = None
    stopwords: str | None = "english"
    seed: int = 0
    apart: str | None = None
    time: str | None = None
    before: float | None = None
    after: float | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        check_window(self)
        check_conditions(self)
        if not (self.k1 >= 0 and math.isfinite(self.k1)):
            raise ValueError(f"Bm25: k1 must be >= 0 and finite, got {self.k1!r}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"Bm25: b must be in [0, 1], got {self.b!r}")
        if self.method not in ("lucene", "robertson", "atire"):
            raise ValueError(f"Bm25: method must be 'lucene', 'robertson' or 'atire', got {self.method!r}")

    def prepare(self, collection: Collection, space: Space | None = None) -> Callable[[Anchors], Found]:
        """Index the corpus; the callable searches. `space` is not read."""
        mask, queries = masks(self, collection), collection.query_texts()
        index, depth = self.index(collection), min(self.skip + self.depth, max(len(collection.corpus), 1))

        def find(anchors: Anchors) -> Found:
            ids, scores = index.top_k([queries[row] for row in anchors.query], depth, mask(anchors))
            return window(from_matrix(self.name, ids, scores, 0), anchors, self)

        return find

    def index(self, collection: Collection) -> Bm25Index:
        """The index of a corpus under these settings."""
        return Bm25Index.build(
            collection.document_texts(),
            method=self.method,
            k1=self.k1,
            b=self.b,
            stemmer=self.stemmer,
            stopwords=self.stopwords,
        )

    def __str__(self) -> str:
        return spell(self)
