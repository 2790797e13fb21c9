"""Compiled loops of the exact search on a CPU. Importing this module imports numba, and compiles if no cache has it.

The loops hold no interpreter lock, so threads run them side by side, and all of them read their vectors where they lie.
Names of arrays are those of `litotes.search.bounds`: `terms` are the summands of the error bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from litotes.compiled import compiled

WIDTH = 32  # scores per comparison: one 512-bit register of bfloat16
COSINE, DOT, L2 = 0, 1, 2
_ROUNDOFF = 2.0**-53
_REORDER = {"reassoc", "nsz", "contract"}


def _read(dtype: Any, dimensions: int) -> Any:
    return types.Array(dtype, dimensions, "C", readonly=True)


_VECTORS = _read(types.float32, 2)
_MASK = types.Tuple(
    (
        _read(types.int64, 1),  # exclude: offsets, items
        _read(types.int32, 1),
        _read(types.int64, 1),  # allow: offsets, items
        _read(types.int32, 1),
        _read(types.int64, 1),  # group of each query, of each document
        _read(types.int64, 1),
        _read(types.float64, 1),  # time of each document, earliest and latest of each query
        _read(types.float64, 1),
        _read(types.float64, 1),
    )
)
_PAIR = types.Tuple((_VECTORS, _VECTORS, _read(types.float64, 1), _read(types.float64, 1), types.int64, types.int64))
_FOUND = types.Tuple(
    (
        types.int32[:, ::1],  # document
        types.float32[:, ::1],  # its score is at least
        types.float32[:, ::1],  # and at most
        types.int64[::1],  # how many
        types.float64[::1],  # no document below this can be among the best k
        types.int64[::1],  # k
        types.int64[::1],  # how often survivors had to be scored before the end
    )
)


# ---- reading scores: bfloat16 as int16, or float32 -------------------------------------------------------------------


def _making_above(typing_context, scores, row, column, line):  # type: ignore[no-untyped-def]
    """Bit i: scores[row, column + i] >= line, for WIDTH neighbours at once. For int16 in the order of `_ordered`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, kind, array, list(arguments[1:3]), wraparound=False)
        integer = kind.dtype == types.int16
        element = ir.IntType(16) if integer else ir.FloatType()
        vector = ir.VectorType(element, WIDTH)
        values = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=2 if integer else 4)
        lines = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[3], ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        lines = builder.shuffle_vector(lines, ir.Constant(vector, ir.Undefined), lanes)
        if integer:
            sign = builder.ashr(values, ir.Constant(vector, [15] * WIDTH))
            values = builder.xor(values, builder.and_(sign, ir.Constant(vector, [0x7FFF] * WIDTH)))
            bits = builder.icmp_signed(">=", values, lines)
        else:
            bits = builder.fcmp_ordered(">=", values, lines)
        return builder.bitcast(bits, ir.IntType(WIDTH))

    return types.uint32(scores, types.intp, types.intp, scores.dtype), generate


_above: Any = intrinsic(_making_above)


def _making_lowest_bit(typing_context, bits):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint32(types.uint32), generate


_lowest_bit: Any = intrinsic(_making_lowest_bit)


def _making_prefetch(typing_context, vectors, row, column):  # type: ignore[no-untyped-def]
    """Ask for the memory of vectors[row, column] ahead of its use."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, kind, array, list(arguments[1:3]), wraparound=False)
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        call = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        )
        builder.call(call, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(vectors, types.intp, types.intp), generate


_prefetch: Any = intrinsic(_making_prefetch)


def _value(scores, row, column):  # type: ignore[no-untyped-def]
    """One score as float64."""


@overload(_value, inline="always")
def _value_of(scores, row, column):  # type: ignore[no-untyped-def]
    if scores.dtype == types.int16:
        return lambda scores, row, column: np.float64(np.int32(np.int32(scores[row, column]) << 16).view(np.float32))
    return lambda scores, row, column: np.float64(scores[row, column])


def _line(scores, value):  # type: ignore[no-untyped-def]
    """The largest score that is no larger than `value`, as `_above` compares it."""


@overload(_line, inline="always")
def _line_of(scores, value):  # type: ignore[no-untyped-def]
    if scores.dtype == types.int16:
        return lambda scores, value: _ordered(_under(value))
    return lambda scores, value: _under(value)


@compiled(types.float32(types.float64))
def _under(value: float) -> Any:
    """A float32 no larger than `value` (below 2^100), and within 2^-22 of it."""
    return np.float32(value - abs(value) * 2.0**-23 - 2.0**-149)


@compiled(types.float32(types.float64))
def _over(value: float) -> Any:
    """A float32 no smaller than `value` (above -2^100)."""
    return np.float32(value + abs(value) * 2.0**-23 + 2.0**-149)


@compiled(types.int16(types.float32))
def _ordered(value: Any) -> Any:
    """The bfloat16 at or below `value`, as a number that rises with it: 0 is taken as -0, which comes first."""
    bits = np.int64(np.float32(value).view(np.int32))
    if bits > 0:
        return np.int16(bits >> 16)
    size = ((bits & 0x7FFFFFFF) + 0xFFFF) >> 16
    return np.int16(-1 - size)


# ---- the definition --------------------------------------------------------------------------------------------------


@compiled(types.void(_VECTORS, types.int64, types.int64, types.int64, types.float64[::1]))
def norms_into(vectors: Any, dimensions: int, low: int, high: int, norms: Any) -> None:
    """Norms of rows [low, high) by the definition: squares summed in the order of d, eight rows side by side."""
    whole = low + (high - low) // 8 * 8
    for row in range(low, whole, 8):
        a = b = c = d = e = f = g = h = 0.0
        for i in range(dimensions):
            a += np.float64(vectors[row, i]) * np.float64(vectors[row, i])
            b += np.float64(vectors[row + 1, i]) * np.float64(vectors[row + 1, i])
            c += np.float64(vectors[row + 2, i]) * np.float64(vectors[row + 2, i])
            d += np.float64(vectors[row + 3, i]) * np.float64(vectors[row + 3, i])
            e += np.float64(vectors[row + 4, i]) * np.float64(vectors[row + 4, i])
            f += np.float64(vectors[row + 5, i]) * np.float64(vectors[row + 5, i])
            g += np.float64(vectors[row + 6, i]) * np.float64(vectors[row + 6, i])
            h += np.float64(vectors[row + 7, i]) * np.float64(vectors[row + 7, i])
        norms[row], norms[row + 1], norms[row + 2], norms[row + 3] = a, b, c, d
        norms[row + 4], norms[row + 5], norms[row + 6], norms[row + 7] = e, f, g, h
    for row in range(whole, high):
        total = 0.0
        for i in range(dimensions):
            total += np.float64(vectors[row, i]) * np.float64(vectors[row, i])
        norms[row] = total
    for row in range(low, high):
        norms[row] = np.sqrt(norms[row])


_SUM = types.float64(_VECTORS, types.int64, _VECTORS, types.int64, types.int64)


@compiled(_SUM, fastmath=_REORDER)
def _product(queries: Any, row: int, corpus: Any, document: int, dimensions: int) -> float:
    total = 0.0
    for i in range(dimensions):
        total += np.float64(queries[row, i]) * np.float64(corpus[document, i])
    return total


@compiled(_SUM)
def _product_in_sequence(queries: Any, row: int, corpus: Any, document: int, dimensions: int) -> float:
    total = 0.0
    for i in range(dimensions):
        total += np.float64(queries[row, i]) * np.float64(corpus[document, i])
    return total


@compiled(_SUM, fastmath=_REORDER)
def _distance(queries: Any, row: int, corpus: Any, document: int, dimensions: int) -> float:
    total = 0.0
    for i in range(dimensions):
        gap = np.float64(queries[row, i]) - np.float64(corpus[document, i])
        total += gap * gap
    return total


@compiled(_SUM)
def _distance_in_sequence(queries: Any, row: int, corpus: Any, document: int, dimensions: int) -> float:
    total = 0.0
    for i in range(dimensions):
        gap = np.float64(queries[row, i]) - np.float64(corpus[document, i])
        total += gap * gap
    return total


@compiled(types.float32(types.float64, types.float64, types.int64))
def _rounded(total: float, scale: float, kind: int) -> Any:
    if kind == COSINE:
        total = min(1.0, max(-1.0, total / scale)) if scale > 0 else 0.0
    return np.float32(total) + np.float32(0)


_NORMS = _read(types.float64, 1)
_ONE = (_VECTORS, _VECTORS, _NORMS, _NORMS, types.int64, types.int64, types.int64, types.int64)


@compiled(types.Tuple((types.float32, types.float64))(*_ONE))
def _defined(
    queries: Any, corpus: Any, query_norms: Any, corpus_norms: Any, dimensions: int, kind: int, row: int, document: int
) -> tuple[Any, float]:
    """The definition's score, and the sum behind it before rounding; as `definition.score_pairs` does it.

    Takes arrays, not the tuple of them: taking that apart counts references, for which threads would wait in turn.
    """
    slack = 2 * (dimensions * _ROUNDOFF / (1 - dimensions * _ROUNDOFF)) * (1 + 1e-9)
    scale = query_norms[row] * corpus_norms[document]
    if kind == L2:
        total = -_distance(queries, row, corpus, document, dimensions)
        error = -slack * total
    else:
        total = _product(queries, row, corpus, document, dimensions)
        error = slack * scale
    low, high = _rounded(total - error, scale, kind), _rounded(total + error, scale, kind)
    if low != high:
        if kind == L2:
            total = -_distance_in_sequence(queries, row, corpus, document, dimensions)
        else:
            total = _product_in_sequence(queries, row, corpus, document, dimensions)
        high = _rounded(total, scale, kind)
    return high, total


# ---- low precision ---------------------------------------------------------------------------------------------------


@compiled(types.int64(types.float32))
def _bfloat16_bits(value: Any) -> Any:
    bits = np.int64(np.float32(value).view(np.uint32))
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


@compiled(types.float32(types.int64))
def _of_bits(bits: int) -> Any:
    return np.uint32(bits << 16).view(np.float32)


_LOWER = (types.int64, types.int64[::1], types.float64[::1], types.float64[::1], types.int64)


@compiled(types.void(_VECTORS, *_LOWER, types.uint16[:, ::1], types.float64[::1]), fastmath={"reassoc", "nsz"})
def lower_bfloat16(
    vectors: Any, dimensions: int, rows: Any, factors: Any, halves: Any, parts: int, low: Any, errors: Any
) -> None:
    """Rows times their factors in bfloat16, to the nearest and ties to even, and the length of what rounding took.

    `parts` further columns hold `halves` in so many pieces (0: none); the columns after them are left as they are.
    """
    for place in range(len(rows)):
        row, factor, total = rows[place], factors[place], 0.0
        for i in range(dimensions):
            exact = np.float64(vectors[row, i]) * factor
            bits = np.float32(exact).view(np.uint32)
            bits = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            low[place, i] = np.uint16(bits)
            gap = exact - np.float64(np.uint32(bits << np.uint32(16)).view(np.float32))
            total += gap * gap
        errors[place] = np.sqrt(total)
        rest = halves[place] if parts else 0.0
        for part in range(parts):
            bits_ = _bfloat16_bits(np.float32(rest))
            low[place, dimensions + part] = np.uint16(bits_)
            rest -= np.float64(_of_bits(bits_))


@compiled(types.void(_VECTORS, *_LOWER, types.float32[:, ::1], types.float64[::1]), fastmath={"reassoc", "nsz"})
def lower_float32(
    vectors: Any, dimensions: int, rows: Any, factors: Any, halves: Any, parts: int, low: Any, errors: Any
) -> None:
    """The same in float32."""
    for place in range(len(rows)):
        row, factor, total = rows[place], factors[place], 0.0
        for i in range(dimensions):
            exact = np.float64(vectors[row, i]) * factor
            low[place, i] = np.float32(exact)
            gap = exact - np.float64(np.float32(exact))
            total += gap * gap
        errors[place] = np.sqrt(total)
        rest = halves[place] if parts else 0.0
        for part in range(parts):
            low[place, dimensions + part] = np.float32(rest)
            rest -= np.float64(np.float32(rest))


# ---- what is found ---------------------------------------------------------------------------------------------------


@compiled(types.float32(types.float32[::1], types.int64, types.int64))
def _largest(values: Any, count: int, k: int) -> Any:
    """The k-th largest of the first `count` values, which are reordered."""
    low, high, wanted = 0, count - 1, k - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[wanted]


_BINS = 256


@compiled(
    types.float32(types.float32[:, ::1], types.int64, types.int64, types.int64, types.float64, types.float32[::1]),
    fastmath={"nnan", "nsz"},
)
def _near_largest(least: Any, row: int, count: int, k: int, line: float, values: Any) -> Any:
    """The k-th largest of the first `count` in a row, or a little less: the edge of its bin among 256 above `line`."""
    top = least[row, 0]
    for i in range(count):
        top = max(top, least[row, i])
    if np.isfinite(line) and line < top < np.inf:
        counts = np.zeros(_BINS, np.int32)
        per_bin = (_BINS - 0.01) / (top - line)
        for i in range(count):
            if least[row, i] >= line:
                counts[int((least[row, i] - line) * per_bin)] += 1
        inside, bin_ = 0, _BINS
        while inside < k and bin_ > 0:
            bin_ -= 1
            inside += counts[bin_]
        if inside >= k and (inside - k) * 8 <= k:
            return np.float32(_under(line + bin_ / per_bin * (1 - 1e-9)))
    for i in range(count):
        values[i] = least[row, i]
    return _largest(values, count, k)


@compiled(types.boolean(types.Array(types.int32, 1, "C", readonly=True), types.int64, types.int64, types.int64))
def _holds(items: Any, low: int, high: int, document: int) -> bool:
    end = high
    while low < high:
        middle = (low + high) // 2
        if items[middle] < document:
            low = middle + 1
        else:
            high = middle
    return low < end and items[low] == document


@compiled(types.int64(_FOUND, _PAIR, types.int64, types.int64, types.int64[::1]))
def _rank(found: Any, pair: Any, query: int, row: int, keys: Any) -> int:
    """Score the survivors of a query by the definition; `keys` has them best first, ties by row. Out: min(k, n)."""
    ids, _, _, counts, _, wanted, _ = found
    queries, corpus, query_norms, corpus_norms, dimensions, kind = pair
    count = counts[row]
    for i in range(count):
        if i + 2 < count:  # rows lie anywhere in memory: have the one after next on its way
            for column in range(0, dimensions, 16):
                _prefetch(corpus, ids[row, i + 2], column)
        score, _ = _defined(queries, corpus, query_norms, corpus_norms, dimensions, kind, query, ids[row, i])
        bits = np.int64(np.float32(score).view(np.int32))
        bits = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))  # falls as the score rises
        keys[i] = (bits << 32) | np.int64(ids[row, i])
    keys[:count].sort()
    return min(count, wanted[row])


@compiled(types.void(_FOUND, _PAIR, types.int64, types.int64, types.float64[:, ::1], types.int64[::1]))
def _resolve(found: Any, pair: Any, query: int, row: int, terms: Any, keys: Any) -> None:
    """Keep only the k best survivors of a query by the definition, with bounds as tight as its rounding."""
    ids, least, most, counts, _, _, resolved = found
    queries, corpus, query_norms, corpus_norms, dimensions, kind = pair
    kept = _rank(found, pair, query, row, keys)
    for i in range(kept):
        document = np.int32(keys[i] & 0x7FFFFFFF)
        _, total = _defined(queries, corpus, query_norms, corpus_norms, dimensions, kind, query, document)
        length = corpus_norms[document] * terms[row, 6]
        if kind == COSINE:
            scale = query_norms[query] * corpus_norms[document]
            near, length = (total / scale if scale > 0 else 0.0), 1.0
        elif kind == DOT:
            near = total * terms[row, 5]
        else:
            near = 0.5 * (terms[row, 0] * terms[row, 0] + total * terms[row, 5])
        error = 2.0**-22 * (terms[row, 0] * length + length * length) + terms[row, 2]
        ids[row, i], least[row, i], most[row, i] = document, _under(near - error), _over(near + error)
    counts[row] = kept
    resolved[row] += 1


@compiled(types.void(_FOUND, types.int64, types.float64[:, ::1], types.float32[::1]))
def _compact(found: Any, row: int, terms: Any, values: Any) -> None:
    """Raise the line of a query to the k-th best lower bound, and drop what lies wholly below it."""
    ids, least, most, counts, lines, wanted, _ = found
    count = counts[row]
    if count >= wanted[row] > 0:
        line = np.float64(_near_largest(least, row, count, wanted[row], lines[row], values))
        line = min(line, terms[row, 4])
        if line >= terms[row, 3] and line > lines[row]:
            lines[row] = line
    kept, line = 0, lines[row]
    for i in range(count):  # copies all and counts some: a branch that cannot be foreseen would cost more
        ids[row, kept], least[row, kept], most[row, kept] = ids[row, i], least[row, i], most[row, i]
        kept += int(most[row, i] >= line)
    counts[row] = kept


@compiled(types.float64(types.float64, types.float64, types.float64))
def _floor(line: float, reach: float, output: float) -> float:
    """Scan scores under this belong to documents whose score lies under `line`, where no error exceeds `reach`."""
    under = line - reach - 1e-12 * (abs(line) + reach)
    return under / (1 + output) if under >= 0 else under / (1 - output)


def _scan_signature(dtype: Any) -> Any:
    tile = (_read(dtype, 2), types.int64, types.int64, types.int64, types.int64, types.int64[::1])
    return types.void(*tile, types.float64[:, ::1], types.float64[:, ::1], types.float64, _FOUND, _PAIR, _MASK)


@compiled(_scan_signature(types.int16), _scan_signature(types.float32))
def scan(
    scores: Any,
    rows: int,
    columns: int,
    first_query: int,
    first_row: int,
    documents: Any,
    query_terms: Any,
    document_terms: Any,
    output: float,
    found: Any,
    pair: Any,
    mask: Any,
) -> None:
    """Take from one tile of scan scores [rows, columns] whatever may be among the best k of its queries."""
    ids, least, most, counts, lines, wanted, _ = found
    capacity = ids.shape[1]
    values, keys = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
    rounding = length = rest = 0.0
    for column in range(columns):
        rounding = max(rounding, document_terms[column, 0])
        length = max(length, document_terms[column, 1])
        rest = max(rest, document_terms[column, 2])
    exclude, excluded, allow, allowed, query_group, group, time, earliest, latest = mask
    timed, grouped = len(earliest) > 0, len(query_group) > 0
    for place in range(rows):
        query, row = first_query + place, first_row + place
        per_rounding, per_length, constant = query_terms[row, 0], query_terms[row, 1], query_terms[row, 2]
        reach = (per_rounding * rounding + per_length * length + constant + rest) * (1 + 1e-9)
        line = _line(scores, _floor(lines[row], reach, output))
        for start in range(0, columns, WIDTH):
            bits = _above(scores, place, start, line)
            if columns - start < WIDTH:
                bits &= np.uint32((np.int64(1) << (columns - start)) - 1)
            while bits:
                column = start + int(_lowest_bit(bits))
                bits &= bits - np.uint32(1)
                document = documents[column]
                if timed and not earliest[query] <= time[document] <= latest[query]:
                    continue
                if grouped and query_group[query] >= 0 and query_group[query] == group[document]:
                    continue
                value = _value(scores, place, column)
                error = per_rounding * document_terms[column, 0] + per_length * document_terms[column, 1]
                error = (error + constant + document_terms[column, 2] + output * abs(value)) * (1 + 1e-9)
                high = _over(value + error)
                if high < lines[row]:
                    continue
                if len(exclude) and _holds(excluded, exclude[query], exclude[query + 1], document):
                    continue
                if len(allow) and not _holds(allowed, allow[query], allow[query + 1], document):
                    continue
                count = counts[row]
                ids[row, count], least[row, count], most[row, count] = document, _under(value - error), high
                counts[row] = count + 1
                if count + 1 == capacity:
                    _compact(found, row, query_terms, values)
                    if counts[row] > (capacity + wanted[row]) // 2:
                        _resolve(found, pair, query, row, query_terms, keys)
                        _compact(found, row, query_terms, values)
                    line = _line(scores, _floor(lines[row], reach, output))


_FINISH = (types.int64, types.int64, types.int64, types.float64[:, ::1], _FOUND, _PAIR)


@compiled(types.void(*_FINISH, types.int32[:, ::1], types.float32[:, ::1], types.int64[::1]))
def finish(
    first_query: int,
    first_row: int,
    rows: int,
    query_terms: Any,
    found: Any,
    pair: Any,
    best_ids: Any,
    best_scores: Any,
    survivors: Any,
) -> None:
    """The k best survivors of each query by the definition, best first, and how many there were to choose from."""
    capacity = found[0].shape[1]
    values, keys = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
    for place in range(rows):
        query, row = first_query + place, first_row + place
        _compact(found, row, query_terms, values)
        survivors[query] = found[3][row]
        for i in range(_rank(found, pair, query, row, keys)):
            best_ids[query, i] = np.int32(keys[i] & 0x7FFFFFFF)
            bits = ~(keys[i] >> 32)
            best_scores[query, i] = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
