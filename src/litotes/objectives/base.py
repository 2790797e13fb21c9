"""What all objectives share: one scalar out, named parts on request, scores that must be there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.spelling import spell


class Objective(nn.Module):
    """A module that turns a scored batch into one scalar. A subclass writes `forward`."""

    stage = "objective"
    needs: tuple[str, ...] = ("scores",)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say what a batch costs")

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The named parts of the loss, "loss" first."""
        return {"loss": self(batch, now=now)}

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Unreduced losses: cost [B] and how far each row is believed [B], 0 = the row has no term."""
        raise TypeError(f"{type(self).__name__} is no sum over anchors")

    def __str__(self) -> str:
        return spell(self)


def scored(batch: SignedBatch, part: nn.Module) -> Tensor:
    """The scores of the batch.

    Raises:
        ValueError: scores are missing, or are not of the shape of sign; `part` is named.
    """
    if batch.scores is None or batch.scores.shape != batch.sign.shape:
        got = None if batch.scores is None else list(batch.scores.shape)
        raise ValueError(
            f"{type(part).__name__}: scores must have the shape of sign {list(batch.sign.shape)}, got {got}; "
            "a scorer comes first, as in Chain(Cosine(), ...)"
        )
    return batch.scores


def without_common(batch: SignedBatch, part: nn.Module) -> None:
    """Refuse negatives that exist only as a log-sum.

    Raises:
        ValueError: the batch has `common`; `part` is named.
    """
    if batch.common is not None:
        raise ValueError(f"{type(part).__name__}: common negatives have a meaning in a log-sum only, as in InfoNCE")
