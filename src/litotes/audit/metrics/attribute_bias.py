"""attribute_bias: how often a ranking begins with the wrong kind of document."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def attribute_bias(ranked: ArrayLike, attribute: ArrayLike, desired: ArrayLike, k: int = 1) -> float:
    """The share of queries whose k best documents hold one of another attribute than the wanted one.

    A retriever that is asked for an image and answers with its caption is right about the content and wrong about the
    wish; no measure of relevance tells the two faults apart. 0 where there is one kind only.

    In:   ranked integers [Q, R], rows of documents, best first, -1 = none; attribute [N] and desired [Q], values of any
          one type. Documents behind the first k are not read.
    Out:  in [0, 1].

    Args:
        k: how far down, in [1, R].
    Raises:
        ValueError: k is out of range, there is no query, or the lengths do not fit.
    Source: MM-Embed (arXiv:2411.02571): the modality bias of section 3, as a number.
    """
    lists, kinds, wanted = np.asarray(ranked), np.asarray(attribute), np.asarray(desired)
    if lists.ndim != 2 or not len(lists) or len(wanted) != len(lists):
        raise ValueError(
            f"attribute_bias: ranked must be [Q, R] with one desired value per query, Q >= 1, "
            f"got {list(lists.shape)} and {len(wanted)}"
        )
    if not 1 <= k <= lists.shape[1]:
        raise ValueError(f"attribute_bias: k must be in [1, {lists.shape[1]}], got {k!r}")
    if lists.max() >= len(kinds):
        raise ValueError(f"attribute_bias: ranked must be rows in [0, {len(kinds)}), got {lists.max()}")
    top = lists[:, :k]
    wrong = (top >= 0) & (kinds[top] != wanted[:, None])
    return float(wrong.any(axis=1).mean())


modality_bias = attribute_bias
