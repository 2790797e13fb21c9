"""NearDuplicate: a slightly changed copy of a positive, or of the query itself, is no negative."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.anchors import normalise
from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.evidence.table import codes
from litotes.extras import need
from litotes.spelling import spell
from litotes.vetting.lines import at_rows, check_collection, pairs_of

_CHUNK = 1 << 15
_CERTAINTY = 4.0  # standard deviations of the estimate: a pair at the threshold is missed about once in 30,000


@dataclass(frozen=True)
class NearDuplicate:
    """Take the weight away from negatives that share most of their text with a positive of their anchor, or the query.

    Edited copies, other cuts of one page, boilerplate with a new date: near copies of an answer are answers as a rule.
    With S(x) the set of all runs of `shingle` characters of the normalised text (the text itself where it is shorter),

        J(x, y) = |S(x) and S(y)| / |S(x) or S(y)|          a negative is doubted when J >= threshold

    for y any positive of its anchor, or the query. MinHash proposes the pairs, at 4 standard deviations below the
    threshold; J itself, over the true sets, decides. So no doubt is wrong, and about one pair in 30,000 exactly at the
    threshold is missed, fewer above it. Rows with a grade are left alone.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: the highest J and the
          threshold.
    Cost: about 0.3 ms per text, O(permutations) per compared pair, and the sets of the proposed pairs.
          All rows of an anchor must come in one call.

    Args:
        threshold: Jaccard similarity from which two texts count as copies, in (0, 1].
        shingle: characters per shingle, >= 1.
        permutations: length of a MinHash signature, >= 16.
        seed: of the permutations; in [0, 2^32).
    Raises:
        ValueError: an argument is out of range, or there is no collection.
    Source: On the resemblance and containment of documents (Broder 1997); through datasketch.
    """

    threshold: float = 0.8
    shingle: int = 5
    permutations: int = 128
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"NearDuplicate: threshold must be in (0, 1], got {self.threshold!r}")
        for name, value, least in (("shingle", self.shingle, 1), ("permutations", self.permutations, 16)):
            if not value >= least:
                raise ValueError(f"NearDuplicate: {name} must be >= {least}, got {value!r}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"NearDuplicate: seed must be in [0, 2^32), got {self.seed!r}")

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        return self.prepare(collection)(evidence)

    def prepare(self, collection: Collection | None, cache: str | Path | None = None) -> Callable[[pa.Table], pa.Table]:
        """The same vetter over one collection, for many tables: a text is signed once. `cache` is not used."""
        check_collection(collection, "NearDuplicate")
        assert collection is not None
        texts = [*collection.document_texts(), *collection.query_texts()]
        first_query = len(collection.corpus)
        signatures = _Signatures(texts, self.shingle, self.permutations, self.seed)

        def vet(evidence: pa.Table) -> pa.Table:
            check(evidence)
            query, document = pairs_of(evidence, collection, "NearDuplicate")
            row, other = _compared(evidence, document.astype(np.int64), query.astype(np.int64) + first_query)
            mine = document.astype(np.int64)[row]
            pairs, place = np.unique(mine * len(texts) + other, return_inverse=True)
            alike = signatures.alike(pairs // len(texts), pairs % len(texts), self.threshold)[place]
            highest = np.full(len(evidence), -1.0)
            np.maximum.at(highest, row, alike)
            copies = highest >= self.threshold
            seen = at_rows(highest[copies].astype(np.float32), np.flatnonzero(copies), len(evidence))
            return doubt(evidence, pa.array(copies), belief=0.0, part=str(self), seen=seen, line=self.threshold)

        return vet

    def __str__(self) -> str:
        return spell(self)


class _Signatures:
    """Signatures of texts, made when first asked for."""

    def __init__(self, texts: list[str], shingle: int, permutations: int, seed: int):
        self.texts, self.shingle, self.permutations, self.seed = texts, shingle, permutations, seed
        self.place = np.full(len(texts), -1, np.int64)
        self.made: list[np.ndarray] = []

    def alike(self, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
        """Jaccard similarity of pairs of texts, float64; -1 where MinHash finds it safely under the threshold."""
        self._sign(np.union1d(left, right))
        table = np.stack(self.made) if self.made else np.empty((0, self.permutations))
        spread = math.sqrt(threshold * (1 - threshold) / self.permutations)
        out = np.full(len(left), -1.0)
        for low in range(0, len(left), _CHUNK):
            span = slice(low, low + _CHUNK)
            shared = (table[self.place[left[span]]] == table[self.place[right[span]]]).mean(axis=1)
            for i in low + np.flatnonzero(shared >= threshold - _CERTAINTY * spread - 1e-9):
                out[i] = self._jaccard(left[i], right[i])
        return out

    def _sign(self, rows: np.ndarray) -> None:
        datasketch = need("datasketch", extra="duplicates", why="NearDuplicate")

        for row in rows[self.place[rows] < 0]:
            values = _hashes(normalise(self.texts[row]), self.shingle)
            signature = datasketch.MinHash(self.permutations, seed=self.seed, hashfunc=int)
            signature.update_batch(values.tolist())
            self.place[row] = len(self.made)
            self.made.append(signature.hashvalues)

    def _jaccard(self, left: int, right: int) -> float:
        a, b = (_shingles(normalise(self.texts[row]), self.shingle) for row in (left, right))
        both = len(a & b)
        return both / (len(a) + len(b) - both)


def _shingles(text: str, length: int) -> set[str]:
    return {text[i : i + length] for i in range(max(len(text) - length, 0) + 1)}


def _hashes(text: str, length: int) -> np.ndarray:
    """32-bit hashes of the shingles of a text, each once."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64)
    count = max(len(points) - length, 0) + 1
    mixed = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(min(length, len(points))):
            mixed = (mixed ^ points[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed >> np.uint64(32))


def _compared(evidence: pa.Table, document: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All comparisons: (row of an ungraded negative, text of a positive of its anchor or of its query)."""
    sign, anchor = evidence["sign"].to_numpy(), codes(evidence["anchor"])
    negatives = np.flatnonzero((sign < 0) & evidence["grade"].is_null().to_numpy())
    positives = np.flatnonzero(sign > 0)
    positives = positives[np.argsort(anchor[positives], kind="stable")]
    start = np.searchsorted(anchor[positives], anchor[negatives])
    count = np.searchsorted(anchor[positives], anchor[negatives], side="right") - start
    row = np.repeat(negatives, count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    other = document[positives[np.repeat(start, count) + within]]
    return np.concatenate([row, negatives]), np.concatenate([other, query[negatives]])
