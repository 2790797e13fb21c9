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
        anchors: anchors asked for, times `epochs`. seconds_per_text: of a training step, measured.
        texts_per_anchor: arm -> texts that one anchor brings into a step.
        spent: seconds so far. seconds_per_evaluation: measured once, needed once per trained arm.
    Out: the same number for every arm: never more than asked, and never under 100 (or all, where fewer are asked for);
        `why` says it where so many take longer than `minutes`.
    """
    training = anchors * sum(texts_per_anchor.values()) * seconds_per_text
    rest = spent + len(texts_per_anchor) * seconds_per_evaluation
    projected, allowed = rest + training, minutes * 60
    asked = anchors // epochs
    if projected <= allowed:
        return Budget(asked, asked, projected, None)
    fits = int(asked * max(allowed - rest, 0) / training) if training else 0
    used = min(max(fits, FEWEST), asked)
    did = f"all arms were shrunk from {asked:,} to {used:,} training anchors" if used < asked else "nothing was shrunk"
    why = (
        f"{did}: at the measured rate the run as asked would take {projected / 60:.1f} minutes, more than the "
        f"{minutes:g} of the recipe"
    )
    if used > fits:
        why += f"; with {used:,} anchors, the fewest an arm is trained on, it takes longer all the same"
    return Budget(asked, used, projected, why)
