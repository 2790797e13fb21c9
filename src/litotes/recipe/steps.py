"""A run folder: steps that are finished are not done again, and nothing half-done looks finished."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from litotes.atomic import read_json, remove_leftovers, write_json


class RunFolder:
    """`runs/<name>`: `manifest.json` lists the finished steps, each with the fingerprint of what went into it.

    A step is done again when its fingerprint differs (the recipe, the model or the data changed). What a step gives is
    JSON and stands in the manifest; its files lie in the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path)
        file = self.path / "manifest.json"
        self.manifest: dict[str, Any] = read_json(file) if file.exists() else {"steps": {}}
        self.reused: list[str] = []

    def step(self, name: str, inputs: Any, work: Callable[[], Any]) -> Any:
        """What `work()` gives, from the manifest if it was finished under the same inputs."""
        print_of_inputs = fingerprint(inputs)
        done = self.manifest["steps"].get(name)
        if done and done["fingerprint"] == print_of_inputs:
            self.reused.append(name)
            return done["gives"]
        start = time.perf_counter()
        gives = work()
        self.manifest["steps"][name] = {
            "fingerprint": print_of_inputs,
            "seconds": round(time.perf_counter() - start, 3),
            "gives": gives,
        }
        write_json(self.path / "manifest.json", self.manifest)
        return gives

    def seconds(self, name: str) -> float:
        """How long a finished step took when it was done."""
        return float(self.manifest["steps"][name]["seconds"])


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
