"""Who says which negatives stand too near: a vetter over scores of an encoder, or of a cross-encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from litotes import evidence as ev
from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.findings import Finding, finding
from litotes.data.collection import Collection
from litotes.progress import progress

_ANCHORS = 4096
_TEXTS = 2048

Vetter = Callable[..., pa.Table]


@dataclass(frozen=True, eq=False)
class Judge:
    """A scorer of pairs (query, document), the vetter that reads its scores, and what a typical positive scores.

    A negative is suspect if the vetter doubts it beside the positives of its query and it stands as high as a typical
    positive of all queries: where the scorer does not know the positive of a query, everything lies above it.

    Args:
        name: of the scorer, as people call it.
        scores: (query numbers, document numbers) -> float32, larger = more alike.
        vetter: a disk-scale vetter; it may lower the belief in negatives.
        scorer: what evidence says of the scorer.
        standing: (anchors, scores) -> scores that can be compared between queries.
        typical: what a suspect must reach in them; -inf leaves all to the vetter.
    """

    name: str
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray]
    vetter: Vetter
    scorer: Mapping[str, Any]
    standing: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda anchor, scores: scores
    typical: float = -math.inf

    def prepared(self, examples: ExampleSet) -> Judge:
        """The same judge with a vetter that is ready for many tables of this set."""
        prepare = getattr(self.vetter, "prepare", None)
        if prepare is None:
            return self
        return replace(self, vetter=prepare(as_collection(examples)))


def as_collection(examples: ExampleSet) -> Collection:
    """The texts as a Collection whose ids are `number`s, memory-mapped."""
    queries = {"id": _ids(np.arange(len(examples.queries))), "text": examples.queries.column}
    documents = {"id": _ids(np.arange(len(examples.documents))), "text": examples.documents.column}
    return Collection("set", pa.table(queries), pa.table(documents))


def slot_scores(examples: ExampleSet, judge: Judge) -> np.ndarray:
    """The judge's score of every slot, each different pair scored once: float32 [S]."""
    key = examples.anchor_query[examples.slot_anchor].astype(np.int64) << 32 | examples.slot_document
    pairs, place = np.unique(key, return_inverse=True)
    return judge.scores(pairs >> 32, pairs & 0xFFFFFFFF)[place].astype(np.float32)


def suspects(examples: ExampleSet, judge: Judge, scores: np.ndarray) -> Finding:
    """Negatives that the vetter doubts: what it saw and its line are in the finding. Judged ones are left alone.

    Anchors are vetted some thousands at a time, each with all its positives and negatives; a document that some row
    gives as a positive of the query counts as one.
    """
    judge = judge.prepared(examples)
    order = np.lexsort([-examples.slot_sign, examples.slot_anchor])
    anchor = examples.slot_anchor[order]
    places, seen, line = [], [], []
    for low in range(0, examples.anchors, _ANCHORS):
        slots = order[slice(*np.searchsorted(anchor, [low, low + _ANCHORS]))]
        key = examples.slot_anchor[slots].astype(np.int64) << 32 | examples.slot_document[slots]
        _, first, pair = np.unique(key, return_index=True, return_inverse=True)
        once = slots[first]
        verdict = doubted(
            judge,
            examples,
            examples.slot_anchor[once],
            examples.slot_document[once],
            examples.slot_sign[once],
            scores[once],
            examples.slot_judged[once],
        )
        hit = np.flatnonzero(verdict[0][pair] & (examples.slot_sign[slots] < 0))
        places.append(slots[hit])
        seen.append(verdict[1][pair[hit]])
        line.append(verdict[2][pair[hit]])
    if not places:
        return finding("suspect", np.empty(0, np.int64))
    return finding("suspect", *(np.concatenate(parts) for parts in (places, seen, line)))


def doubted(
    judge: Judge,
    examples: ExampleSet,
    anchor: np.ndarray,
    document: np.ndarray,
    sign: np.ndarray,
    scores: np.ndarray,
    judged: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pairs (each once, every anchor with all its positives): is it suspect, what did the vetter see, its line.

    Out:  bool, float32, float32 [P]; NaN where the vetter has nothing to say.
    """
    seen, line = (np.full(len(anchor), np.nan, np.float32) for _ in range(2))
    if not len(anchor):
        return np.zeros(0, bool), seen, line
    table = ev.make(
        _ids(examples.anchor_query[anchor]),
        _ids(document),
        pa.array(sign.astype(np.int8)),
        grade=pa.array(np.where(judged, np.maximum(sign, 0), np.nan).astype(np.float32), from_pandas=True),
        score=pa.array(scores.astype(np.float32)),
        source="given:set",
        scorer=judge.scorer,
    )
    vetted = judge.vetter(table)
    entries = ev.doubt_entries(vetted)
    row = entries["row"].to_numpy()
    seen[row], line[row] = entries["seen"].to_numpy(), entries["line"].to_numpy()
    high = judge.standing(anchor, scores) >= np.float32(judge.typical)
    return (vetted["weight"].to_numpy() == 0) & (sign < 0) & high, seen, line


def cross_scores(model: Any, examples: ExampleSet, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """A cross-encoder's scores of pairs, some thousands at a time, the short ones together: float32."""
    scores = np.empty(len(query), np.float32)
    queries, documents = examples.queries.texts, examples.documents.texts
    with progress(total=len(query), what="reading pairs together", unit="pairs") as bar:
        for low in range(0, len(query), _TEXTS):
            span = slice(low, low + _TEXTS)
            texts = [
                (queries[q], documents[d]) for q, d in zip(query[span].tolist(), document[span].tolist(), strict=True)
            ]
            scores[span] = np.asarray(model.predict(texts, show_progress_bar=False), np.float32)
            bar.update(len(texts))
    return scores


def _ids(numbers: np.ndarray) -> pa.Array:
    return pa.array(numbers.astype(np.int64)).cast(pa.string())
