"""Norms of many vectors: those of the definition, formed by compiled loops where that is faster."""

from __future__ import annotations

import sys

import numpy as np

from litotes.search import definition

_WORTH_LOADING = 2e8  # numbers; below, NumPy is done before the compiled loops are loaded (0.6 s)


def norms(vectors: np.ndarray, threads: int | None = None) -> np.ndarray:
    """`definition.norms`, bit for bit. float32 [N, D] -> float64 [N].

    In:   any vectors; memory-mapped ones are read in blocks, and so are those that do not lie row behind row.
    Cost: one pass. Seven times the speed of NumPy once the compiled loops are loaded, which happens for large inputs.

    Args:
        threads: >= 1; None = as many as torch uses.
    """
    there = vectors.size >= _WORTH_LOADING or "litotes.search.kernels" in sys.modules
    if not (there and vectors.flags.c_contiguous and vectors.flags.aligned):
        return definition.norms(vectors)
    import torch

    from litotes.search import compiled

    return compiled.norms(vectors, torch.get_num_threads() if threads is None else threads)
