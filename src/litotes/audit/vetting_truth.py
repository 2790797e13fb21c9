"""How well vetting found what it should: rejected negatives against pairs that are known to be suspicious."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.evidence import doubt_entries

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """`hits` of `total`, with its 95 % Wilson interval. The share of nothing is NaN, its interval [0, 1].

    The interval takes pairs for independent draws. Pairs of one anchor are not, so it is somewhat too narrow.
    """

    hits: int
    total: int

    @property
    def value(self) -> float:
        """hits / total."""
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high): centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)."""
        if not self.total:
            return 0.0, 1.0
        p, n, square = self.hits / self.total, self.total, _Z95 * _Z95
        centre = (p + square / (2 * n)) / (1 + square / n)
        half = _Z95 * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
        low = max(0.0, centre - half) if self.hits else 0.0  # at the ends the exact value is 0 or 1; rounding is not
        return low, min(1.0, centre + half) if self.hits < n else 1.0

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] ({self.hits} of {self.total})"


@dataclass(frozen=True)
class PartTruth:
    """One vetter alone, on the rows it rejected: `precision` suspicious of those, `recall` those of the suspicious."""

    precision: Share
    recall: Share


@dataclass(frozen=True)
class VettingTruth:
    """What `vetting_truth` counts, over all unjudged negatives of the evidence.

    `base`: suspicious among all of them: the precision that rejecting at random would have.
    `precision`: suspicious among the rejected. `recall`: rejected among the suspicious.
    `left`: suspicious among those that stay believed.
    `relations`: recall for each relation; a pair with two relations counts under both.
    `parts`: each vetter by its spelling; a row that two vetters reject counts for both.
    """

    base: Share
    precision: Share
    recall: Share
    left: Share
    relations: Mapping[str, Share]
    parts: Mapping[str, PartTruth]


def vetting_truth(evidence: pa.Table, collection: Collection, *, line: float = 0.0) -> VettingTruth:
    """Precision and recall of what was rejected, against `collection.related`.

    What the truth is: pairs that some relation outside all models marks as suspicious (in WordNet: near synonyms,
    hypernyms, derived words, words of the same spelling). What it is not: a list of false negatives. A hypernym is
    often a wrong answer to a definition; rejecting it was then a mistake, and counts here as a hit. A false negative
    may have no relation; rejecting it was then right, and counts here as a mistake. So the numbers compare vetters on
    one collection; they are not probabilities of error, and a precision of 1 is no aim.

    In:   evidence (litotes.evidence.SCHEMA); a collection with `related` that knows its anchors and candidates.
    Out:  VettingTruth. Rows of sign -1 without a grade count; judged rows are certain and stay out.

    Args:
        line: a row is rejected by weight <= line, a part rejects by belief <= line; in [0, 1).
    Raises:
        ValueError: the collection has no `related`, or line is out of range.
        BadInput: the collection does not know an id.
    """
    if not 0.0 <= line < 1.0:
        raise ValueError(f"vetting_truth: line must be in [0, 1), got {line!r}")
    negatives = evidence.filter(pc.and_(pc.equal(evidence["sign"], -1), pc.is_null(evidence["grade"])))
    pair = _pairs(collection, negatives["anchor"], negatives["candidate"])
    known, relation = _truth(collection)
    suspicious = np.isin(pair, known)
    rejected = negatives["weight"].to_numpy() <= np.float32(line)
    relations = {}
    for name in sorted(set(relation.tolist())):
        of_kind = np.isin(pair, known[relation == name])
        relations[name] = Share(int((of_kind & rejected).sum()), int(of_kind.sum()))
    parts = {}
    doubts = doubt_entries(negatives)
    doubts = doubts.filter(pc.less_equal(doubts["belief"], pa.scalar(line, pa.float32())))
    for part in sorted(set(doubts["part"].to_pylist())):
        by_part = np.zeros(len(negatives), bool)
        by_part[doubts.filter(pc.equal(doubts["part"], part))["row"].to_numpy()] = True
        parts[part] = PartTruth(*_precision_recall(by_part, suspicious))
    precision, recall = _precision_recall(rejected, suspicious)
    base = Share(int(suspicious.sum()), len(negatives))
    left = Share(int((suspicious & ~rejected).sum()), int((~rejected).sum()))
    return VettingTruth(base, precision, recall, left, relations, parts)


def share_suspicious(evidence: pa.Table, collection: Collection) -> Share:
    """The suspicious among the negatives that training would use: sign -1, weight above 0, no grade.

    Give it what `select` chose to ask about the negatives of one training run. Raises as `vetting_truth`.
    """
    used = pc.and_(pc.equal(evidence["sign"], -1), pc.greater(evidence["weight"], 0))
    negatives = evidence.filter(pc.and_(used, pc.is_null(evidence["grade"])))
    known, _ = _truth(collection)
    pair = _pairs(collection, negatives["anchor"], negatives["candidate"])
    return Share(int(np.isin(pair, known).sum()), len(pair))


def _precision_recall(rejected: np.ndarray, suspicious: np.ndarray) -> tuple[Share, Share]:
    hits = int((rejected & suspicious).sum())
    return Share(hits, int(rejected.sum())), Share(hits, int(suspicious.sum()))


def _truth(collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    related = collection.related
    if related is None:
        raise ValueError(
            f"vetting_truth: the collection {collection.name!r} has no `related`: nothing is known to be suspicious"
        )
    return _pairs(collection, related["query"], related["document"]), related["relation"].to_numpy()


def _pairs(collection: Collection, queries: pa.ChunkedArray, documents: pa.ChunkedArray) -> np.ndarray:
    return collection.query_rows(queries).astype(np.int64) << 32 | collection.document_rows(documents)
