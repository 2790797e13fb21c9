"""How well a ranking finds what people judged relevant: nDCG, MRR, recall and MAP, query by query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.data.collection import Collection
from litotes.errors import BadInput

MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
_TITLES = {"RR": "MRR", "R": "Recall", "AP": "MAP"}
_NAMES = {title: name for name, title in _TITLES.items()}


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a search answered: for each query its documents, best first, ties already broken.

    Args:
        queries: query rows, int32 [Q], each once.
        documents: document rows, int32 [Q, k]; -1 pads the end of a row. No document twice in a row.
    Raises:
        ValueError: shapes or types do not fit, a query or a document of one query is there twice, or a document
            follows a -1.
    """

    queries: np.ndarray
    documents: np.ndarray

    def __post_init__(self) -> None:
        for name, array, ndim in (("queries", self.queries, 1), ("documents", self.documents, 2)):
            if array.ndim != ndim or not np.issubdtype(array.dtype, np.integer):
                shape = "[Q]" if ndim == 1 else "[Q, k]"
                raise ValueError(f"Ranking: {name} must be integers {shape}, got {array.dtype} {list(array.shape)}")
        if len(self.queries) != len(self.documents):
            raise ValueError(
                f"Ranking: queries and documents must be equally long, got {len(self.queries)} and "
                f"{len(self.documents)}"
            )
        if len(np.unique(self.queries)) < len(self.queries):
            raise ValueError("Ranking: queries must hold each query row once")
        there = self.documents >= 0
        if (self.documents < -1).any() or (there[:, 1:] & ~there[:, :-1]).any():
            raise ValueError("Ranking: documents must be rows >= 0, padded with -1 at the end only")
        ordered = np.sort(self.documents, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if twice.any():
            query = int(self.queries[twice.any(axis=1)][0])
            raise ValueError(f"Ranking: documents must hold each document once per query, query row {query} does not")

    @property
    def depth(self) -> int:
        """k: the most documents a query can have here."""
        return int(self.documents.shape[1])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of one ranking, query by query. Two evaluations of one split have the same queries in the same order.

    `queries` int32 [E] (ascending rows), `query_ids` (their outside ids), `values`: display name -> float64 [E],
    `without_positives`: ranked queries left out because nothing is judged relevant to them, `unanswered`: queries with
    positives for which the ranking holds no document (they count 0), `depth`: documents per query.
    """

    queries: np.ndarray
    query_ids: list[str]
    values: dict[str, np.ndarray]
    without_positives: int
    unanswered: int
    depth: int

    @property
    def means(self) -> dict[str, float]:
        """Display name -> mean over queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}

    def minus(self, baseline: Evaluation, measure: str) -> np.ndarray:
        """Query by query, this evaluation less `baseline`: float64 [E], what the tests of `significance` take."""
        if not np.array_equal(self.queries, baseline.queries):
            raise ValueError(
                f"Evaluation: paired differences need the same queries, got {len(self.queries)} and "
                f"{len(baseline.queries)}"
            )
        return self.values[measure] - baseline.values[measure]


def evaluate(hits: Ranking, collection: Collection, split: str, measures: tuple[str, ...] = MEASURES) -> Evaluation:
    """Judge a ranking by the qrels of `split`, with the measures of `ir_measures` (trec_eval underneath).

    - The order of `hits` is the order that is judged. The library ranks by score and would break ties by document id,
      so it is given k, k-1, ..., 1 in place of scores.
    - A document nobody judged for the query counts as not relevant, and so does a grade of 0 or below.
    - A query with positives whose row is empty, or that is not in `hits`, counts 0. A query without positives says
      nothing and is left out; how many there were stands in the result.
    - nDCG has trec_eval's linear gains (the grade itself, not 2^grade - 1), discount log2(rank + 1); its ideal is made
      of all judged documents. The other measures take every grade above 0 as relevant.
    - MAP is over the documents that `hits` holds: positives below rank k count as not found.

    In:   hits [Q, k]; the judgements of one split; grades must be whole numbers (trec_eval counts in integers).
    Out:  `Evaluation`, per query, under the names people use: RR@10 is shown as MRR@10, R@100 as Recall@100, AP as MAP.
    Cost: O(Q k); about 0.3 s for 1,500 queries of 100 documents and the four default measures.

    Args:
        measures: any names `ir_measures` reads ("nDCG@10", "P@5", ...); display names ("MRR@10") are read too.
    Raises:
        ValueError: a measure is unknown, or looks deeper than `hits` goes (unless `hits` ranks the whole corpus), or a
            document row is not in the corpus.
        BadInput: a grade is a fraction, or no query of the split has a positive.
    Source: trec_eval's definitions, by way of ir_measures; for nDCG "Cumulated gain-based evaluation of IR techniques"
        (Jaervelin and Kekaelaeinen 2002).
    """
    import ir_measures

    parsed = {title(name): _parse(name) for name in measures}
    _check_depth(hits, parsed, len(collection.corpus))
    qrels = _qrels(collection, split)

    place = {int(query): row for row, query in enumerate(hits.queries)}
    run = {str(query): _falling(hits.documents[place[query]]) for query in qrels if query in place}
    answered = {query: documents for query, documents in run.items() if documents}

    queries = np.array(sorted(qrels), np.int32)
    position = {str(query): i for i, query in enumerate(queries)}
    values = {name: np.zeros(len(queries)) for name in parsed}
    shown = {measure: name for name, measure in parsed.items()}
    judged = {str(query): grades for query, grades in qrels.items()}
    for metric in ir_measures.iter_calc(list(parsed.values()), judged, answered):
        values[shown[metric.measure]][position[metric.query_id]] = metric.value

    ids = collection.queries["id"].take(queries).to_pylist()
    left_out = sum(query not in qrels for query in place)
    return Evaluation(queries, ids, values, left_out, len(queries) - len(answered), hits.depth)


def title(measure: str) -> str:
    """The name a measure is shown under: "RR@10" -> "MRR@10", "R@100" -> "Recall@100", "AP" -> "MAP"."""
    name, at, cutoff = measure.partition("@")
    return _TITLES.get(name, name) + at + cutoff


def _parse(measure: str) -> Any:
    import ir_measures

    name, at, cutoff = measure.partition("@")
    try:
        return ir_measures.parse_measure(_NAMES.get(name, name) + at + cutoff)
    except (NameError, ValueError, SyntaxError) as error:
        raise ValueError(f"evaluate: {measure!r} is no measure ir_measures knows: {error}") from None


def _check_depth(hits: Ranking, parsed: dict[str, Any], documents: int) -> None:
    if hits.documents.size and hits.documents.max() >= documents:
        raise ValueError(
            f"evaluate: document rows must be below {documents}, the size of the corpus, got {hits.documents.max()}"
        )
    for name, measure in parsed.items():
        cutoff = measure.params.get("cutoff")
        if isinstance(cutoff, int) and cutoff > hits.depth < documents:
            raise ValueError(f"evaluate: {name} looks at {cutoff} documents per query, the ranking has {hits.depth}")


def _qrels(collection: Collection, split: str) -> dict[int, dict[str, int]]:
    """Query row -> document row as text -> grade, for the queries that have a positive."""
    query, document, grade = collection.judgements(split)
    fractions = np.flatnonzero(grade != np.round(grade))
    where = f"{collection.name}/qrels/{split}"
    if len(fractions):
        raise BadInput(f"{grade[fractions[0]]}", "whole grades", file=where, line=int(fractions[0]) + 1, field="grade")
    qrels: dict[int, dict[str, int]] = {int(row): {} for row in np.unique(query[grade > 0])}
    for row, candidate, value in zip(query.tolist(), document.tolist(), grade.tolist(), strict=True):
        if row in qrels:
            qrels[row][str(candidate)] = max(int(value), 0)
    if not qrels:
        raise BadInput("no judgement above 0", "at least one query with a positive", file=where, field="grade")
    return qrels


def _falling(documents: np.ndarray) -> dict[str, float]:
    """One row of hits as the library wants it: document -> a score that falls by 1 from place to place."""
    there = documents[documents >= 0].tolist()
    return {str(document): float(len(there) - place) for place, document in enumerate(there)}
