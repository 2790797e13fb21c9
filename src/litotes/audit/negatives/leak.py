"""Text of the test set inside the training set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.findings import Finding, finding
from litotes.audit.negatives.shingles import Closeness
from litotes.search.exact import top_k

NEIGHBOURS = 5
Encode = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class Leak:
    """What of the test set stands in the training set.

    Args:
        queries: test queries. equal, near: those of them that are (nearly) training queries.
        answers: their relevant texts. as_positives, as_negatives: those that training rows use so.
        nearly: False where near copies were not looked for, because there is no encoder.
    """

    queries: int
    equal: int
    near: int
    answers: int
    as_positives: int
    as_negatives: int
    nearly: bool


def leaks(
    training: ExampleSet,
    test: ExampleSet,
    encode: Encode | None = None,
    training_vectors: np.ndarray | None = None,
    near: float = 0.8,
) -> tuple[list[Finding], Leak]:
    """Training rows whose query is a test query (equal after `normalise`, or nearly), and negatives that are answers.

    Near: each test query is held against its NEIGHBOURS nearest training queries in the encoder's space; the Jaccard
    similarity of their runs of letters decides, from `near` on.

    Args:
        training, test: read with one `known`, so that their `same` numbers speak of the same texts.
        encode: texts of queries -> vectors float32; None: only equal queries are found.
        training_vectors: of the training queries, by number.
    """
    asked, first = np.unique(test.queries.same[np.unique(test.row_query)], return_index=True)
    texts = [test.queries.texts[int(row)] for row in np.unique(test.row_query)[first]]
    alike = np.isin(training.queries.same, asked).astype(np.float32)
    equal = np.isin(asked, training.queries.same[training.row_query])
    close = np.zeros(len(asked), bool)
    nearly = encode is not None and training_vectors is not None
    if encode is not None and training_vectors is not None and len(training_vectors) and not equal.all():
        rest = np.flatnonzero(~equal)
        ids, _ = top_k(encode([texts[i] for i in rest]), training_vectors, min(NEIGHBOURS, len(training_vectors)))
        left, right = np.repeat(rest, ids.shape[1]), ids.ravel()
        shared = Closeness(texts, training.queries.texts).above(left[right >= 0], right[right >= 0], near)
        np.maximum.at(alike, right[right >= 0], shared)
        close[left[right >= 0][shared > 0]] = True
    rows = np.flatnonzero(alike[training.row_query] > 0)
    found = finding("test-query", rows, alike[training.row_query[rows]], near)

    relevant = np.unique(test.slot_same[test.positives])
    used = np.isin(training.slot_same, relevant)
    sides = [np.flatnonzero(used & (training.slot_sign == sign)) for sign in (1, -1)]
    counts = [len(np.unique(training.slot_same[side])) for side in sides]
    leak = Leak(len(asked), int(equal.sum()), int(close.sum()), len(relevant), counts[0], counts[1], nearly)
    return [found, finding("test-text", sides[1])], leak
