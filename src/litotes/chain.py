"""Chain: sources, scorers, vetters and one objective as one module, checked when it is made."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.scoring import Cosine
from litotes.spelling import spell

ORDER = ("source", "scorer", "vetter", "objective")


class Round(NamedTuple):
    """Sources add columns, the scorer scores them, vetters lower belief in them."""

    sources: list[nn.Module]
    scorer: nn.Module
    vetters: list[nn.Module]


class Chain(nn.Module):
    """Rounds of (sources, scorer, vetters), one objective last. A chain is an objective itself.

    A source opens a new round once the present one has a scorer or a vetter. A round without a scorer reuses the last
    one, at first `Cosine()`. So `Chain(Cosine(), Gist(), MoCHi(), InfoNCE(0.2))` is two rounds: false negatives lose
    their weight before new negatives are mixed from what is believed.

    In:   SignedBatch with what `needs` names.
    Out:  the scalar loss of the objective.
    Args:
        parts: modules with the attribute `stage`: any of source, scorer and vetter, then exactly one objective.
    Raises:
        ValueError: an order that has no meaning (a scorer behind the vetters of its round, two scorers in a round, no
            objective or not at the end), or something that is no part.
    """

    stage = "objective"

    def __init__(self, *parts: nn.Module):
        super().__init__()
        for part in parts:
            if not isinstance(part, nn.Module) or getattr(part, "stage", None) not in ORDER:
                raise ValueError(f"Chain: {part} is no source, scorer, vetter or objective")
        if not parts or parts[-1].stage != "objective":
            raise ValueError(f"Chain: the last part must be an objective, got {parts[-1] if parts else 'no parts'}")
        early = [part for part in parts[:-1] if part.stage == "objective"]
        if early:
            raise ValueError(f"Chain: one objective, at the end; {early[0]} stands before it (several: Sum)")
        self.parts = nn.ModuleList(parts)
        self._default = Cosine()
        self.needs = self._needs()

    @property
    def objective(self) -> nn.Module:
        """The last part."""
        return self.parts[-1]

    @property
    def rounds(self) -> list[Round]:
        """The parts before the objective, by round."""
        rounds: list[Round] = []
        sources: list[nn.Module] = []
        given: nn.Module | None = None
        vetters: list[nn.Module] = []
        scorer: nn.Module = self._default

        def close() -> None:
            nonlocal sources, given, vetters, scorer
            scorer = scorer if given is None else given
            rounds.append(Round(sources, scorer, vetters))
            sources, given, vetters = [], None, []

        for part in self.parts[:-1]:
            if part.stage == "source":
                if given is not None or vetters:
                    close()
                sources.append(part)
            elif part.stage == "scorer":
                if vetters:
                    raise ValueError(f"Chain: {part} comes behind the vetter {vetters[-1]}; a round scores, then vets")
                if given is not None:
                    raise ValueError(f"Chain: two scorers in one round, {given} and {part}")
                given = part
            else:
                vetters.append(part)
        close()
        return rounds

    def prepare(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch as the objective sees it: with all columns, scored and vetted."""
        for sources, scorer, vetters in self.rounds:
            for source in sources:
                batch = source(batch, now=now, generator=generator)
            batch = scorer(batch, now=now, generator=generator)
            for vetter in vetters:
                batch = vetter(batch, now=now, generator=generator)
        return batch

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.objective(self.prepare(batch, now=now, generator=generator), now=now, generator=generator)

    def terms(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The named parts of the loss, "loss" first, for a batch that has not been prepared."""
        return self.objective.terms(self.prepare(batch, now=now, generator=generator), now=now)  # type: ignore[operator]

    def per_anchor(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unreduced losses (cost [B], believed [B]) of a batch that has not been prepared."""
        prepared = self.prepare(batch, now=now, generator=generator)
        return self.objective.per_anchor(prepared, now=now)  # type: ignore[operator]

    def _needs(self) -> dict[str, str]:
        """What the batch must bring, and which part first asks for it."""
        missing: dict[str, str] = {}
        there: set[str] = set()
        for sources, scorer, vetters in self.rounds:
            for part in [*sources, scorer, *vetters]:
                for need in getattr(part, "needs", ()):
                    if need not in there:
                        missing.setdefault(need, str(part))
                there |= set(getattr(part, "gives", ()))
        for need in getattr(self.objective, "needs", ()):
            if need not in there:
                missing.setdefault(need, str(self.objective))
        return missing

    def __str__(self) -> str:
        return spell(self)
