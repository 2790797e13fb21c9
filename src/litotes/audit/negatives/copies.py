"""Negatives that are the query or a positive again, to the word or nearly, in their row or in another."""

from __future__ import annotations

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.findings import Finding, finding
from litotes.audit.negatives.shingles import Closeness

_CHUNK = 1 << 20


def copies(examples: ExampleSet, near: float = 0.8) -> list[Finding]:
    """Five kinds: query, positive, positive-elsewhere (equal after `normalise`), near-query, near-positive.

    Near: the Jaccard similarity of all runs of five characters is >= `near`; every negative is held against its query
    and against every positive that any row gives its query. A negative has at most one of the five.

    Cost: one comparison for each different (negative, positive) pair of a query whose lengths are alike.
    """
    slots = examples.negatives
    same, anchor, row = examples.slot_same[slots], examples.slot_anchor[slots], examples.slot_row[slots]
    is_query = same == examples.queries.same[examples.anchor_query[anchor]] if len(slots) else np.zeros(0, bool)
    up = examples.positives
    in_row = _among(row, same, examples.slot_row[up], examples.slot_same[up])
    anywhere = _among(anchor, same, examples.slot_anchor[up], examples.slot_same[up])
    equal = [
        finding("query", slots[is_query]),
        finding("positive", slots[in_row & ~is_query]),
        finding("positive-elsewhere", slots[anywhere & ~in_row & ~is_query]),
    ]
    left = slots[~(is_query | anywhere)]
    return [*equal, *_near(examples, left, near)]


def _among(group: np.ndarray, item: np.ndarray, groups: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Bool per (group, item): is it one of (groups, items)?"""
    return np.isin(group.astype(np.int64) << 32 | item, groups.astype(np.int64) << 32 | items)


def _near(examples: ExampleSet, slots: np.ndarray, line: float) -> list[Finding]:
    documents, queries = examples.documents.texts, examples.queries.texts
    anchor, document = examples.slot_anchor[slots], examples.slot_document[slots]

    query = examples.anchor_query[anchor]
    pairs, place = _pairs(document, query)
    alike = Closeness(documents, queries).above(*pairs, line)[place]
    to_query = finding("near-query", slots[alike > 0], alike[alike > 0], line, query[alike > 0])

    best, other = np.zeros(len(slots), np.float32), np.full(len(slots), -1, np.int32)
    owner, positive = examples.anchor_positives()
    start, stop = np.searchsorted(owner, anchor), np.searchsorted(owner, anchor, side="right")
    closeness = Closeness(documents, documents)
    order = np.arange(len(slots))
    ends = np.cumsum(stop - start)
    low = 0
    while low < len(slots):  # so many slots at a time that their comparisons fit
        high = max(low + 1, int(np.searchsorted(ends, (ends[low - 1] if low else 0) + _CHUNK, side="right")))
        count = (stop - start)[low:high]
        slot = np.repeat(order[low:high], count)
        within = np.arange(len(slot)) - np.repeat(np.cumsum(count) - count, count)
        against = positive[np.repeat(start[low:high], count) + within]
        pairs, place = _pairs(document[slot], against)
        alike_positive = closeness.above(*pairs, line)[place]
        for i in np.flatnonzero(alike_positive > 0):
            if alike_positive[i] > best[slot[i]]:
                best[slot[i]], other[slot[i]] = alike_positive[i], against[i]
        low = high
    found = (best > 0) & ~(alike > 0)
    return [to_query, finding("near-positive", slots[found], best[found], line, other[found])]


def _pairs(left: np.ndarray, right: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Different pairs, and for each given one its place among them."""
    key, place = np.unique(left.astype(np.int64) << 32 | right, return_inverse=True)
    return (key >> 32, key & 0xFFFFFFFF), place
