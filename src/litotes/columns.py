"""New columns for a batch: how a source joins candidates to those that are there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from litotes.batch import SignedBatch

_KNOWN = {"side": 0, "role": -1, "of": -1, "id": -1}  # what a column is unless its source says more


def append_shared(
    batch: SignedBatch,
    candidates: Tensor,
    sign: Tensor,
    weight: Tensor | None = None,
    *,
    columns: Mapping[str, Tensor] | None = None,
    part: str,
) -> SignedBatch:
    """The batch with K more columns that every row sees; own columns stay behind them.

    Scores of own columns are let go, for they would lie in the wrong place; those of the shared columns stay. Extras
    of pairs are NaN (float) or 0 for new columns. Of the extras of columns, "side", "role", "of" and "id" have values
    for a column that nobody brought (0, -1, -1, -1); others must be given.

    Args:
        candidates: [K, D]. sign: int8 [B, K]. weight: [B, K]; None = 1.
        columns: extras of the new columns, [K] each.
        part: who appends, for messages.
    Raises:
        ValueError: an extra of the columns is neither known nor given.
    """
    at, given = batch.shared, dict(columns or {})
    weight = torch.ones_like(sign, dtype=batch.weight.dtype) if weight is None else weight.to(batch.weight.dtype)
    known = batch.candidates
    scores = batch.scores
    return batch.replace(
        scores=None if scores is None or not at else scores[:, :at],
        candidates=candidates if known is None else torch.cat([known, candidates.to(known.dtype)]),
        sign=_insert(batch.sign, at, sign),
        weight=_insert(batch.weight, at, weight),
        columns=_extras(batch, at, len(candidates), given, part, own=False),
        pairs={name: _insert(value, at, _unknown(value, sign)) for name, value in batch.pairs.items()},
    )


def append_own(
    batch: SignedBatch,
    own: Tensor,
    sign: Tensor,
    weight: Tensor | None = None,
    *,
    columns: Mapping[str, Tensor] | None = None,
    part: str,
) -> SignedBatch:
    """The batch with K more columns that only their own row sees, behind all others. Scores that are there stay.

    Args:
        own: [B, K, D]. sign: int8 [B, K]. weight: [B, K]; None = 1.
        columns, part: as in `append_shared`.
    Raises:
        ValueError: an extra of the columns is neither known nor given.
    """
    at, given = batch.sign.shape[1], dict(columns or {})
    weight = torch.ones_like(sign, dtype=batch.weight.dtype) if weight is None else weight.to(batch.weight.dtype)
    return batch.replace(
        own=own if batch.own is None else torch.cat([batch.own, own.to(batch.own.dtype)], dim=1),
        sign=_insert(batch.sign, at, sign),
        weight=_insert(batch.weight, at, weight),
        columns=_extras(batch, at, own.shape[1], given, part, own=True),
        pairs={name: _insert(value, at, _unknown(value, sign)) for name, value in batch.pairs.items()},
    )


def _extras(
    batch: SignedBatch, at: int, count: int, given: Mapping[str, Tensor], part: str, own: bool
) -> dict[str, Tensor]:
    made = {}
    for name, value in batch.columns.items():
        if own and len(value) == batch.shared and name not in given:
            made[name] = value  # it speaks of shared columns only, and may go on to do so
            continue
        if name not in given and name not in _KNOWN:
            raise ValueError(f"{part}: columns has {name!r}, which the new columns lack")
        new = given[name].to(value.dtype) if name in given else value.new_full((count,), _KNOWN[name])
        made[name] = torch.cat([value[:at], new, value[at:]])
    for name, value in given.items():
        if name in _KNOWN and name not in batch.columns:
            device = batch.sign.device
            before = torch.full((batch.sign.shape[1],), _KNOWN[name], dtype=value.dtype, device=device)
            made[name] = torch.cat([before[:at], value, before[at:]])
    return made


def _insert(value: Tensor, at: int, block: Tensor) -> Tensor:
    return torch.cat([value[:, :at], block.to(value.dtype), value[:, at:]], dim=1)


def _unknown(value: Tensor, sign: Tensor) -> Tensor:
    return value.new_full(tuple(sign.shape), torch.nan if value.is_floating_point() else 0)
