"""How much of their text two texts share: Jaccard similarity of their runs of letters, computed, not sketched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from litotes.data.anchors import normalise

_REMEMBERED = 1 << 15
_MULTIPLIERS = np.random.default_rng(20_240_229).integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def shingles(text: str, length: int = 5) -> np.ndarray:
    """Hashes of all runs of `length` characters of the normalised text, each once, ascending: uint64.

    A text that is shorter is one run. Two runs share a hash by chance about once in 10^19.
    """
    points = np.frombuffer(normalise(text).encode("utf-32-le"), "<u4").astype(np.uint64) + np.uint64(1)
    if len(points) < length:
        points = np.pad(points, (0, length - len(points)))
    hashes = np.zeros(len(points) - length + 1, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(length):
            hashes += points[offset : offset + len(hashes)] * _MULTIPLIERS[offset]
            hashes ^= hashes >> np.uint64(31)
            hashes *= np.uint64(0x9E3779B97F4A7C15)
    return np.unique(hashes)


class Closeness:
    """Jaccard similarity of pairs of texts from two lists.

    Args:
        left, right: texts, read when they are needed.
        length: characters per run, 1 to 64.
    """

    def __init__(self, left: Sequence[str], right: Sequence[str], length: int = 5):
        if not 1 <= length <= len(_MULTIPLIERS):
            raise ValueError(f"Closeness: length must be in [1, {len(_MULTIPLIERS)}], got {length!r}")
        self._left = lru_cache(_REMEMBERED)(lambda row: shingles(left[row], length))
        self._right = self._left if right is left else lru_cache(_REMEMBERED)(lambda row: shingles(right[row], length))
        self._sizes: dict[tuple[str, int], int] = {}

    def above(self, left: np.ndarray, right: np.ndarray, line: float) -> np.ndarray:
        """Similarity of each pair where it is >= line, else 0: float32 [P].

        Pairs whose sets differ too much in size are not compared: J <= smaller / larger.
        """
        out = np.zeros(len(left), np.float32)
        for i, (a, b) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
            sizes = self._size("left", a, self._left), self._size("right", b, self._right)
            if min(sizes) < line * max(sizes):
                continue
            both = len(np.intersect1d(self._left(a), self._right(b), assume_unique=True))
            alike = both / (sum(sizes) - both)
            if alike >= line:
                out[i] = alike
        return out

    def _size(self, side: str, row: int, of: object) -> int:
        size = self._sizes.get((side, row))
        if size is None:
            size = self._sizes[side, row] = len(of(row))  # type: ignore[operator]
        return size
