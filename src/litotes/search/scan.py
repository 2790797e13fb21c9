"""A fast scan whose error is known: float32 products in blocks, and a floor below which nothing can matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from litotes.search.definition import gamma

_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-126  # below it float32 loses digits, or is flushed to zero


class Float32Scan:
    """Approximate scores of queries against blocks of a corpus, each within a bound of the definition.

    What is scanned has no power of two in it that could overflow: both sides are scaled by powers of two (exact), or
    normalised (cosine). With q', x' the scaled vectors, scan score and true score are

        cosine   s = q'.x'                 score = s
        dot      s = q'.x'                 score = unit * s
        l2       s = q'.x' - |x'|^2 / 2    score = 2 unit s - |q|^2

    and whatever the order of summation, fused multiply-adds included, |fl(s) - s| <= E with

        E = gamma(D + 4) * size + 4 D 2^-126,   gamma(n) = n u / (1 - n u), u = 2^-24

    where size bounds sum |q'_d x'_d| by |q'| max|x'| (plus max|x'|^2 / 2 for l2; 1 for cosine). D products and D - 1
    sums cost gamma(D); the 4 covers rounding of normalised entries, of the bias and of its addition; the last term is
    what underflow or flushing to zero can take. TF32 and other reduced products must be off while `scores` runs.

    In:   queries float32 [Q, D], corpus float32 [N, D] (may be memory-mapped, read by blocks), their float64 norms.
    Cost: a scaled copy of the queries; one block of the corpus at a time.
    Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1.
    """

    def __init__(
        self,
        queries: np.ndarray,
        corpus: np.ndarray,
        similarity: str,
        query_norms: np.ndarray,
        corpus_norms: np.ndarray,
        device: str = "cpu",
    ):
        self.corpus, self.similarity, self.device = corpus, similarity, device
        self.corpus_norms = corpus_norms
        dimensions = corpus.shape[1]
        largest = float(corpus_norms.max(initial=0.0))
        if similarity == "cosine":
            self._query_power, self._corpus_power = 0, 0
            size = np.ones(len(queries))
            self._unit, self._shift = 1.0, np.zeros(len(queries))
        else:
            query_power, corpus_power = _power(query_norms), _power(corpus_norms)
            if similarity == "l2":
                query_power = corpus_power = max(query_power, corpus_power)
            self._query_power, self._corpus_power = query_power, corpus_power
            size = np.ldexp(query_norms, -query_power) * np.ldexp(largest, -corpus_power)
            self._unit, self._shift = float(np.ldexp(1.0, query_power + corpus_power)), np.zeros(len(queries))
            if similarity == "l2":
                size = size + 0.5 * np.ldexp(largest, -corpus_power) ** 2
                self._unit, self._shift = 2 * self._unit, -(query_norms**2)
        self.error = gamma(dimensions + 4, _ROUNDOFF) * size * (1 + 1e-6) + 4 * dimensions * _SMALLEST
        # float64 rounding of the definition itself, of the norms and of `floor`: far below the float32 error
        self._rest = 8 * gamma(dimensions + 8, 2.0**-53) * (np.abs(self._shift) + self._unit * size)
        self.queries = self._tensor(self._scaled(queries, query_norms, self._query_power))

    def block(self, rows: slice) -> Any:
        """One block of the corpus, ready for `scores`: (vectors [b, D], bias [b] or None)."""
        vectors = self._scaled(self.corpus[rows], self.corpus_norms[rows], self._corpus_power)
        bias = None
        if self.similarity == "l2":
            bias = self._tensor((-0.5 * np.ldexp(self.corpus_norms[rows], -self._corpus_power) ** 2).astype(np.float32))
        return self._tensor(vectors), bias

    def scores(self, queries: Any, block: Any) -> Any:
        """Scan scores float32 [n, b] of `queries` (rows: a slice or an index tensor) against a block."""
        import torch

        vectors, bias = block
        if bias is None:
            return self.queries[queries] @ vectors.T
        return torch.addmm(bias, self.queries[queries], vectors.T)

    def floor(self, lowest: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A scan score per query below which no document can reach the definition score `lowest`.

        In:   lowest float32 [n] (-inf: anything may), rows int [n]: which queries.
        Out:  float32 [n]. A scan score strictly under it means: definition score strictly under `lowest`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            under = np.nextafter(lowest, np.float32(-np.inf)).astype(np.float64)
            shift, rest = self._shift[rows], self._rest[rows]
            floor = (under - shift - rest) / self._unit - self.error[rows]
            floor -= 1e-12 * (np.abs(floor) + (np.abs(under) + np.abs(shift)) / self._unit)
            floor = np.where(np.isfinite(under), floor, -np.inf)
            return np.nextafter(floor.astype(np.float32), np.float32(-np.inf))

    def _scaled(self, vectors: np.ndarray, norms: np.ndarray, power: int) -> np.ndarray:
        if self.similarity == "cosine":
            safe = np.where(norms > 0, norms, 1.0)
            return (vectors / safe[:, None]).astype(np.float32)
        return np.ldexp(vectors, -power) if power else np.ascontiguousarray(vectors)

    def _tensor(self, array: np.ndarray) -> Any:
        import torch

        array = np.array(array) if not array.flags.writeable else array
        return torch.from_numpy(array).to(self.device)


def _power(norms: np.ndarray) -> int:
    """The power of two that brings the longest vector to a length in [0.5, 1)."""
    return int(np.frexp(norms.max(initial=0.0))[1])
