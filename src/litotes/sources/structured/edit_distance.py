"""The nearest names by edit distance, among thousands of names, in seconds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from litotes.compiled import compiled
from litotes.data.anchors import normalise
from litotes.search.cores import cores

_BLOCK = 128  # names that one thread takes at a time
_BUCKETS = 32  # kinds of letters, told apart by their number modulo 32
_EACH = 4  # how often a letter is counted at most


def nearest_names(
    names: list[str], k: int, exclude: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k names nearest to each name by edit distance, as a share of the longer name; ties to the lowest row.

        distance(a, b) = (least number of letters inserted, deleted or replaced) / max(len(a), len(b))

    Names are compared as `normalise` writes them: case and surrounding space do not count. No name is its own
    neighbour; an exact copy in another row is, at distance 0.

    In:   names, none of them empty. exclude: (offsets int64 [N + 1], items): rows that a name may not have.
    Out:  ids int32 [N, k], -1 padded, nearest first; distance float64 [N, k], inf padded.
    Cost: O(N^2) at worst; names are asked in order of length from near to far until no other length can win, more
          than half of the pairs fall to a count of letters, and the rest takes one machine word per letter (Myers).
          14,000 names of 22 letters on average, k = 20: 19 s of processor time. Threads take rows; nothing
          depends on their number.

    Args:
        k: >= 1; may exceed the names.
    Raises:
        ValueError: k is out of range, or a name is empty.
    Source: A fast bit-vector algorithm for approximate string matching based on dynamic programming
        (doi:10.1145/316542.316550), in the form for whole strings (Hyyro 2003).
    """
    if not k >= 1:
        raise ValueError(f"nearest_names: k must be >= 1, got {k!r}")
    texts = [normalise(name) for name in names]
    if "" in texts:
        raise ValueError(f"nearest_names: names must not be empty, got {names[texts.index('')]!r}")
    ids, far = np.full((len(texts), k), -1, np.int32), np.full((len(texts), k), np.inf)
    if not texts:
        return ids, far
    letters = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    alphabet, codes = np.unique(letters, return_inverse=True)
    lengths = np.array([len(text) for text in texts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    marks = _marks(np.repeat(np.arange(len(texts)), lengths), codes % _BUCKETS, len(texts))
    by_length = np.argsort(lengths, kind="stable")
    if exclude is None:
        exclude = np.zeros(len(texts) + 1, np.int64), np.empty(0, np.int64)
    barred = np.asarray(exclude[0], np.int64), np.asarray(exclude[1], np.int64)

    def run(low: int) -> None:
        rows = np.arange(low, min(low + _BLOCK, len(texts)))
        _nearest(rows, codes.astype(np.int64), offsets, by_length, marks, len(alphabet), *barred, ids, far)

    with ThreadPoolExecutor(max(1, cores())) as pool:
        list(pool.map(run, range(0, len(texts), _BLOCK)))
    return ids, far


def _marks(row: np.ndarray, bucket: np.ndarray, names: int) -> np.ndarray:
    """Per name 32 letters counted in strokes, up to 4 each: uint64 [N, 2]."""
    counts = np.zeros((names, _BUCKETS), np.int64)
    np.add.at(counts, (row, bucket), 1)
    strokes = (np.uint64(1) << np.minimum(counts, _EACH).astype(np.uint64)) - np.uint64(1)
    shift = (np.arange(_BUCKETS) % 16 * _EACH).astype(np.uint64)
    return np.bitwise_or.reduce((strokes << shift).reshape(names, 2, 16), axis=2)


@compiled()
def _nearest(  # type: ignore[no-untyped-def]
    rows, codes, offsets, by_length, marks, alphabet, barred_offsets, barred, ids, far
):
    """Fill `ids` and `far` for these rows."""
    names, k = len(by_length), ids.shape[1]
    bits = np.zeros(alphabet, np.uint64)
    out = np.zeros(names, np.uint8)
    longest_name = 0
    where = np.empty(names, np.int64)
    for i in range(names):
        where[by_length[i]] = i
        longest_name = max(longest_name, offsets[i + 1] - offsets[i])
    above, current = np.zeros(longest_name + 1, np.int64), np.zeros(longest_name + 1, np.int64)
    for row in rows:
        for i in range(barred_offsets[row], barred_offsets[row + 1]):
            out[barred[i]] = 1
        own = codes[offsets[row] : offsets[row + 1]]
        size = len(own)
        if size <= 64:
            for i in range(size):
                bits[own[i]] |= np.uint64(1) << np.uint64(i)
        down, up, held = where[row] - 1, where[row] + 1, 0
        while True:
            nearer = np.inf
            if down >= 0:
                shorter = offsets[by_length[down] + 1] - offsets[by_length[down]]
                nearer = (size - shorter) / size
            farther = np.inf
            if up < names:
                longer = offsets[by_length[up] + 1] - offsets[by_length[up]]
                farther = (longer - size) / longer
            if nearer == np.inf and farther == np.inf:
                break
            worst = far[row, k - 1]
            if min(nearer, farther) > worst:
                break
            if nearer <= farther:
                other = by_length[down]
                down -= 1
            else:
                other = by_length[up]
                up += 1
            if out[other]:
                continue
            low, high = offsets[other], offsets[other + 1]
            longest = max(size, high - low)
            most = longest if held < k else int(np.floor(worst * longest + 1e-9))
            if _apart(marks[row, 0], marks[row, 1], marks[other, 0], marks[other, 1]) > most:
                continue
            if size <= 64:
                edits = _by_bits(bits, size, codes, low, high, most)
            else:
                edits = _by_table(own, codes[low:high], most, above, current)
            distance = edits / longest
            if edits > most or (held == k and distance == worst and other > ids[row, k - 1]) or distance > worst:
                continue
            at = min(held, k - 1)
            while at > 0 and (
                far[row, at - 1] > distance or (far[row, at - 1] == distance and ids[row, at - 1] > other)
            ):
                far[row, at], ids[row, at] = far[row, at - 1], ids[row, at - 1]
                at -= 1
            far[row, at], ids[row, at] = distance, other
            held = min(held + 1, k)
        if size <= 64:
            for i in range(size):
                bits[own[i]] = np.uint64(0)
        for i in range(barred_offsets[row], barred_offsets[row + 1]):
            out[barred[i]] = 0


@compiled()
def _apart(one, one_more, other, other_more):  # type: ignore[no-untyped-def]
    """No fewer edits than this: letters that the one name has more of, or the other, each counted to 4."""
    more = _ones(one & ~other) + _ones(one_more & ~other_more)
    less = _ones(other & ~one) + _ones(other_more & ~one_more)
    return max(more, less)


@compiled()
def _ones(word):  # type: ignore[no-untyped-def]
    """Bits that are set in 64."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled()
def _by_bits(bits, size, codes, low, high, most):  # type: ignore[no-untyped-def]
    """Edits from a name of at most 64 letters, given as the bits of each letter; anything above `most` may come out."""
    one = np.uint64(1)
    rises = ~np.uint64(0) if size == 64 else (one << np.uint64(size)) - one
    falls = np.uint64(0)
    last = one << np.uint64(size - 1)
    edits, left = size, high - low
    for at in range(low, high):
        same = bits[codes[at]]
        vertical = same | falls
        diagonal = (((same & rises) + rises) ^ rises) | same
        up = falls | ~(diagonal | rises)
        down = rises & diagonal
        left -= 1
        if up & last:
            edits += 1
        elif down & last:
            edits -= 1
        if edits - left > most:
            return edits
        up = (up << one) | one
        down = down << one
        rises = down | ~(vertical | up)
        falls = up & vertical
    return edits


@compiled()
def _by_table(one, other, most, above, current):  # type: ignore[no-untyped-def]
    """Edits by the whole table, row by row: for names of more than 64 letters; stops above `most`."""
    for j in range(len(other) + 1):
        above[j] = j
    for i in range(len(one)):
        current[0] = i + 1
        least = i + 1
        for j in range(len(other)):
            cost = above[j] + (0 if one[i] == other[j] else 1)
            cost = min(cost, above[j + 1] + 1, current[j] + 1)
            current[j + 1] = cost
            least = min(least, cost)
        if least > most:
            return least
        above, current = current, above
    return above[len(other)]
