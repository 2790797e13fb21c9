"""The budget: if the measured rate says that a run takes too long, all arms shrink together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEWEST = 100


@dataclass(frozen=True)
class Budget:
    """Training anchors `asked` for and `used`; `projected` seconds of the whole run as asked, `why` it was shrunk."""

    asked: int
    used: int
    projected: float | None
    why: str | None


def project(
    *,
    anchors: int,
    seconds_per_text: float,
    texts_per_anchor: Mapping[str, float],
    spent: float,
    seconds_per_evaluation: float,
    minutes: float,
    epochs: int = 1,
) -> Budget:
    """How many anchors each arm may train on, so that the run ends within `minutes`.

    Args:
        anchors: anchors asked for, times epochs. seconds_per_text: of a training step, measured.
        texts_per_anchor: arm -> texts that one anchor brings into a step.
        spent: seconds so far. seconds_per_evaluation: measured once, needed once per trained arm.
    Out: the same number for every arm; never under 100 anchors (`why` then says that the time will not be kept).
    """
    training = anchors * sum(texts_per_anchor.values()) * seconds_per_text
    rest = spent + len(texts_per_anchor) * seconds_per_evaluation
    projected, allowed = rest + training, minutes * 60
    asked = anchors // epochs
    if projected <= allowed:
        return Budget(asked, asked, projected, None)
    share = max(allowed - rest, 0) / training
    used = min(max(int(asked * share), FEWEST), asked)
    why = (
        f"all arms were shrunk from {asked} to {used} training anchors: at the measured rate the run as asked would "
        f"take {projected / 60:.1f} minutes, more than the {minutes:g} of the recipe"
    )
    return Budget(asked, used, projected, why)
