"""A run folder: steps that are finished are not done again, and nothing half-done looks finished."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from litotes.atomic import read_json, remove_leftovers, write_json


class RunFolder:
    """A folder whose `manifest.json` lists the finished steps, each with the fingerprint of what went into it.

    A step is done again when its fingerprint differs (the recipe, the model or the data changed) or when something that
    it wrote is no longer there. What a step gives is JSON and stands in the manifest; its files lie in the folder.

    The manifest also says which step was begun, with which fingerprint: its files can be gone on with under the same
    inputs; those of other inputs are removed before the step is done again.

    `reused`: steps found finished, `worked`: steps done by this object, each in order.

    Raises:
        ValueError: `manifest.json` is damaged, or another program's.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path)
        self.manifest = _read(self.path / "manifest.json")
        self.reused: list[str] = []
        self.worked: list[str] = []

    def step(self, name: str, inputs: Any, work: Callable[[], Any], makes: Sequence[Path] = ()) -> Any:
        """What `work()` gives, from the manifest if it was finished under the same inputs and its files are there.

        Args:
            inputs: JSON; all that the outcome depends on.
            makes: files and folders that `work` writes, and may find unfinished from an interrupted try (also under
                their name with `.partial` behind it, as training keeps them).
        """
        print_of_inputs = fingerprint(inputs)
        steps, begun = self.manifest["steps"], self.manifest["begun"]
        done = steps.get(name)
        if done and done["fingerprint"] == print_of_inputs and all(path.exists() for path in makes):
            if name not in self.worked and name not in self.reused:
                self.reused.append(name)
            return done["gives"]

        before = begun.get(name, {})
        if before.get("fingerprint") != print_of_inputs:
            before = {"fingerprint": print_of_inputs, "seconds": 0.0}
            for path in makes:
                _remove(path)
                _remove(path.with_name(f"{path.name}.partial"))
        steps.pop(name, None)
        begun[name] = before
        self._write()

        start = time.perf_counter()
        try:
            gives = json.loads(json.dumps(work(), allow_nan=False))  # a reused step gives the same types
        except BaseException:
            before["seconds"] += time.perf_counter() - start
            self._write()
            raise
        seconds = before["seconds"] + time.perf_counter() - start
        steps[name] = {"fingerprint": print_of_inputs, "seconds": round(seconds, 3), "gives": gives}
        del begun[name]
        self._write()
        self.worked.append(name)
        return gives

    def seconds(self, name: str) -> float:
        """How long a finished step took when it was done, interrupted tries included."""
        return float(self.manifest["steps"][name]["seconds"])

    def gives(self, name: str) -> Any:
        """What a finished step gave."""
        return self.manifest["steps"][name]["gives"]

    def _write(self) -> None:
        write_json(self.path / "manifest.json", self.manifest)


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {"steps": {}, "begun": {}}
    try:
        manifest = read_json(file)
        finished = all({"fingerprint", "seconds", "gives"} <= step.keys() for step in manifest["steps"].values())
        if finished and all("seconds" in step for step in manifest.setdefault("begun", {}).values()):
            return dict(manifest)
        why = "a step lacks its fingerprint, seconds or outcome"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = repr(error)
    raise ValueError(f"{file}: not the manifest of a run, or damaged ({why}); remove it to do all steps again")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
