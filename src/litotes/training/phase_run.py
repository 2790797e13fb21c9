"""run_kept: phases in a run folder, with checkpoints, a curve, a bar and an interrupt that can be resumed from."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from litotes.atomic import atomic_path
from litotes.progress import progress
from litotes.training.run_folder import RunFolder

if TYPE_CHECKING:
    from litotes.training.phases import Phases

STATE = "phases.pt"


def run_kept(
    phases: Phases, folder: RunFolder, *, log_every: int = 10, checkpoints: int = 500
) -> tuple[list[dict[str, float]], float]:
    """Take all steps that are left, from the checkpoint in the opened folder if there is one.

    The first Ctrl-C or SIGTERM ends the run behind the step it falls into, with a checkpoint; called again it goes on
    there. A checkpoint takes the place of the one before in one rename.

    Out:  the curve, [{"step", "loss", and each learner's cost by its name}], means since the entry before ("loss" is
          the mean over those learners), and the seconds of this call.

    Args:
        log_every: steps between entries of the curve, >= 1; a host synchronisation each.
        checkpoints: steps between checkpoints, >= 1.
    Raises:
        ValueError: an argument is out of range, or the checkpoint is of other phases.
        FloatingPointError: a cost became infinite or no number; seen at the next entry.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    import torch

    from litotes.training.callbacks import Interruptible

    for name, value in (("log_every", log_every), ("checkpoints", checkpoints)):
        if not (isinstance(value, int) and value >= 1):
            raise ValueError(f"run_kept: {name} must be a whole number >= 1, got {value!r}")
    file = folder.partial / STATE
    curve: list[dict[str, float]] = []
    seen: dict[str, list[Any]] = {}  # learner -> [sum of costs since the last entry, steps]; on the device until then
    if file.exists():
        saved = torch.load(file, map_location="cpu", weights_only=True)
        phases.load_state_dict(saved["phases"])
        curve, seen = saved["curve"], saved["seen"]

    def keep() -> None:
        with atomic_path(file) as temporary:
            held = {name: [total.cpu(), steps] for name, (total, steps) in seen.items()}
            torch.save({"phases": phases.state_dict(), "curve": curve, "seen": held}, temporary)

    interruptible = Interruptible()
    begun = time.perf_counter()
    with progress(total=phases.steps, what="training", unit="steps") as bar:
        bar.update(phases.total)

        def after(name: str, costs: dict[str, Any]) -> bool:
            for learner, cost in costs.items():
                total, steps = seen.get(learner, (0.0, 0))
                seen[learner] = [cost + total, steps + 1]
            bar.update(1)
            if phases.total % log_every == 0 or phases.done:
                curve.append(_entry(phases.total, seen))
                seen.clear()
            stop = interruptible.interrupted is not None and not phases.done
            if stop or (phases.total % checkpoints == 0 and not phases.done):
                keep()
            return stop

        interruptible.take()
        try:
            phases.run(after=after)
        finally:
            interruptible.release()
    if not phases.done:
        raise KeyboardInterrupt(f"training stopped after step {phases.total}; call again to go on")
    return curve, time.perf_counter() - begun


def _entry(step: int, seen: dict[str, list[Any]]) -> dict[str, float]:
    means = {name: float(total) / steps for name, (total, steps) in seen.items()}
    entry = {"step": step, "loss": sum(means.values()) / len(means), **means}
    if not all(map(math.isfinite, entry.values())):
        raise FloatingPointError(f"step {step}: the costs are {means}; try a lower learning rate")
    return entry
