"""How negatives are used: twice in a row, by a large share of all queries, or too few of them."""

from __future__ import annotations

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.findings import Finding, finding

LEAST_USES = 10
TIMES_USUAL = 5.0


def repeated(examples: ExampleSet) -> Finding:
    """Negatives that stand in their row a second time; in flat forms, rows that hold one triplet or pair again."""
    slots = examples.negatives
    unit = examples.slot_row[slots].astype(np.int64)
    if examples.flat:  # the row is told apart by its query and its positive
        positive = np.full(len(examples), -1, np.int64)
        up = examples.positives
        positive[examples.slot_row[up]] = examples.slot_same[up]
        unit = np.unique(np.stack([examples.row_anchor, positive]), axis=1, return_inverse=True)[1].ravel()[unit]
    key = unit << 32 | examples.slot_same[slots]
    first = np.zeros(len(key), bool)
    first[np.unique(key, return_index=True)[1]] = True
    return finding("repeated", slots[~first])


def everywhere(examples: ExampleSet, share: float) -> Finding:
    """Negatives whose text serves more than `share` of all queries that have negatives.

    Asked too: at least LEAST_USES queries, and TIMES_USUAL times as many as the mean text serves, so that a small pool
    is no fault. Seen is the share of queries.
    """
    slots = examples.negatives
    key = np.unique(examples.slot_anchor[slots].astype(np.int64) << 32 | examples.slot_same[slots])
    anchors = len(np.unique(key >> 32))
    uses = np.bincount(key & 0xFFFFFFFF, minlength=int(examples.documents.same.max(initial=-1)) + 1)
    usual = uses[uses > 0].mean() if len(key) else 0.0
    line = max(share * anchors, LEAST_USES, TIMES_USUAL * usual)
    mine = uses[examples.slot_same[slots]]
    found = mine >= line
    return finding("everywhere", slots[found], mine[found] / max(anchors, 1), line / max(anchors, 1))


def beyond_cap(examples: ExampleSet, found: Finding, scores: np.ndarray | None) -> np.ndarray:
    """Of the uses of each text used everywhere, those beyond the line, the least alike first: slots int64.

    Args:
        scores: per slot; None takes uses in the order of the set.
    """
    if not len(found):
        return np.empty(0, np.int64)
    anchors = len(np.unique(examples.slot_anchor[examples.negatives]))
    cap = int(found.line[0] * anchors)
    hardness = np.zeros(len(found)) if scores is None else scores[found.places]
    text = examples.slot_same[found.places]
    order = np.lexsort([found.places, -hardness, text])
    starts = np.flatnonzero(np.r_[True, np.diff(text[order]) != 0])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return np.sort(found.places[order[rank >= cap]])


def short(examples: ExampleSet, wanted: int | None) -> tuple[Finding, int]:
    """Rows with fewer different negatives than wanted, and how many are wanted.

    Without a number it is what most rows have (of several, the largest). In flat forms the rows of a query count
    together, its first row stands for all, and without a number only queries without any negative are short.
    """
    slots = examples.negatives
    unit, units = examples.slot_row, len(examples)
    if examples.flat:
        unit, units = examples.slot_anchor, examples.anchors
    key = np.unique(unit[slots].astype(np.int64) << 32 | examples.slot_same[slots])
    count = np.bincount(key >> 32, minlength=units)
    if wanted is None:
        sizes = np.bincount(count) if len(count) else np.zeros(1, np.int64)
        wanted = 1 if examples.flat else int(len(sizes) - 1 - np.argmax(sizes[::-1]))
        wanted = max(wanted, 1)
    scarce = np.flatnonzero(count < wanted)
    rows = scarce
    if examples.flat and len(scarce):
        first = np.full(units, len(examples), np.int64)
        np.minimum.at(first, examples.row_anchor, np.arange(len(examples)))
        rows = first[scarce]
    return finding("short", rows, count[scarce], wanted), wanted
