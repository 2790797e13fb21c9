"""Which texts share a batch: as many of one length as the token budget allows, so that little is padded."""

from __future__ import annotations

import numpy as np


def batch_plan(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Batches of rows, shortest first, none with more than `budget` padded tokens unless one text alone has more.

    Rows are sorted by length (ties: as they came). A batch ends where the next row would break the budget, or where
    the length changes and at least a quarter of the budget is used: a batch of one length has no padding, but a batch
    for every rare length would be small and slow.

    In:   lengths integer [n], in tokens.
    Out:  rows of each batch, int64; together every row once. It depends on lengths and budget only.

    Args:
        budget: padded tokens a batch may hold, >= 1.
    """
    if not budget >= 1:
        raise ValueError(f"batch_plan: budget must be >= 1, got {budget!r}")
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for place, (longest, last) in enumerate(
        zip(lengths[order].tolist(), lengths[np.roll(order, 1)].tolist(), strict=True)
    ):
        count = place - start
        full = (count + 1) * longest > budget
        if count and (full or (longest != last and count * last >= budget / 4)):
            batches.append(order[start:place])
            start = place
    return [*batches, order[start:]] if len(order) else []


def end_to_end_plan(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Batches of rows that are laid end to end, without padding: as few as next-fit by length gives.

    Rows are sorted by length (ties: as they came); a batch ends where the next row would break the budget.

    In:   lengths integer [n], in tokens.
    Out:  rows of each batch, int64; together every row once. It depends on lengths and budget only.

    Args:
        budget: tokens a batch may hold, >= 1; a single text may have more.
    """
    if not budget >= 1:
        raise ValueError(f"end_to_end_plan: budget must be >= 1, got {budget!r}")
    order = np.argsort(lengths, kind="stable")
    batches, start, held = [], 0, 0
    for place, length in enumerate(lengths[order].tolist()):
        if place > start and held + length > budget:
            batches.append(order[start:place])
            start, held = place, 0
        held += length
    return [*batches, order[start:]] if len(order) else []
