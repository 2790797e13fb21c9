"""The inner loop of BM25: postings are added up, and the best documents that a mask lets through are kept."""

from __future__ import annotations

import numpy as np

from litotes.compiled import compiled
from litotes.search.mask import Mask

BLOCK = 1 << 16  # documents at a time: their sums, 512 KB, stay in a core's second-level cache


def conditions(mask: Mask) -> tuple:
    """A mask as the arrays that `best` reads; what is absent is an empty array."""
    nothing, rows = np.zeros(0, np.int64), (np.zeros(0, np.int64), np.zeros(0, np.int32))
    exclude = rows if mask.exclude is None else mask.exclude
    allow = rows if mask.allow is None else mask.allow
    allowed = np.zeros(0, np.bool_) if mask.allowed is None else mask.allowed
    groups = (nothing, nothing) if mask.groups is None else mask.groups
    times = (np.zeros(0),) * 3 if mask.times is None else mask.times
    return (*exclude, *allow, allowed, *groups, *times)


@compiled()
def _holds(offsets, items, query, document):  # type: ignore[no-untyped-def]
    low, high = offsets[query], offsets[query + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if items[middle] < document:
            low = middle + 1
        else:
            high = middle
    return low < end and items[low] == document


@compiled()
def _keeps(mask, query, document):  # type: ignore[no-untyped-def]
    banned_from, banned, allow_from, allow, allowed, group_of, groups, times, earliest, latest = mask
    if len(banned_from) and _holds(banned_from, banned, query, document):
        return False
    if len(allow_from) and not _holds(allow_from, allow, query, document):
        return False
    if len(allowed) and not allowed[document]:
        return False
    if len(groups) and group_of[query] >= 0 and group_of[query] == groups[document]:
        return False
    return not len(times) or earliest[query] <= times[document] <= latest[query]


@compiled()
def _sink(scores, ids, size, score, document):  # type: ignore[no-untyped-def]
    """Put (score, document) where the worst stands, at the root, and let it sink to its place among `size`."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            scores[right] < scores[child] or (scores[right] == scores[child] and ids[right] > ids[child])
        ):
            child = right
        if scores[child] > score or (scores[child] == score and ids[child] < document):
            break
        scores[place], ids[place] = scores[child], ids[child]
        place = child
    scores[place], ids[place] = score, document


@compiled()
def _rise(scores, ids, place, score, document):  # type: ignore[no-untyped-def]
    """Put (score, document) at the end of the heap and let it rise while it is worse than what stands above it."""
    while place:
        above = (place - 1) // 2
        if scores[above] < score or (scores[above] == score and ids[above] > document):
            break
        scores[place], ids[place] = scores[above], ids[above]
        place = above
    scores[place], ids[place] = score, document


@compiled()
def _offer(mask, query, score, document, scores, ids, kept, limit):  # type: ignore[no-untyped-def]
    """Take one document into the heap if it belongs there: how many the heap holds now."""
    if kept < limit:
        if _keeps(mask, query, document):
            _rise(scores, ids, kept, score, document)
            return kept + 1
    elif (score > scores[0] or (score == scores[0] and document < ids[0])) and _keeps(mask, query, document):
        _sink(scores, ids, limit, score, document)
    return kept


@compiled()
def _sorted(scores, ids, kept):  # type: ignore[no-untyped-def]
    """Turn a heap of `kept` into a list, best first: the worst goes to the end, again and again."""
    for last in range(kept - 1, 0, -1):
        worst, where = scores[0], ids[0]
        _sink(scores, ids, last, scores[last], ids[last])
        scores[last], ids[last] = worst, where


@compiled()
def _bar(scores, kept, limit):  # type: ignore[no-untyped-def]
    """The lowest score that can still enter: the worst of a full heap, else the least number above 0."""
    return scores[0] if kept == limit else np.float32(1e-45)


@compiled()
def best(low, high, starts, documents, weights, size, asked_from, asked, counts, k, mask, ids, scores):  # type: ignore[no-untyped-def]
    """Fill rows [low, high) of `ids` [Q, width] (-1 padded) and `scores` (-inf padded): the best `k[query]`, in order.

    In:   postings of word w: documents (ascending) and weights float32 at starts[w] .. starts[w + 1]; `size` documents
          in all. Words of query q in order, with their counts float64, at asked_from[q] .. asked_from[q + 1].
    """
    total = np.zeros(min(BLOCK, size))
    touched = np.empty(min(BLOCK, size), np.int32)
    for query in range(low, high):
        first, last = asked_from[query], asked_from[query + 1]
        at, held = np.empty(last - first, np.int64), 0
        for i in range(last - first):
            at[i] = starts[asked[first + i]]
            held += starts[asked[first + i] + 1] - at[i]
        dense = held > size // 8  # then it is faster to look at every sum than to note which documents were touched
        best_ids, best_scores, limit, kept = ids[query], scores[query], k[query], 0
        for corner in range(0, size if limit else 0, BLOCK):
            reached, edge = 0, min(corner + BLOCK, size)
            for i in range(last - first):
                begin, count = at[i], counts[first + i]
                left, right = begin, starts[asked[first + i] + 1]
                while left < right:
                    middle = (left + right) // 2
                    if documents[middle] < edge:
                        left = middle + 1
                    else:
                        right = middle
                at[i] = left
                if dense:
                    for place in range(begin, left):
                        total[np.uint64(documents[place] - corner)] += count * np.float64(weights[place])
                else:
                    for place in range(begin, left):
                        column = np.uint64(documents[place] - corner)
                        if total[column] == 0.0 and weights[place] != 0.0:
                            touched[reached] = column
                            reached += 1
                        total[column] += count * np.float64(weights[place])
            bar = _bar(best_scores, kept, limit)
            if dense:
                for lowest in range(0, edge - corner, 64):
                    highest, any_above = min(lowest + 64, edge - corner), 0
                    for column in range(lowest, highest):  # without a branch, so that it runs on whole vectors
                        any_above += np.float32(total[column]) >= bar
                    if any_above:
                        for column in range(lowest, highest):
                            score = np.float32(total[column])
                            if score >= bar:
                                kept = _offer(mask, query, score, corner + column, best_scores, best_ids, kept, limit)
                                bar = _bar(best_scores, kept, limit)
                total[: edge - corner] = 0.0
            else:
                for i in range(reached):
                    column = touched[i]
                    score = np.float32(total[column])
                    total[column] = 0.0
                    if score >= bar:
                        kept = _offer(mask, query, score, corner + column, best_scores, best_ids, kept, limit)
                        bar = _bar(best_scores, kept, limit)
        _sorted(best_scores, best_ids, kept)


@compiled()
def of_pairs(low, high, starts, documents, weights, asked_from, asked, counts, query_rows, document_rows, scores):  # type: ignore[no-untyped-def]
    """Fill `scores` float32 of the pairs [low, high): a binary search of the document in the postings of each word."""
    for pair in range(low, high):
        query, document, total = query_rows[pair], document_rows[pair], 0.0
        for i in range(asked_from[query], asked_from[query + 1]):
            left, right = starts[asked[i]], starts[asked[i] + 1]
            end = right
            while left < right:
                middle = (left + right) // 2
                if documents[middle] < document:
                    left = middle + 1
                else:
                    right = middle
            if left < end and documents[left] == document:
                total += counts[i] * np.float64(weights[left])
        scores[pair] = np.float32(total)
