"""What a score is: the one definition that every search, on any device and in any block size, must reproduce."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from litotes.errors import BadInput

SIMILARITIES = ("cosine", "dot", "l2")
_ROUNDOFF = 2.0**-53
_CHUNK = 512  # pairs at a time: [512, 384] in float64 stays in a core's second-level cache


def check_vectors(vectors: np.ndarray, name: str, finite: bool = True) -> None:
    """Refuse anything but a [rows, dimensions] float32 matrix of finite numbers, naming the first bad row.

    Raises:
        BadInput: not an array, not two-dimensional, no dimension, not float32, or a NaN or infinity.
    """
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.shape[1] == 0:
        shape = list(getattr(vectors, "shape", [])) or type(vectors).__name__
        raise BadInput(f"{shape}", "a matrix [rows, dimensions]", field=name)
    if vectors.dtype != np.float32:
        raise BadInput(f"dtype {vectors.dtype}", "float32", field=name)
    for lo in range(0, len(vectors) if finite else 0, 4096):
        fine = np.isfinite(vectors[lo : lo + 4096]).all(axis=1)
        if not fine.all():
            row = lo + int(np.flatnonzero(~fine)[0])
            raise BadInput(f"NaN or infinity in row {row}", "finite numbers", field=name)


def check_similarity(owner: str, similarity: str) -> None:
    """Refuse a similarity that has no definition here."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"{owner}: similarity must be 'cosine', 'dot' or 'l2', got {similarity!r}")


def norms(vectors: np.ndarray) -> np.ndarray:
    """Norms by the definition: squares summed in float64, d = 0..D-1 in sequence. float32 [N, D] -> float64 [N]."""
    squares = np.empty(len(vectors))
    for lo in range(0, len(vectors), 4096):
        wide = np.ascontiguousarray(vectors[lo : lo + 4096].T, dtype=np.float64)
        squares[lo : lo + 4096] = in_sequence(wide, wide)
    return np.sqrt(squares)


def in_sequence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """sum over d of a[d] * b[d], added strictly in the order of d. float64 [D, P], [D, P] -> float64 [P].

    A loop over d, not a reduction: NumPy sums pairwise along an axis that is contiguous in memory.
    """
    total, product = np.zeros(a.shape[1]), np.empty(a.shape[1])
    for left, right in zip(a, b, strict=True):
        np.multiply(left, right, out=product)
        total += product
    return total


def defined(queries: np.ndarray, documents: np.ndarray, similarity: str) -> np.ndarray:
    """Scores of aligned rows by the definition alone. float32 [P, D], [P, D] -> float32 [P]."""
    left, right = (np.ascontiguousarray(side.T, dtype=np.float64) for side in (queries, documents))
    if similarity == "l2":
        difference = left - right
        return _rounded(-in_sequence(difference, difference))
    total = in_sequence(left, right)
    if similarity == "dot":
        return _rounded(total)
    return _rounded(_cosine(total, np.sqrt(in_sequence(left, left)) * np.sqrt(in_sequence(right, right))))


def score_pairs(
    queries: np.ndarray,
    corpus: np.ndarray,
    query_rows: np.ndarray,
    document_rows: np.ndarray,
    similarity: str,
    query_norms: np.ndarray,
    corpus_norms: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Scores of given pairs, bit for bit those of the definition, without summing in sequence wherever that is safe.

        dot    = fl32( sum over d of q_d x_d )             products and sums in float64, d = 0..D-1 in sequence
        cosine = fl32( clip(dot64 / (|q| |x|), -1, 1) )    norms in float64, summed likewise; 0 where a norm is 0
        l2     = fl32( -sum over d of (q_d - x_d)^2 )      likewise; -0 becomes +0 in all three

    A product of two float32 is exact in float64, so two orders of summation differ by at most
    e = 2 gamma(D) |q||x|, gamma(n) = n 2^-53 / (1 - n 2^-53) (for l2: 2 gamma(D) times the sum itself). A fast sum s is
    taken when s - e and s + e round to one float32: all later steps are monotone, so the definition rounds there too.
    The few other pairs are summed in sequence.

    In:   queries float32 [Q, D], corpus float32 [N, D], rows integer [P], norms float64 as `norms` gives them.
    Out:  float32 [P].
    Cost: O(P D) time, O(threads D) extra memory.
    Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, equation 4.4.
    """
    scores = np.empty(len(query_rows), np.float32)
    slack = 2 * gamma(corpus.shape[1], _ROUNDOFF) * (1 + 1e-9)

    def fill(span: slice) -> None:
        rows, columns = query_rows[span], document_rows[span]
        left, right = queries[rows], corpus[columns]
        wide = left.astype(np.float64)
        if similarity == "l2":
            wide -= right
            wide *= wide
            total = -wide.sum(axis=1)
            error = -slack * total
        else:
            wide *= right
            total = wide.sum(axis=1)
            scale = query_norms[rows] * corpus_norms[columns]
            error = slack * scale
        low, high = total - error, total + error
        if similarity == "cosine":
            low, high = _cosine(low, scale), _cosine(high, scale)
        low, high = _rounded(low), _rounded(high)
        unsure = np.flatnonzero(low != high)
        if len(unsure):
            high[unsure] = defined(left[unsure], right[unsure], similarity)
        scores[span] = high

    spans = list(_spans(len(scores), _CHUNK))
    if threads > 1 and len(spans) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, spans))
    else:
        for span in spans:
            fill(span)
    return scores


def gamma(terms: int, roundoff: float) -> float:
    """Higham's gamma(n) = n u / (1 - n u): how far a sum of n rounded products strays, in any order of summation."""
    return terms * roundoff / (1 - terms * roundoff)


def _cosine(total: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.divide(total, scale, out=np.zeros_like(total), where=scale > 0), -1.0, 1.0)


def _rounded(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 a score is infinite, and ties with its like
        return values.astype(np.float32) + np.float32(0)


def _spans(length: int, step: int) -> Iterator[slice]:
    return (slice(lo, min(lo + step, length)) for lo in range(0, length, step))
