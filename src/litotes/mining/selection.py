"""What a preset of another miner chooses, and the rows in which that miner would write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from litotes.data.anchors import Anchors, Csr
from litotes.data.collection import Collection

Layout = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


class Chosen(NamedTuple):
    """Documents per anchor, in the order of writing: offsets int64 [A + 1], items int32, scores float32."""

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    def row(self, i: int) -> tuple[list[int], list[float]]:
        """Documents and scores of anchor i."""
        span = slice(self.offsets[i], self.offsets[i + 1])
        return self.items[span].tolist(), self.scores[span].tolist()


class Rows(NamedTuple):
    """Rows in another miner's layout; `dropped`: pairs (anchor, positive) that it leaves out for want of negatives."""

    table: pa.Table
    dropped: int


@dataclass(frozen=True, eq=False)
class Selection:
    """What a preset has chosen.

    `evidence`: all positives and all candidates that were looked at, with the doubts about them, in stored order.
    `query` int32 [A]: the anchors in the order of the judgements. `positives`, `negatives`: what is written for each.
    `filled` bool, one per negative: it is random padding. `asked`: negatives per anchor.
    """

    collection: Collection
    evidence: pa.Table
    query: np.ndarray
    positives: Chosen
    negatives: Chosen
    filled: np.ndarray
    asked: int

    @property
    def short(self) -> int:
        """Anchors with fewer negatives than asked."""
        return int((np.diff(self.negatives.offsets) < self.asked).sum())

    def rows(
        self,
        layout: Layout = "triplet",
        scores: bool = False,
        anchor: str = "anchor",
        positive: str = "positive",
    ) -> Rows:
        """The rows as sentence-transformers writes them: same columns, same order, same losses.

        triplet       anchor, positive, negative [, scores = [positive, negative]]: one row per pair of the two
        n-tuple       anchor, positive, negative_1 ... negative_n [, scores = [positive, negatives]]: anchors with fewer
                      than n negatives are left out
        labeled-pair  anchor, positive, label (or score): each positive and each negative of an anchor once
        labeled-list  anchor, positive (list), labels (or scores): one row per positive, without the other positives;
                      anchors without negatives are left out

        Args:
            scores: add the scores; in the labeled layouts, in place of labels.
            anchor, positive: names of the first two columns.
        """
        builders = {
            "triplet": self._triplets,
            "n-tuple": self._tuples,
            "labeled-pair": self._labeled_pairs,
            "labeled-list": self._labeled_lists,
        }
        if layout not in builders:
            raise ValueError(f"Selection.rows: layout must be one of {', '.join(builders)}, got {layout!r}")
        columns, kinds, dropped = builders[layout](scores)
        names = [anchor, positive, *kinds]
        types = [pa.string(), pa.list_(pa.string()) if layout == "labeled-list" else pa.string(), *kinds.values()]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
        return Rows(pa.table(arrays, names), dropped)

    def _anchors(self) -> Any:
        queries, documents = self.collection.query_texts(), self.collection.document_texts()
        for i, query in enumerate(self.query):
            positives, positive_scores = self.positives.row(i)
            negatives, negative_scores = self.negatives.row(i)
            pairs = [(documents[row], score) for row, score in zip(positives, positive_scores, strict=True)]
            yield queries[query], pairs, [documents[row] for row in negatives], negative_scores

    def _triplets(self, scores: bool) -> tuple[list[list], dict[str, Any], int]:
        columns: list[list] = [[], [], [], []]
        dropped = 0
        for query, positives, negatives, negative_scores in self._anchors():
            dropped += len(positives) * (not negatives)
            for text, score in positives:
                for negative, other in zip(negatives, negative_scores, strict=True):
                    for column, value in zip(columns, (query, text, negative, [score, other]), strict=True):
                        column.append(value)
        kinds = {"negative": pa.string()} | ({"scores": pa.list_(pa.float64())} if scores else {})
        return columns[: 2 + len(kinds)], kinds, dropped

    def _tuples(self, scores: bool) -> tuple[list[list], dict[str, Any], int]:
        kinds: dict[str, Any] = {f"negative_{i + 1}": pa.string() for i in range(self.asked)}
        if scores:
            kinds["scores"] = pa.list_(pa.float64())
        columns: list[list] = [[] for _ in range(2 + len(kinds))]
        dropped = 0
        for query, positives, negatives, negative_scores in self._anchors():
            if len(negatives) < self.asked:
                dropped += len(positives)
                continue
            for text, score in positives:
                values = [query, text, *negatives, *([[score, *negative_scores]] if scores else [])]
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
        return columns, kinds, dropped

    def _labeled_pairs(self, scores: bool) -> tuple[list[list], dict[str, Any], int]:
        columns: list[list] = [[], [], []]
        for query, positives, negatives, negative_scores in self._anchors():
            values = [(text, score if scores else 1) for text, score in positives]
            values += [(text, score if scores else 0) for text, score in zip(negatives, negative_scores, strict=True)]
            for text, value in values:
                columns[0].append(query)
                columns[1].append(text)
                columns[2].append(value)
        return columns, {"score": pa.float64()} if scores else {"label": pa.int64()}, 0

    def _labeled_lists(self, scores: bool) -> tuple[list[list], dict[str, Any], int]:
        columns: list[list] = [[], [], []]
        dropped = 0
        for query, positives, negatives, negative_scores in self._anchors():
            dropped += len(positives) * (not negatives)
            for text, score in positives if negatives else []:
                columns[0].append(query)
                columns[1].append([text, *negatives])
                columns[2].append([score, *negative_scores] if scores else [1] + [0] * len(negatives))
        kind = {"scores": pa.list_(pa.float64())} if scores else {"labels": pa.list_(pa.int64())}
        return columns, kind, dropped


@dataclass(frozen=True, eq=False)
class Pairs:
    """The positive pairs of a split, in the order of the judgements, as another miner reads them.

    `anchors`: its anchors, with nothing excluded. `positives`: documents per anchor, in order. `documents` int32: the
    rows that take part in the search; the others repeat a text.
    """

    anchors: Anchors
    positives: list[list[int]]
    documents: np.ndarray

    @classmethod
    def of(cls, collection: Collection, split: str, by_text: bool) -> Pairs:
        """Read a split. `by_text`: queries and documents of one text, to the letter, are one (the first of them)."""
        query, document, grade = collection.judgements(split)
        queries = _first_of_text(collection.query_texts()) if by_text else np.arange(len(collection.queries))
        documents = _first_of_text(collection.document_texts()) if by_text else np.arange(len(collection.corpus))
        found: dict[int, dict[int, None]] = {}
        for q, d in zip(queries[query[grade > 0]].tolist(), documents[document[grade > 0]].tolist(), strict=True):
            found.setdefault(q, {})[d] = None
        rows = np.array(list(found), np.int32)
        positives = [list(each) for each in found.values()]
        sizes = [len(each) for each in positives]
        items = np.array([d for each in positives for d in each], np.int32)
        csr = Csr.of(np.repeat(np.arange(len(rows)), sizes), items, len(rows))
        nothing = Csr(np.zeros(len(rows) + 1, np.int64), np.empty(0, np.int32))
        anchors = Anchors(collection, split, rows, csr, nothing, nothing)
        return cls(anchors, positives, np.unique(documents).astype(np.int32))


def _first_of_text(texts: list[str]) -> np.ndarray:
    first: dict[str, int] = {}
    return np.array([first.setdefault(text, row) for row, text in enumerate(texts)], np.int64)
