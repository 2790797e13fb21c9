"""Compiled loops of balanced 2-means. Importing this module imports numba, and compiles if no cache has it.

A part is a range [low, high) of the rows of `points`; cutting it moves rows, and their numbers in `order`, so that the
two halves are ranges again. Loops then read memory in sequence, and a part that fits the cache is cut inside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from litotes.compiled import compiled

LANES = 16  # sums that run side by side in a product of two rows: one or two registers


@compiled()
def _mixed(x):  # type: ignore[no-untyped-def]
    """splitmix64: an even number from any number."""
    x = np.uint64(x + np.uint64(0x9E3779B97F4A7C15))
    x = np.uint64((x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
    x = np.uint64((x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
    return np.uint64(x ^ (x >> np.uint64(31)))


@compiled()
def rooted(seed):  # type: ignore[no-untyped-def]
    """The key of the whole; keys say which random point a part starts from."""
    return np.int64(_mixed(np.uint64(seed)))


@compiled()
def child(key, side):  # type: ignore[no-untyped-def]
    """The key of a half, from that of the part and 0 or 1: it does not depend on who cuts when."""
    return np.int64(_mixed(np.uint64(key) ^ np.uint64(side + 1)))


@compiled()
def _project(points, low, high, direction, out):  # type: ignore[no-untyped-def]
    """out[low:high] = points . direction, summed in LANES sums."""
    width = points.shape[1]
    sums = np.zeros(LANES, np.float32)
    for i in range(low, high):
        for lane in range(LANES):
            sums[lane] = points[i, lane] * direction[lane]
        for d in range(LANES, width, LANES):
            for lane in range(LANES):
                sums[lane] += points[i, d + lane] * direction[d + lane]
        total = np.float32(0)
        for lane in range(LANES):
            total += sums[lane]
        out[i - low] = total


@compiled()
def _farthest(points, low, high, first, spherical, likeness):  # type: ignore[no-untyped-def]
    """The row least like row `first`: lowest product, or largest distance. Ties: the first in order."""
    _project(points, low, high, points[first], likeness)
    worst, found = np.inf, low
    for i in range(low, high):
        value = np.float64(likeness[i - low])
        if not spherical:
            norm = 0.0
            for d in range(points.shape[1]):
                norm += np.float64(points[i, d]) * points[i, d]
            value -= norm / 2
        if value < worst:
            worst, found = value, i
    return found


@compiled()
def _rank(values, upper, kept):  # type: ignore[no-untyped-def]
    """Mark the `upper` largest values in `kept`; ties go up in order. How many marks changed."""
    n = len(values)
    line = np.partition(values, n - upper)[n - upper]
    above = 0
    for i in range(n):
        above += values[i] > line
    equal, changed = upper - above, 0
    for i in range(n):
        stays = values[i] > line
        if values[i] == line and equal > 0:
            stays = True
            equal -= 1
        changed += stays != kept[i]
        kept[i] = stays
    return changed


@compiled()
def _centre(total, count, spherical, out):  # type: ignore[no-untyped-def]
    """A sum of rows to their mean, or to length 1."""
    scale = np.float64(count)
    if spherical:
        square = 0.0
        for d in range(len(total)):
            square += total[d] * total[d]
        scale = max(np.sqrt(square), 1e-12)
    for d in range(len(total)):
        out[d] = total[d] / scale


@compiled()
def halve(points, order, low, high, key, iters, spherical):  # type: ignore[no-untyped-def]
    """Cut rows [low, high), at least 2, into two halves, in place: where the second begins."""
    n, width = high - low, points.shape[1]
    upper = (n + 1) // 2
    values = np.empty(n, np.float32)
    first = low + np.int64(_mixed(np.uint64(key)) % np.uint64(n))
    second = _farthest(points, low, high, first, spherical, values)
    direction = points[first] - points[second]
    kept, before = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    whole, part = np.zeros(width, np.float64), np.zeros(width, np.float64)
    for i in range(low, high):
        for d in range(width):
            whole[d] += points[i, d]
    one, other = np.empty(width, np.float64), np.empty(width, np.float64)
    for _ in range(iters):
        _project(points, low, high, direction, values)
        if _rank(values, upper, kept) == 0:
            break
        for i in range(n):  # only what changed sides changes the sum of the half
            if kept[i] != before[i]:
                sign = 1.0 if kept[i] else -1.0
                for d in range(width):
                    part[d] += sign * points[low + i, d]
                before[i] = kept[i]
        _centre(part, upper, spherical, one)
        _centre(whole - part, n - upper, spherical, other)
        for d in range(width):
            direction[d] = one[d] - other[d]
    i, j = 0, n - 1
    while i < j:
        if kept[i]:
            i += 1
        elif not kept[j]:
            j -= 1
        else:
            for d in range(width):
                points[low + i, d], points[low + j, d] = points[low + j, d], points[low + i, d]
            order[low + i], order[low + j] = order[low + j], order[low + i]
            kept[i], kept[j] = True, False
    return low + upper


@compiled()
def grow(points, order, low, high, key, size, iters, spherical):  # type: ignore[no-untyped-def]
    """Cut rows [low, high) until every part has at most `size` of them."""
    lows, highs, keys = [np.int64(low)], [np.int64(high)], [np.int64(key)]
    while len(lows) > 0:
        start, stop, name = lows.pop(), highs.pop(), keys.pop()
        if stop - start > size:
            middle = halve(points, order, start, stop, name, iters, spherical)
            lows.append(start)
            highs.append(middle)
            keys.append(child(name, 0))
            lows.append(middle)
            highs.append(stop)
            keys.append(child(name, 1))


__all__: list[Any] = ["LANES", "child", "grow", "halve", "rooted"]
