"""Phases: several models in turn, by counts of steps, to be stopped and gone on with at any step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from litotes.training.learner import Learner, added

REFRESH = "refresh"


class Turn(NamedTuple):
    """Where a step stands: `round`, `step` of its phase in this round, `total` steps before it, all from 0.

    `generator` is seeded by (seed, total) on the learners' device; so is torch's own state during the step, which
    dropout draws from. What is drawn depends on nothing that came before.
    """

    round: int
    step: int
    total: int
    generator: torch.Generator


Costs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """`steps` updates in a row of the same learners.

    Args:
        name: what it is called in states and reports; "refresh" is taken.
        steps: how many in a round, >= 1.
        trains: names of the learners that are updated; they are in train mode, all others in eval mode.
        costs: turn -> cost of each learner that is trained, a scalar by its name; or several such mappings one after
            the other, whose gradients add up (a batch in pieces that fit into memory).
    """

    name: str
    steps: int
    trains: tuple[str, ...]
    costs: Callable[[Turn], Costs | Iterable[Costs]]


class Phases:
    """Rounds of phases. Of the N steps of a round, the phase i owns the half-open range [start_i, start_i + steps_i).

    One round is a sequence, several alternate. Before the first step of a round, `refresh` is called with its number:
    there pools are mined anew, clusters recomputed, texts encoded. All learners of a phase are updated at once: every
    gradient is taken before any parameter moves, each learner gets the gradient of its own cost alone, and so the order
    of updates changes no bit. A learner that has no part in a phase is neither updated nor put in train mode.

    `state_dict` holds the place (round, step, whether the refresh of this round is done), the seed, the learners
    (weights, optimisers, own steps), and what `refresh.state_dict()` gives, if it has that: refreshed pools, as a
    rule. Randomness needs no state, see `Turn`. So a run that goes on from any step gives, bit for bit, what an
    uninterrupted one gives.

    In one process; gradients are not synchronised between several.

    Args:
        learners: by name.
        phases: in their order, at least one; names differ.
        rounds: how many, >= 1.
        refresh: called with the round before its first step, or None.
        seed: of all draws.
    Raises:
        ValueError: an argument is out of range, or a phase trains a learner that is not there.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        phases: Sequence[Phase],
        *,
        rounds: int = 1,
        refresh: Callable[[int], Any] | None = None,
        seed: int = 0,
    ):
        names = [phase.name for phase in phases]
        if not phases or len(set(names)) < len(names) or REFRESH in names:
            raise ValueError(f"Phases: phases must have different names, none of them {REFRESH!r}, got {names}")
        for phase in phases:
            if not (isinstance(phase.steps, int) and phase.steps >= 1):
                raise ValueError(f"Phases: steps of {phase.name!r} must be a whole number >= 1, got {phase.steps!r}")
            if not phase.trains or set(phase.trains) - set(learners):
                raise ValueError(
                    f"Phases: {phase.name!r} must train some of {list(learners)}, got {list(phase.trains)}"
                )
        if not (isinstance(rounds, int) and rounds >= 1):
            raise ValueError(f"Phases: rounds must be a whole number >= 1, got {rounds!r}")
        self.learners, self.phases, self.rounds, self.seed = dict(learners), tuple(phases), rounds, int(seed)
        self.refresh = refresh
        self.total = 0
        self._refreshed = refresh is None
        self._ends = list(accumulate(phase.steps for phase in phases))

    @property
    def steps(self) -> int:
        """All steps of all rounds."""
        return self.rounds * self._ends[-1]

    @property
    def round(self) -> int:
        """The round of the next step."""
        return self.total // self._ends[-1]

    @property
    def done(self) -> bool:
        """No step is left."""
        return self.total >= self.steps

    @property
    def phase(self) -> str | None:
        """The phase of what comes next: its name, "refresh" before the first step of a round, None at the end."""
        if self.done:
            return None
        return self._place()[0].name if self._refreshed else REFRESH

    def step(self) -> dict[str, Tensor]:
        """The next step, with the refresh before it if one is due: cost of each learner it trained, detached.

        Raises:
            ValueError: no step is left, or the costs are not those of the learners of the phase.
        """
        if self.done:
            raise ValueError(f"Phases: all {self.steps} steps are taken")
        if not self._refreshed:
            assert self.refresh is not None
            for learner in self.learners.values():
                learner.module.eval()
            self.refresh(self.round)
            self._refreshed = True
        phase, place = self._place()
        for name, learner in self.learners.items():
            learner.module.train(name in phase.trains)
        devices = {learner.device for learner in self.learners.values()}
        first = self.learners[phase.trains[0]].device
        gpus = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        number = _mixed(self.seed, self.total)
        with torch.random.fork_rng(devices=gpus):
            for state in [torch.default_generator, *(torch.cuda.default_generators[gpu] for gpu in gpus)]:
                state.manual_seed(number)  # torch.manual_seed would queue a call for every device that is not there
            generator = torch.Generator(device=first).manual_seed(number)
            said = self._gradients(phase, Turn(self.round, place, self.total, generator))
        self.total += 1
        self._refreshed = self.refresh is None or self.total % self._ends[-1] != 0
        return said

    def run(
        self, until: int | None = None, after: Callable[[str, dict[str, Tensor]], bool | None] | None = None
    ) -> int:
        """Take steps until none is left, `until` steps are taken in all, or `after` (phase, costs) says True.

        Out:  steps taken in all.
        """
        last = self.steps if until is None else min(until, self.steps)
        while self.total < last:
            name = self._place()[0].name
            costs = self.step()
            if after is not None and after(name, costs):
                break
        return self.total

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on, see above."""
        keeps = getattr(self.refresh, "state_dict", None)
        return {
            "plan": self._plan(),
            "total": self.total,
            "round": self.round,
            "phase": self.phase,
            "refreshed": self._refreshed,
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
            "refresh": keeps() if keeps is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of other phases, rounds, learners or another seed.
        """
        if state["plan"] != self._plan():
            raise ValueError(f"Phases: the state is of another plan, {state['plan']}, expected {self._plan()}")
        if not 0 <= state["total"] <= self.steps:
            raise ValueError(f"Phases: the state's step must be in [0, {self.steps}], got {state['total']}")
        self.total, self._refreshed = int(state["total"]), bool(state["refreshed"])
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name])
        takes = getattr(self.refresh, "load_state_dict", None)
        if takes is not None:
            takes(state["refresh"])

    def _place(self) -> tuple[Phase, int]:
        """The phase of the next step and its step in it."""
        within = self.total % self._ends[-1]
        index = bisect_right(self._ends, within)
        return self.phases[index], within - (self._ends[index] - self.phases[index].steps)

    def _gradients(self, phase: Phase, turn: Turn) -> dict[str, Tensor]:
        """Take all gradients, then update; the costs, added up over the pieces of the batch."""
        made = phase.costs(turn)
        totals: dict[str, list[Tensor | None]] = {}
        said: dict[str, Tensor] = {}
        for costs in [made] if isinstance(made, Mapping) else made:
            if set(costs) != set(phase.trains):
                raise ValueError(f"Phases: {phase.name!r} trains {list(phase.trains)}, got costs of {list(costs)}")
            left = len(costs)
            for name, cost in costs.items():
                left -= 1
                more = self.learners[name].gradients(cost, again=left > 0)
                totals[name] = added(totals.get(name), more)
                said[name] = said[name] + cost.detach() if name in said else cost.detach()
        if set(totals) != set(phase.trains):
            raise ValueError(f"Phases: {phase.name!r} gave no costs for step {turn.total}")
        for name, gradients in totals.items():
            self.learners[name].update(gradients)
        return said

    def _plan(self) -> dict[str, Any]:
        phases = [[phase.name, phase.steps, sorted(phase.trains)] for phase in self.phases]
        return {"phases": phases, "rounds": self.rounds, "learners": sorted(self.learners), "seed": self.seed}


def _mixed(seed: int, step: int) -> int:
    """A number for (seed, step) whose neighbours are far away (SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03) & (1 << 64) - 1
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & (1 << 64) - 1
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & (1 << 64) - 1
    return (z ^ z >> 31) & (1 << 63) - 1
