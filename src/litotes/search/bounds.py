"""How far a score from low-precision vectors may lie from the score itself: computed in float64, rounded up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from litotes.search.definition import gamma

Precision = Literal["bfloat16", "float32"]

_UP = 1 + 1e-9  # more than all float64 rounding in this file
_SMALLEST = 2.0**-126  # below it low precision loses digits, or is flushed to zero
_LARGEST = (1 - 2.0**-20) * float(np.finfo(np.float32).max)  # above it a score may round to infinity
_WIDE = 32  # depth of products is a multiple of this


@dataclass(frozen=True, eq=False)
class Bounds:
    """The scan of one search: what is multiplied, and how far from the truth the products may be.

    Both sides are scaled so that nothing overflows: cosine divides by the norms, dot and l2 multiply by powers of two
    (one per query and one for the corpus; for l2 one for both). With q', x' the scaled vectors, the scan looks for

        cosine   s = q'.x'                 score = s
        dot      s = q'.x'                 score = unit * s
        l2       s = q'.x' - |x'|^2 / 2    score = unit * (2 s - |q'|^2)

    where -|x'|^2 / 2 is carried by further columns, in as many pieces as it takes to hold it. Rounded to q^, x^, and
    multiplied on a device whose sums err by gamma, a pair's scan score v satisfies

        |v - s| <= |q'| |x' - x^|  +  |x^| |q' - q^|                  inputs in low precision (Cauchy-Schwarz)
                 + gamma (|q^| |x^| + |x'|^2 / 2 for l2)              products and sums of the device
                 + output |v|                                         rounding of the product to bfloat16
                 + (4 depth + 8) 2^-126                               denormals that the device takes for zero
                 + 2^-23 |score| / unit + 2^-148 / unit               the definition's own rounding to float32

    The last line makes a difference of bounds a difference of scores in float32, so that ties are never cut off.
    `output` is 2^-8 for bfloat16 products and 0 for float32. gamma(n, u) = n u / (1 - n u) is

        CPU, float32       gamma(depth, 2^-24)       any order, fused or not (oneDNN, MKL, OpenBLAS)
        CPU, bfloat16      gamma(depth, 2^-23)       sums in float32 (oneDNN; AVX512-BF16 and AMX round to nearest with
                                                     2^-24, Arm's BFMMLA rounds to odd with 2^-23)
        CUDA, float32      gamma(depth, 2^-24)       TF32 off
        CUDA, bfloat16     gamma(2 depth, 2^-23)     tensor cores cut sums off instead of rounding them, a block of
                                                     products against its largest; reduced-precision reductions off

    Args:
        similarity: "cosine", "dot" or "l2".
        dimensions: D.
        precision: "bfloat16" or "float32", of the vectors that are multiplied.
        accumulation: gamma.
        output: relative rounding of a product on its way out.
        query_norms: float64 [Q], by the definition.
        query_powers: integer [Q]; queries are multiplied by 2^-power (not for cosine).
        corpus_power: integer, likewise.
    Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1; M. Fasi et al.,
        Numerical behavior of NVIDIA tensor cores (PeerJ Computer Science 7:e330) for CUDA.
    """

    similarity: str
    dimensions: int
    precision: Precision
    accumulation: float
    output: float
    query_norms: np.ndarray
    query_powers: np.ndarray
    corpus_power: int

    @classmethod
    def of(
        cls,
        similarity: str,
        dimensions: int,
        precision: Precision,
        device: str,
        query_norms: np.ndarray,
        longest: float,
    ) -> Bounds:
        """Bounds for queries of these norms and documents no longer than `longest`, multiplied on a device.

        Raises:
            ValueError: there is no bound for this kind of device.
        """
        kind = device.split(":")[0]
        depth = _depth(dimensions, _pieces(similarity, precision))
        sums = {
            ("cpu", "float32"): (depth, 2.0**-24),
            ("cpu", "bfloat16"): (depth, 2.0**-23),
            ("cuda", "float32"): (depth, 2.0**-24),
            ("cuda", "bfloat16"): (2 * depth, 2.0**-23),
        }
        if (kind, precision) not in sums:
            raise ValueError(
                f"top_k: device must be 'cpu' or 'cuda' (no error bound is known of others), got {device!r}"
            )
        query_powers, corpus_power = _powers(query_norms), int(np.frexp(longest)[1])
        if similarity == "cosine":
            query_powers, corpus_power = np.zeros_like(query_powers), 0
        elif similarity == "l2":
            corpus_power = max(corpus_power, int(query_powers.max(initial=corpus_power)))
            query_powers = np.full_like(query_powers, corpus_power)
        output = 2.0**-8 if precision == "bfloat16" else 0.0
        accumulation = gamma(*sums[kind, precision])
        return cls(similarity, dimensions, precision, accumulation, output, query_norms, query_powers, corpus_power)

    @property
    def pieces(self) -> int:
        """Columns after the dimensions that carry -|x'|^2 / 2: three bfloat16 or two float32 hold it to 2^-24."""
        return _pieces(self.similarity, self.precision)

    @property
    def depth(self) -> int:
        """Columns of what is multiplied, those of zeros at the end included."""
        return _depth(self.dimensions, self.pieces)

    def query_factors(self, rows: slice) -> np.ndarray:
        """What queries are multiplied by, float64 [n]."""
        return self._factors(self.query_norms[rows], self.query_powers[rows])

    def document_factors(self, norms: np.ndarray) -> np.ndarray:
        """What documents of these norms are multiplied by, float64 [n]."""
        return self._factors(norms, self.corpus_power)

    def halves(self, norms: np.ndarray) -> np.ndarray:
        """-|x'|^2 / 2 of documents of these norms, float64 [n]; looked at for l2 only."""
        return -0.5 * np.ldexp(norms, -self.corpus_power) ** 2

    def query_terms(self, rows: slice | np.ndarray, errors: np.ndarray) -> np.ndarray:
        """What the bound needs of queries whose rounding took vectors of length `errors`. float64 [n, 7]:

        0: |q'|; 1: factor of |x^|; 2: constant; 3, 4: the best line below and above which float32 overflows;
        5: 1 / unit; 6: 2^-power of the corpus. A pair's bound is (0) |x' - x^| + (1) |x^| + (2) + a document's own.
        """
        norms, powers = self.query_norms[rows], self.query_powers[rows]
        length = (norms > 0) * 1.0 if self.similarity == "cosine" else np.ldexp(norms, -powers)
        per_unit = np.ldexp(1.0, -(powers + self.corpus_power))
        terms = np.empty((len(norms), 7))
        terms[:, 0] = length * _UP
        terms[:, 1] = (errors + self.accumulation * (length + errors) + 2.0**-22 * length) * _UP
        terms[:, 2] = (4 * self.depth + 8) * _SMALLEST + np.ldexp(per_unit, -147)
        with np.errstate(over="ignore"):
            if self.similarity == "l2":
                terms[:, 2] += 2.0**-22 * length**2
                terms[:, 3], terms[:, 4] = 0.5 * (length**2 * _UP - _LARGEST * per_unit), np.inf
            else:
                terms[:, 3], terms[:, 4] = -_LARGEST * per_unit, _LARGEST * per_unit
        terms[:, 5], terms[:, 6] = per_unit, np.ldexp(1.0, -self.corpus_power)
        return terms

    def document_terms(self, norms: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """What the bound needs of documents: |x' - x^|, |x^| and a summand of their own. float64 [n, 3]."""
        length = (norms > 0) * 1.0 if self.similarity == "cosine" else np.ldexp(norms, -self.corpus_power)
        terms = np.empty((len(norms), 3))
        terms[:, 0], terms[:, 1], terms[:, 2] = errors * _UP, (length + errors) * _UP, 0.0
        if self.similarity == "l2":
            terms[:, 2] = (0.51 * self.accumulation + 2.0**-21) * length**2
        return terms

    def around(self, scores: np.ndarray, queries: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of s for pairs whose score is known: (least, most), float64 [n, w].

        In:   scores float32 [n, w] by the definition; queries integer [n]; norms of the documents float64 [n, w].
        """
        terms = self.query_terms(queries, np.zeros(len(queries)))[:, :, None]
        length = (norms > 0) * 1.0 if self.similarity == "cosine" else norms * terms[:, 6]
        near = scores.astype(np.float64) * terms[:, 5]
        if self.similarity == "l2":
            near = 0.5 * (terms[:, 0] ** 2 + near)
        error = 2.0**-22 * (terms[:, 0] * length + length**2) + terms[:, 2]
        return near - error, np.maximum(near + error, -1e300)  # a score may be infinite; a bound above it is a number

    def _factors(self, norms: np.ndarray, power: np.ndarray | int) -> np.ndarray:
        if self.similarity == "cosine":
            return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        return np.broadcast_to(np.ldexp(1.0, -np.asarray(power)), norms.shape).copy()


def _pieces(similarity: str, precision: str) -> int:
    return 0 if similarity != "l2" else 3 if precision == "bfloat16" else 2


def _depth(dimensions: int, pieces: int) -> int:
    return -(-(dimensions + pieces) // _WIDE) * _WIDE


def _powers(norms: np.ndarray) -> np.ndarray:
    """The powers of two that bring vectors to a length in [0.5, 1)."""
    return np.frexp(norms)[1].astype(np.int64)
