"""Draws of texts by way of their labels: first a label, evenly, then one of its texts, evenly, and no text twice."""

from __future__ import annotations

import numpy as np

from litotes.compiled import compiled


@compiled()
def draw_texts(stream, pool, offsets, items, taken, out):  # type: ignore[no-untyped-def]
    """Fill `out` with texts; returns how many were found.

    Each draw takes a label evenly from those of `pool` that have a text left, then a text evenly from what it has left.

    In:   stream uint64, the start of a stream of numbers (splitmix64, as `sources.draws.numbers`); pool int64, labels;
          texts of label m: items[offsets[m] : offsets[m + 1]], int64; taken bool [N]: texts that may not be drawn, and
          what is drawn is marked in it; out int64.
    """
    left, made = len(pool), 0
    place = np.uint64(0)
    pool = pool.copy()
    while made < len(out) and left > 0:
        place += np.uint64(1)
        at = np.int64(_number(stream, place) % np.uint64(left))
        low, high = offsets[pool[at]], offsets[pool[at] + 1]
        chosen = np.int64(-1)
        for _ in range(4 if high > low else 0):  # most are free: a try costs less than a count
            place += np.uint64(1)
            text = items[low + np.int64(_number(stream, place) % np.uint64(high - low))]
            if not taken[text]:
                chosen = text
                break
        if chosen < 0:
            free = 0
            for i in range(low, high):
                free += not taken[items[i]]
            if free == 0:
                left -= 1
                pool[at] = pool[left]
                continue
            place += np.uint64(1)
            nth = np.int64(_number(stream, place) % np.uint64(free))
            for i in range(low, high):
                if not taken[items[i]]:
                    if nth == 0:
                        chosen = items[i]
                        break
                    nth -= 1
        taken[chosen] = True
        out[made] = chosen
        made += 1
    return made


@compiled()
def _number(stream, place):  # type: ignore[no-untyped-def]
    """The number at `place`, counted from 1, of a stream."""
    x = stream + place * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def slots(positives: int, per_positive: int, shares: list[float], phase: float) -> np.ndarray:
    """How many of the negatives of each positive go to each share: int64 [positives, S]; rows add up to per_positive.

    A share gets its part of `per_positive` rounded down or up; who is rounded up turns from positive to positive, by
    systematic sampling whose start advances by the golden ratio, so that totals follow the shares.

    Args:
        shares: >= 0, adding up to 1. phase: in [0, 1), where the turning starts.
    """
    exact = np.round(np.array(shares) * per_positive, 9)
    whole = np.floor(exact).astype(np.int64)
    rest = exact - whole
    many = int(round(rest.sum()))
    if not many:
        return np.tile(whole, (positives, 1))
    ends = np.cumsum(rest) * (many / rest.sum())
    ends[-1] = many
    start = (phase + np.arange(positives) * 0.6180339887498949) % 1.0
    marks = np.ceil(ends[None, :] - start[:, None]).astype(np.int64)  # points start + 0, 1, 2, ... that lie below
    return whole + np.diff(np.maximum(marks, 0), axis=1, prepend=0)
