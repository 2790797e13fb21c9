"""Objectives made of objectives: both directions, a weighted sum, one part of the columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.chain import Chain
from litotes.objectives.base import Objective
from litotes.spelling import part_name


class Symmetric(Objective):
    """One objective over the rows and one over the columns:

        mean    (1 - share) forward(batch) + share backward(batch.T)
        sum     forward(batch) + backward(batch.T)

    so that an anchor finds its positive among the candidates and a positive its anchor among the anchors. Columns
    without a positive in their column (mined negatives) are rows without a positive in the transpose and cost 0.

    In:   a scored SignedBatch; `own` columns and `common` negatives take part in the forward direction only.
    Out:  scalar.

    Args:
        forward: objective over the rows.
        backward: objective over the columns; None = the same as forward.
        share: of the backward direction, in [0, 1]; "sum" does not read it.
        total: "mean" or "sum".
    Raises:
        ValueError: an argument is out of range, or the batch has columns scored against the positive (side 1).
    Source: Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020), figure 3.
    """

    def __init__(
        self,
        forward: nn.Module,
        backward: nn.Module | None = None,
        share: float = 0.5,
        total: Literal["mean", "sum"] = "mean",
    ):
        super().__init__()
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"Symmetric: share must be in [0, 1], got {share!r}")
        if total not in ("mean", "sum"):
            raise ValueError(f"Symmetric: total must be 'mean' or 'sum', got {total!r}")
        self.rowwise = _objective(forward, "Symmetric", "forward")
        self.columnwise = None if backward is None else _objective(backward, "Symmetric", "backward")
        self.share = float(share)
        self.total = total
        self.needs = _needs([part for part in (self.rowwise, self.columnwise) if part is not None])

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._join(*self._both(batch, now, generator))

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss and its two directions, unweighted."""
        forward, backward = self._both(batch, now, None)
        return {"loss": self._join(forward, backward), "forward": forward, "backward": backward}

    def _both(self, batch: SignedBatch, now: Moment | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        back = self.rowwise if self.columnwise is None else self.columnwise
        return self.rowwise(batch, now=now, generator=generator), back(batch.T, now=now, generator=generator)

    def _join(self, forward: Tensor, backward: Tensor) -> Tensor:
        return forward + backward if self.total == "sum" else (1 - self.share) * forward + self.share * backward

    def __str__(self) -> str:
        # spelled by hand: the attribute `forward` of a module is its call
        return (
            f"{part_name(type(self))}(forward={self.rowwise}, backward={self.columnwise}, "
            f"share={self.share!r}, total={self.total})"
        )


class Sum(Objective):
    """Weighted sum of objectives over one batch: sum of w_i objective_i(batch).

    A term may be a Chain. One with a scorer of its own scores the features afresh; sign, weight and columns are those
    of the batch.

    Args:
        weighted: pairs (weight, objective), at least one; weights finite and >= 0.
    Raises:
        ValueError: no term, a weight out of range, or something that is no objective.
    """

    def __init__(self, *weighted: Sequence[float | nn.Module]):
        super().__init__()
        if not weighted:
            raise ValueError("Sum: needs at least one pair (weight, objective), got none")
        weights, objectives = [], []
        for term in weighted:
            pair = isinstance(term, (tuple, list)) and len(term) == 2
            if not pair or isinstance(term[0], nn.Module) or not isinstance(term[1], nn.Module):
                raise ValueError(f"Sum: a term is a pair (weight, objective), got {term!r}")
            if not (term[0] >= 0 and math.isfinite(term[0])):
                raise ValueError(f"Sum: weights must be >= 0 and finite, got {term[0]!r}")
            weights.append(float(term[0]))
            objectives.append(_objective(term[1], "Sum", "objective"))
        self.weights = tuple(weights)
        self.objectives = nn.ModuleList(objectives)
        self.needs = _needs(objectives)

    @property
    def weighted(self) -> tuple[tuple[float, nn.Module], ...]:
        """The pairs (weight, objective)."""
        return tuple(zip(self.weights, self.objectives, strict=True))

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._total([self._term(part, batch, now, generator) for part in self.objectives])

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss and its terms, unweighted, by name; equal names are numbered."""
        costs = [self._term(part, batch, now, None) for part in self.objectives]
        named = {"loss": self._total(costs)}
        for part, cost in zip(self.objectives, costs, strict=True):
            name = part_name(type(part))
            again = sum(known == name or known.startswith(f"{name}_") for known in named)
            named[f"{name}_{again + 1}" if again else name] = cost
        return named

    def _total(self, costs: list[Tensor]) -> Tensor:
        total = self.weights[0] * costs[0]
        for weight, cost in zip(self.weights[1:], costs[1:], strict=True):
            total = total + weight * cost
        return total

    @staticmethod
    def _term(part: nn.Module, batch: SignedBatch, now: Moment | None, generator: torch.Generator | None) -> Tensor:
        if isinstance(part, Chain) and any(getattr(inner, "stage", None) == "scorer" for inner in part.parts):
            batch = batch.replace(scores=None)
        cost: Tensor = part(batch, now=now, generator=generator)
        return cost


class Only(Objective):
    """An objective over some of the columns a row sees; the other negatives become sign 0.

        own                 what the row brought itself, by `columns["of"]`, and its `own` columns
        foreign             what other rows brought
        foreign positives   of that, the positives of other rows (`columns["role"]` 1)
        foreign negatives   of that, the mined negatives of other rows (role -1)

    Args:
        part: one of these.
        objective: what sees the batch then.
    Raises:
        ValueError: `part` is none of these, or the batch does not say who brought its columns.
    """

    def __init__(self, part: Literal["own", "foreign", "foreign positives", "foreign negatives"], objective: nn.Module):
        super().__init__()
        if part not in ("own", "foreign", "foreign positives", "foreign negatives"):
            raise ValueError(
                f"Only: part must be 'own', 'foreign', 'foreign positives' or 'foreign negatives', got {part!r}"
            )
        self.part = part
        self.objective = _objective(objective, "Only", "objective")
        self.needs = _needs([self.objective])

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        cost: Tensor = self.objective(self._seen(batch), now=now, generator=generator)
        return cost

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """What the objective says of the columns that stay."""
        return self.objective.per_anchor(self._seen(batch), now=now)  # type: ignore[operator]

    def _seen(self, batch: SignedBatch) -> SignedBatch:
        shared = batch.shared
        own = torch.ones_like(batch.sign, dtype=torch.bool)
        own[:, :shared] = self._column(batch, "of")[None, :] == torch.arange(len(own), device=own.device)[:, None]
        seen = own if self.part == "own" else ~own
        if self.part.startswith("foreign "):
            role = 1 if self.part == "foreign positives" else -1
            right = torch.zeros_like(seen)
            right[:, :shared] = (self._column(batch, "role") == role)[None, :]
            seen = seen & right
        return batch.replace(sign=torch.where(seen | (batch.sign > 0), batch.sign, 0))

    @staticmethod
    def _column(batch: SignedBatch, name: str) -> Tensor:
        if name not in batch.columns:
            raise ValueError(f"Only: columns has no {name!r}: the batch does not say who brought its columns")
        return batch.columns[name][: batch.shared]


def _objective(part: nn.Module, whose: str, name: str) -> nn.Module:
    if getattr(part, "stage", None) != "objective":
        raise ValueError(f"{whose}: {name} must be an objective, got {part}")
    return part


def _needs(parts: Sequence[nn.Module]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(need for part in parts for need in part.needs))  # type: ignore[union-attr]
