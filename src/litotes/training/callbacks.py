"""Callbacks for the trainer: the clock, a bar, and an interrupt that can be resumed from."""

from __future__ import annotations

import math
import signal
import threading
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from litotes.atomic import atomic_path
from litotes.batch import Moment
from litotes.progress import progress
from litotes.training.run_folder import OBJECTIVE


class Clock(TrainerCallback):
    """Tells the collator the epoch, before its batches are drawn, and the loss the moment, before each step.

    Args:
        collator: has an attribute `epoch` (EvidenceCollator). Dataloader workers must not be persistent: they would
            keep the epoch they were born in.
        loss: has an attribute `now` (Loss), or None.
    """

    def __init__(self, collator: Any, loss: Any = None):
        self.collator, self.loss = collator, loss

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.collator.epoch = int(state.epoch or 0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.loss is not None:
            step, total = int(state.global_step), max(int(state.max_steps), 1)
            self.loss.now = Moment(step, self.collator.epoch, min(step / total, 1.0))


class Bar(TrainerCallback):
    """A progress bar over steps, on standard error, of the first process."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._bar = progress(total=state.max_steps, what="training", unit="steps")
            self._bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()


class Interruptible(TrainerCallback):
    """The first Ctrl-C (or SIGTERM) ends training behind the step it falls into, with a checkpoint; a second one ends
    the process at once.

    A step that is torn in the middle has changed some weights and not others; so nothing is saved before its end. The
    last step writes no checkpoint: what follows it is the model.
    `interrupted` is the signal's number, None as long as there was none. Signals are taken over in the main thread only
    and given back by `release`.
    """

    def __init__(self) -> None:
        self.interrupted: int | None = None
        self._before: dict[int, Any] = {}

    def take(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._noted) for number in (signal.SIGINT, signal.SIGTERM)}

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done = state.global_step >= state.max_steps
        if done:
            control.should_save = False  # the model itself is saved next
        elif self.interrupted is not None:
            control.should_save = True
            control.should_training_stop = True

    def _noted(self, number: int, frame: Any) -> None:
        self.interrupted = number
        self.release()


class KeepsObjective(TrainerCallback):
    """Saves the state of the objective (a learned temperature, a queue) beside each checkpoint of the model.

    Args:
        objective: module whose `state_dict` goes into the file `objective.pt`.
    """

    def __init__(self, objective: Any):
        self.objective = objective

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch

        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / OBJECTIVE
            with atomic_path(path) as temporary:
                torch.save(self.objective.state_dict(), temporary)


class Finite(TrainerCallback):
    """Stops a run whose loss is no number any more, instead of averaging around it.

    Raises:
        FloatingPointError: at the next log after it happened.
    """

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(
                f"step {state.global_step}: the loss is {loss}; try a lower learning rate, or precision='fp32'"
            )
