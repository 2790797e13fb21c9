"""One block of anchors as evidence: what people judged and what sources found, scored by one scorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors, Csr
from litotes.data.collection import Collection
from litotes.evidence import SCHEMA, empty, with_scorer
from litotes.evidence.table import DOUBTS, FOUND, lists
from litotes.search.space import Space
from litotes.sources.found import Found

QRELS = "qrels"


class Scorer(Protocol):
    """What gives every row of a mining run its score."""

    @property
    def about(self) -> Mapping[str, Any]:
        """The scorer as evidence names it."""
        ...

    def pairs(self, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
        """Scores of aligned rows: float32."""
        ...

    def trusted(self, found: Found) -> tuple[str, ...]:
        """Sources whose own score is this scorer's, bit for bit, and need not be formed again."""
        ...


@dataclass(frozen=True, eq=False)
class SpaceScorer:
    """Scores by the vectors of a space."""

    space: Space
    about: Mapping[str, Any]

    def pairs(self, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
        return self.space.pairs(query_rows, document_rows)

    def trusted(self, found: Found) -> tuple[str, ...]:
        return found.of_space


@dataclass(frozen=True, eq=False)
class LexicalScorer:
    """Scores by BM25, where there is no model."""

    index: Any
    queries: list[str]
    about: Mapping[str, Any]
    same: tuple[str, ...] = ()

    def pairs(self, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.index.pairs([self.queries[row] for row in query_rows], document_rows), np.float32)

    def trusted(self, found: Found) -> tuple[str, ...]:
        return self.same


class Grades:
    """The grade of a judged pair of a split."""

    def __init__(self, collection: Collection, split: str):
        query, document, grade = collection.judgements(split)
        code = query.astype(np.int64) << 32 | document
        order = np.argsort(code)
        self.code, self.grade = code[order], grade[order]

    def of(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """float32; NaN for a pair that nobody judged."""
        if not len(self.code):
            return np.full(len(query), np.nan, np.float32)
        code = query.astype(np.int64) << 32 | document
        place = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
        return np.where(self.code[place] == code, self.grade[place], np.float32(np.nan))


class Blocks:
    """Makes evidence of anchors and findings, in stored order, without a loop over rows."""

    def __init__(self, collection: Collection, split: str, scorer: Scorer):
        self.collection, self.scorer = collection, scorer
        self.grades = Grades(collection, split)
        self.place = np.empty(len(collection.corpus), np.int64)
        self.place[pc.sort_indices(collection.corpus["id"]).to_numpy()] = np.arange(len(collection.corpus))

    def table(self, anchors: Anchors, found: Found) -> pa.Table:
        """Evidence about these anchors: positives +1, judged 0 and found -1, all scored, in stored order.

        Judged pairs carry their grade and the source "qrels", and keep it where somebody finds them too.
        """
        documents = len(self.collection.corpus)
        positive, judged = (_codes(csr, documents) for csr in (anchors.positives, anchors.judged))
        known = np.concatenate([positive, judged])
        code = found.anchor.astype(np.int64) * documents + found.document
        pair, row = _distinct(np.concatenate([known, code]))
        anchor, document = pair // documents, pair % documents
        query = anchors.query[anchor]

        sign = np.full(len(pair), -1, np.int8)
        sign[row[: len(positive)]] = 1
        grade = np.full(len(pair), np.nan, np.float32)
        of_people = row[: len(known)]
        grade[of_people] = self.grades.of(query[of_people], document[of_people])
        score = self._scores(query, document, row[len(known) :], found)

        order = _stored_order(anchor, sign, score, self.place[document])
        at = np.empty(len(pair), np.int64)
        at[order] = np.arange(len(pair))
        columns = {
            "anchor": self.collection.queries["id"].take(pa.array(query[order])),
            "candidate": self.collection.corpus["id"].take(pa.array(document[order])),
            "sign": pa.array(sign[order]),
            "grade": pa.array(grade[order], from_pandas=True),
            "prior": pa.array(np.ones(len(pair), np.float32)),
            "weight": pa.array(np.ones(len(pair), np.float32)),
            "score": pa.array(score[order]),
            "found": _findings(at[row], len(known), found, len(pair)),
            "doubts": _no_doubts(len(pair)),
        }
        return with_scorer(pa.table([columns[name] for name in SCHEMA.names], SCHEMA), self.scorer.about)

    def _scores(self, query: np.ndarray, document: np.ndarray, row: np.ndarray, found: Found) -> np.ndarray:
        score = np.full(len(query), np.nan, np.float32)
        trusted = self.scorer.trusted(found)
        done = np.array([name in trusted for name in found.sources], bool)[found.finder]
        score[row[done]] = found.score[done]
        rest = np.flatnonzero(np.isnan(score))
        score[rest] = self.scorer.pairs(query[rest], document[rest])
        return score + np.float32(0)


def joined(tables: list[pa.Table], about: Mapping[str, Any]) -> pa.Table:
    """Blocks one behind the other, as one table."""
    return with_scorer(pa.concat_tables(tables).combine_chunks() if tables else empty(), about)


def _stored_order(anchor: np.ndarray, sign: np.ndarray, score: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows by anchor, sign (falling), score (falling) and place: what a sort by four keys gives, in one by a number."""
    bits = score.view(np.int32)
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)  # as numbers, so as floats
    key = anchor << 34 | (1 - sign.astype(np.int64)) << 32 | (2**31 - 1 - rising)
    by_place = np.argsort(place, kind="stable")  # stable sorts of whole numbers are NumPy's fastest
    return by_place[np.argsort(key[by_place], kind="stable")]


def _distinct(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different codes, ascending, and for every code its place among them."""
    order = np.argsort(codes, kind="stable")
    ascending = codes[order]
    first = np.r_[True, ascending[1:] != ascending[:-1]] if len(codes) else np.zeros(0, bool)
    place = np.empty(len(codes), np.int64)
    place[order] = np.cumsum(first) - 1
    return ascending[first], place


def _no_doubts(rows: int) -> pa.ListArray:
    nothing = [pa.array([], field.type) for field in DOUBTS.value_type]
    return lists(np.empty(0, np.int64), nothing, rows, DOUBTS)


def _codes(csr: Csr, documents: int) -> np.ndarray:
    return csr.rows().astype(np.int64) * documents + csr.items


def _findings(row: np.ndarray, known: int, found: Found, rows: int) -> pa.ListArray:
    """The `found` column: people first, then the finders in their order."""
    turn = np.argsort(row, kind="stable")
    finder = np.concatenate([np.zeros(known, np.int32), found.finder + 1])[turn]
    rank = np.concatenate([np.full(known, -1, np.int32), found.rank])[turn]
    score = np.concatenate([np.full(known, np.nan, np.float32), found.score])[turn]
    names = pa.array([QRELS, *found.sources], pa.string())
    entries = [names.take(pa.array(finder)), pa.array(rank, mask=rank < 0), pa.array(score, from_pandas=True)]
    return lists(row[turn], entries, rows, FOUND)
