"""Which rows a step sees: whole passes in drawn order, one behind the other, as a function of the step's number."""

from __future__ import annotations

import numpy as np


def rows_of_step(step: int, size: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [size] of a step and the pass (epoch) in which each stands; passes follow one another without a gap.

    A pass is a permutation of all rows, drawn from (seed, pass). So every row comes once before any comes again, and
    step n can be formed without the steps before it.

    Args:
        step: from 0. size: rows in a step, >= 1. rows: how many there are, >= 1. seed: of the permutations, >= 0.
    """
    if not (size >= 1 and rows >= 1):
        raise ValueError(f"rows_of_step: size and rows must be >= 1, got {size!r} and {rows!r}")
    place = np.arange(step * size, (step + 1) * size)
    epoch, within = place // rows, place % rows
    chosen = np.empty(size, np.int64)
    for one in range(int(epoch[0]), int(epoch[-1]) + 1):
        here = epoch == one
        chosen[here] = np.random.default_rng([seed, one]).permutation(rows)[within[here]]
    return chosen, epoch
