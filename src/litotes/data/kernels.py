"""What a transformer does between its matrix products, for texts laid end to end: embed, attend, normalise, pool.

All sums are float32. Matrices come flat and are float32, or uint16 holding bfloat16 bit by bit; a width is a multiple
of 16. Each call runs in one thread and holds no lock of Python. What a text gets depends on that text alone.
"""

from __future__ import annotations

import numpy as np

from litotes.compiled import compiled
from litotes.data.lanes import WIDTH, every, exponential, first, fused, larger, largest, load, plus, store, times, total


@compiled()
def _four_sums(weights, step, count, rows, column, stride):  # type: ignore[no-untyped-def]
    """For r < 4: sum over i < count of weights[r * step + i] * rows[column + i * stride : + 16]."""
    a = b = c = d = every(np.float32(0))
    for i in range(count):
        row = load(rows, column + i * stride)
        a = fused(every(weights[i]), row, a)
        b = fused(every(weights[step + i]), row, b)
        c = fused(every(weights[2 * step + i]), row, c)
        d = fused(every(weights[3 * step + i]), row, d)
    return a, b, c, d


@compiled()
def _softmax(scores, begin, count):  # type: ignore[no-untyped-def]
    """`count` scores from `begin` become exp(score - largest); returns 1 / their sum."""
    lowest = np.float32(-np.inf)
    top = every(lowest)
    for at in range(0, count, WIDTH):
        top = larger(first(load(scores, begin + at), count - at, lowest), top)
    shift = every(-largest(top))
    summed = every(np.float32(0))
    for at in range(0, count, WIDTH):
        value = first(exponential(plus(load(scores, begin + at), shift)), count - at, np.float32(0))
        store(scores, begin + at, value)
        summed = plus(summed, value)
    return np.float32(1) / total(summed)


@compiled()
def _short_softmax(scores, count):  # type: ignore[no-untyped-def]
    """The same for at most 16 scores in one vector: exp(score - largest) and 1 / their sum in every lane."""
    top = largest(first(scores, count, np.float32(-np.inf)))
    value = first(exponential(plus(scores, every(-top))), count, np.float32(0))
    return value, every(np.float32(1) / total(value))


@compiled()
def attend(joined, starts, heads, width, scale, out, scratch):  # type: ignore[no-untyped-def]
    """out = softmax(scale Q K^T) V of every head, each text by itself, four tokens at a time.

    Args:
        joined: [M, 3 width] flat: queries, keys and values side by side.
        starts: where texts begin, int64 [n + 1].
        out: [M, width] flat.
        scratch: float32, `attention_scratch` of the longest text.
    """
    size, row = width // heads, 3 * width
    query, scratch = scratch[: 4 * size], scratch[4 * size :]
    for text in range(len(starts) - 1):
        begin, count = starts[text], starts[text + 1] - starts[text]
        wide = (count + WIDTH - 1) // WIDTH * WIDTH
        scores, keys = scratch[: 4 * wide], scratch[4 * wide : (4 + size) * wide]
        for head in range(heads):
            column = begin * row + head * size
            for i in range(count):
                for part in range(0, size, WIDTH):
                    store(query, part, load(joined, column + i * row + width + part))
                for d in range(size):
                    keys[d * wide + i] = query[d]
            for i in range(0, count, 4):
                for r in range(min(4, count - i)):
                    for part in range(0, size, WIDTH):
                        store(query, r * size + part, times(load(joined, column + (i + r) * row + part), every(scale)))
                if wide == WIDTH:
                    a, b, c, d = _four_sums(query, size, size, keys, 0, wide)
                    a, e = _short_softmax(a, count)
                    b, f = _short_softmax(b, count)
                    c, g = _short_softmax(c, count)
                    d, h = _short_softmax(d, count)
                    store(scores, 0, a)
                    store(scores, wide, b)
                    store(scores, 2 * wide, c)
                    store(scores, 3 * wide, d)
                else:
                    for at in range(0, wide, WIDTH):
                        a, b, c, d = _four_sums(query, size, size, keys, at, wide)
                        store(scores, at, a)
                        store(scores, wide + at, b)
                        store(scores, 2 * wide + at, c)
                        store(scores, 3 * wide + at, d)
                    e = every(_softmax(scores, 0, count))
                    f = every(_softmax(scores, wide, count))
                    g = every(_softmax(scores, 2 * wide, count))
                    h = every(_softmax(scores, 3 * wide, count))
                for part in range(0, size, WIDTH):
                    a, b, c, d = _four_sums(scores, wide, count, joined, column + 2 * width + part, row)
                    place = (begin + i) * width + head * size + part
                    store(out, place, times(a, e))
                    if i + 1 < count:
                        store(out, place + width, times(b, f))
                    if i + 2 < count:
                        store(out, place + 2 * width, times(c, g))
                    if i + 3 < count:
                        store(out, place + 3 * width, times(d, h))


def attention_scratch(longest: int, size: int) -> int:
    """Numbers of scratch that `attend` needs for texts of up to `longest` tokens and heads of `size` dimensions."""
    return 4 * size + (4 + size) * (-(-longest // WIDTH) * WIDTH)


@compiled()
def _normalised(source, at, target, to, width, weight, bias, epsilon):  # type: ignore[no-untyped-def]
    summed = every(np.float32(0))
    for d in range(0, width, WIDTH):
        summed = plus(summed, load(source, at + d))
    mean = every(-total(summed) / np.float32(width))
    squares = every(np.float32(0))
    for d in range(0, width, WIDTH):
        centred = plus(load(source, at + d), mean)
        squares = fused(centred, centred, squares)
    scale = every(np.float32(1) / np.sqrt(total(squares) / np.float32(width) + epsilon))
    for d in range(0, width, WIDTH):
        centred = plus(load(source, at + d), mean)
        store(target, to + d, fused(times(centred, scale), load(weight, d), load(bias, d)))


@compiled()
def add_norm(source, residual, rows, width, weight, bias, epsilon, row, target):  # type: ignore[no-untyped-def]
    """target[r] = layer norm of source[r] + residual[r], for the first `rows` rows; `row` is scratch, float32 [width].

    layer norm of x = (x - mean x) / sqrt(variance x + epsilon) * weight + bias. `target` may be `residual`.
    """
    for r in range(rows):
        for d in range(0, width, WIDTH):
            store(row, d, plus(load(source, r * width + d), load(residual, r * width + d)))
        _normalised(row, 0, target, r * width, width, weight, bias, epsilon)


@compiled()
def embed(ids, positions, words, places, width, weight, bias, epsilon, row, target):  # type: ignore[no-untyped-def]
    """target[t] = layer_norm(words[ids[t]] + places[positions[t]]); `row` is scratch, float32 [width]."""
    for t in range(len(ids)):
        word, place = ids[t] * width, positions[t] * width
        for d in range(0, width, WIDTH):
            store(row, d, plus(load(words, word + d), load(places, place + d)))
        _normalised(row, 0, target, t * width, width, weight, bias, epsilon)


@compiled()
def mean_rows(source, starts, width, target):  # type: ignore[no-untyped-def]
    """target[text] = the mean of its rows of source, both float32."""
    for text in range(len(starts) - 1):
        begin, count = starts[text], starts[text + 1] - starts[text]
        share = every(np.float32(1) / np.float32(count))
        for d in range(0, width, WIDTH):
            summed = every(np.float32(0))
            for t in range(begin, begin + count):
                summed = plus(summed, load(source, t * width + d))
            store(target, text * width + d, times(summed, share))
