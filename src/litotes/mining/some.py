"""Some of the anchors of a split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from litotes.data.anchors import Anchors, Csr


def anchors_at(anchors: Anchors, places: np.ndarray) -> Anchors:
    """The anchors at these places, in that order."""
    positives, judged, excluded = (
        rows_at(csr, places) for csr in (anchors.positives, anchors.judged, anchors.excluded)
    )
    return replace(anchors, query=anchors.query[places], positives=positives, judged=judged, excluded=excluded)


def rows_at(csr: Csr, places: np.ndarray) -> Csr:
    """These rows of a ragged array, in that order."""
    sizes = np.diff(csr.offsets)[places]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    where = np.arange(offsets[-1]) + np.repeat(csr.offsets[:-1][places] - offsets[:-1], sizes)
    return Csr(offsets, csr.items[where])
