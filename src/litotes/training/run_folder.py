"""RunFolder: a training run is whole or unfinished, and an unfinished one can be gone on with."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from litotes.atomic import read_json, write_json
from litotes.data.fingerprint import settings_checksum

RECORD = "litotes_training.json"
OBJECTIVE = "objective.pt"


@dataclass(frozen=True)
class Trained:
    """What a training run made.

    `path`: folder of the model, as sentence-transformers loads it. `seconds`: time in the trainer, in the call that
    finished. `steps`: optimiser steps from the start. `texts_per_step`: texts encoded per step and process, on average.
    `curve`: [{"step", "loss"}, ...], each loss the mean since the entry before. `counts`: of the training rows.
    `refreshes`: what each refresh of the negatives found and took (`Refreshing.report`).
    """

    path: Path
    seconds: float
    steps: int
    texts_per_step: float
    curve: list[dict[str, float]]
    counts: dict[str, int]
    refreshes: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class RunFolder:
    """Where a run lies: in `<out>.partial` (run.json, checkpoints) until `out` appears in one rename.

    `out`: folder of the finished model; `settings`: all that decides the result, as texts, numbers, lists and None.
    """

    out: Path
    settings: dict[str, Any]

    @property
    def partial(self) -> Path:
        """The folder of the unfinished run."""
        return self.out.with_name(self.out.name + ".partial")

    def finished(self) -> Trained | None:
        """The record of the run, if it is done.

        Raises:
            FileExistsError: there is something else at `out`.
        """
        if not self.out.exists():
            return None
        record = read_json(self.out / RECORD) if (self.out / RECORD).exists() else {}
        if record.get("checksum") != settings_checksum(self.settings):
            raise FileExistsError(
                f"{self.out} exists and is no result of these arguments; choose another place or remove it"
            )
        return Trained(**{**record["trained"], "path": self.out})

    def open(self, resume: bool) -> Path | None:
        """Start or take up the unfinished run; its newest whole checkpoint, if there is one.

        Raises:
            ValueError: the unfinished run has other settings; they are named.
        """
        started = self.partial / "run.json"
        if self.partial.exists() and (not resume or not started.exists()):
            shutil.rmtree(self.partial)
        if not started.exists():
            self.partial.mkdir(parents=True, exist_ok=True)
            write_json(started, self.settings)
        before = read_json(started)
        changed = [name for name, value in self.settings.items() if before.get(name) != value]
        if changed:
            raise ValueError(
                f"{self.partial} holds an unfinished run with other arguments ({', '.join(changed)} differ); "
                "resume=False throws it away"
            )
        return self._last_checkpoint()

    def finish(self, model: Any, trained: Trained) -> None:
        """Save the model, move it into its place and remove the unfinished run."""
        made = self.partial / "model"
        shutil.rmtree(made, ignore_errors=True)
        model.save_pretrained(str(made))
        record = asdict(trained) | {"path": str(trained.path)}
        checksum = settings_checksum(self.settings)
        write_json(made / RECORD, {"checksum": checksum, "settings": self.settings, "trained": record})
        os.replace(made, self.out)
        shutil.rmtree(self.partial)

    def ended(
        self,
        trainer: Any,
        model: Any,
        seconds: float,
        texts: float,
        counts: dict[str, int],
        refreshes: list[dict[str, Any]] | None = None,
    ) -> Trained:
        """What a trainer that came to its end has made; its first process puts the model into its place."""
        curve = [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e]
        trained = Trained(self.out, seconds, trainer.state.global_step, texts, curve, counts, refreshes or [])
        if trainer.is_world_process_zero():
            self.finish(model, trained)
        trainer.accelerator.wait_for_everyone()
        return trained

    def _last_checkpoint(self) -> Path | None:
        """The trainer writes its state behind everything else, the objective follows: both there, all there."""
        found = []
        for folder in self.partial.glob("checkpoint-*"):
            try:
                json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if (folder / OBJECTIVE).exists():
                found.append(folder)
        return max(found, key=lambda folder: int(folder.name.rsplit("-", 1)[1]), default=None)
