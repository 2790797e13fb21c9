"""Near-duplicates: which rows hang together by similarities at or above a threshold, none of them overlooked."""

from __future__ import annotations

import math

import numpy as np

from litotes.search.definition import check_similarity, check_vectors
from litotes.search.exact import top_k
from litotes.search.mask import Mask
from litotes.search.norms import norms


def labels(left: np.ndarray, right: np.ndarray, rows: int) -> np.ndarray:
    """Connected components of an undirected graph, edges (left[e], right[e]): int32 [rows], the lowest row of each."""
    from scipy import sparse

    graph = sparse.coo_array((np.ones(len(left), np.int8), (left, right)), shape=(rows, rows))
    count, component = sparse.csgraph.connected_components(graph, directed=False)
    lowest = np.full(count, rows, np.int64)
    np.minimum.at(lowest, component, np.arange(rows))
    return lowest[component].astype(np.int32)


def near_duplicates(
    vectors: np.ndarray, threshold: float, *, similarity: str = "cosine", at_once: int = 16
) -> np.ndarray:
    """Components of the graph that joins every two rows whose similarity is >= threshold, by the definition.

    The whole graph counts, not a few neighbours of each row, yet it is never formed. Each row is asked for its
    `at_once` nearest; those at or above the threshold are joined. A row whose last answer is below it has no further
    edge. The others are asked again for their nearest outside of their own component, until there is none. So every
    edge is either seen or runs inside a component.

    In:   float32 [N, D]; may be memory-mapped.
    Out:  int32 [N]: the lowest row of each row's component; a row without a near-duplicate stands alone.
    Cost: one exact self-join of depth `at_once`, and a search of those rows that have more near-duplicates, once or a
          few times. Memory O(N at_once).

    Args:
        threshold: finite; for cosine in [-1, 1], for l2 minus the squared distance, <= 0. Compared in float32.
        similarity: "cosine", "dot" or "l2".
        at_once: >= 1.
    Raises:
        ValueError: an argument is out of range.
        BadInput: the vectors are no float32 matrix, or hold NaN or infinity.
    """
    check_similarity("near_duplicates", similarity)
    check_vectors(vectors, "vectors")
    low, high = {"cosine": (-1.0, 1.0), "dot": (-math.inf, math.inf), "l2": (-math.inf, 0.0)}[similarity]
    if not (math.isfinite(threshold) and low <= threshold <= high):
        range_ = "finite" if similarity == "dot" else f"in [{low:g}, {high:g}] for {similarity}"
        raise ValueError(f"near_duplicates: threshold must be {range_}, got {threshold!r}")
    if not (isinstance(at_once, (int, np.integer)) and at_once >= 1):
        raise ValueError(f"near_duplicates: at_once must be a whole number >= 1, got {at_once!r}")
    rows, count, line = np.arange(len(vectors)), len(vectors), np.float32(threshold)
    component, lengths = rows.astype(np.int64), norms(vectors)
    while len(rows):
        mask = Mask.of(len(rows), count, groups=(component[rows], component))
        # rows as they lie need no copy: a memory-mapped corpus is then never in memory as a whole
        asking = vectors if len(rows) == count else vectors[rows]
        ids, scores = top_k(
            asking,
            vectors,
            int(at_once),
            similarity=similarity,
            mask=mask,
            query_norms=lengths[rows],
            corpus_norms=lengths,
        )
        near = (ids >= 0) & (scores >= line)
        joined = labels(
            np.concatenate([component, np.repeat(rows, near.sum(axis=1))]),
            np.concatenate([np.arange(count), ids[near]]),
            count,
        )
        component, rows = joined.astype(np.int64), rows[near[:, -1]]
    return component.astype(np.int32)
