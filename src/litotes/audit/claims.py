"""Claims: the smallest honest experiment behind a paper's claim, over seeds, with a verdict.

A claim is a file `claims/<name>.py` with `CLAIM = Claim(...)` and `run(seed) -> {"baseline": x, "treated": y, ...}`.
Every seed redraws split and initialisation; baseline and treatment get the same budget and the same tuning.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from litotes.atomic import read_json, write_json
from litotes.audit.significance import Interval, benjamini_hochberg, paired_t_interval, verdict

METHOD = "two-sided 95 % paired t interval over seeds"


@dataclass(frozen=True)
class Claim:
    """What is claimed, and how it is checked.

    Args:
        claim: one sentence. metric: what `baseline` and `treated` measure. data: on what.
        direction: "higher" or "lower": where treated must lie.
        minutes: what one seed may take on 2 cores.
        beats: the arms that `treated` must beat for the claim to hold, each by its own interval; the first is the
            baseline, whose difference is the effect on the board.
        paper: title and arXiv id.
    """

    claim: str
    metric: str
    data: str
    direction: Literal["higher", "lower"] = "higher"
    minutes: float = 1.0
    beats: tuple[str, ...] = ("baseline",)
    paper: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("higher", "lower"):
            raise ValueError(f"Claim: direction must be 'higher' or 'lower', got {self.direction!r}")
        if not self.minutes > 0:
            raise ValueError(f"Claim: minutes must be > 0, got {self.minutes!r}")
        if not self.beats or "treated" in self.beats:
            raise ValueError(f"Claim: beats must name arms beside treated, got {self.beats!r}")


@dataclass(frozen=True)
class Result:
    """A line of the board. `values`: per seed what `run` gave. `contrasts`: arm -> treated minus it, with interval."""

    name: str
    claim: Claim
    seeds: list[int]
    values: list[dict[str, float]]
    seconds: float
    contrasts: dict[str, Interval] = field(default_factory=dict)

    @property
    def effect(self) -> Interval:
        """Treated minus baseline."""
        return self.contrasts[self.claim.beats[0]]

    @property
    def verdict(self) -> str:
        """holds: every contrast lies on the claimed side; reversed: the first one on the other; else not shown."""
        said = [verdict(self.contrasts[arm], self.claim.direction) for arm in self.claim.beats]
        if all(word == "holds" for word in said):
            return "holds"
        return "reversed" if said[0] == "reversed" else "not shown"

    def as_board(self) -> dict[str, Any]:
        """The line as it stands in board.json."""
        claim, effect = self.claim, self.effect
        return {
            "name": self.name,
            "claim": claim.claim,
            "paper": claim.paper,
            "metric": claim.metric,
            "direction": claim.direction,
            "values": self.values,
            "effect": effect.value,
            "interval": [effect.low, effect.high],
            "contrasts": {arm: {"effect": i.value, "interval": [i.low, i.high]} for arm, i in self.contrasts.items()},
            "p": p_value(self.values, claim),
            "method": METHOD,
            "seeds": self.seeds,
            "verdict": self.verdict,
            "seconds": self.seconds,
            "data": claim.data,
        }


def find_claims(folder: str | Path) -> dict[str, Path]:
    """The claims in a folder, by name; files that start with an underscore are helpers."""
    return {path.stem.replace("_", "-"): path for path in sorted(Path(folder).glob("[!_]*.py"))}


def load_claim(path: str | Path) -> tuple[Claim, ModuleType]:
    """A claim file: its header and its module. Raises ValueError where CLAIM or run is missing."""
    path = Path(path).resolve()
    root = str(path.parent.parent)
    if root not in sys.path:  # claims share small worlds: `from claims.worlds import ...`
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(f"litotes_claim_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim) or not callable(getattr(module, "run", None)):
        raise ValueError(f"{path}: a claim file holds CLAIM = Claim(...) and a function run(seed)")
    return claim, module


def run_claim(path: str | Path, seeds: Iterable[int]) -> Result:
    """Run a claim under every seed.

    Raises:
        ValueError: fewer than 2 seeds, or `run` does not give finite numbers for treated and every arm to beat.
    """
    seeds = list(seeds)
    if len(seeds) < 2:
        raise ValueError(f"run_claim: an interval over seeds needs at least 2, got {len(seeds)}")
    claim, module = load_claim(path)
    name = Path(path).stem.replace("_", "-")
    start = time.perf_counter()
    values = []
    for seed in seeds:
        gives = {key: float(value) for key, value in module.run(seed).items()}
        missing = {"treated", *claim.beats} - gives.keys()
        if missing or not np.isfinite(list(gives.values())).all():
            raise ValueError(f"{path}: run({seed}) must give finite numbers, {sorted(missing) or 'all'}; got {gives}")
        values.append(gives)
    contrasts = {arm: paired_t_interval([v["treated"] - v[arm] for v in values]) for arm in claim.beats}
    return Result(name, claim, seeds, values, round(time.perf_counter() - start, 1), contrasts)


def p_value(values: list[dict[str, float]], claim: Claim) -> float:
    """Two-sided p of the paired t test of treated against the first arm to beat; equal differences give 0 or 1."""
    from scipy import stats

    differences = np.array([v["treated"] - v[claim.beats[0]] for v in values])
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] else 1.0
    return float(stats.ttest_1samp(differences, 0).pvalue)


def update_board(folder: str | Path, results: Iterable[Result]) -> list[dict[str, Any]]:
    """Put results on the board: `board.json` and `board.md` in `folder`; lines of other claims stay."""
    folder = Path(folder)
    file = folder / "board.json"
    lines = {line["name"]: line for line in (read_json(file) if file.exists() else [])}
    lines |= {result.name: result.as_board() for result in results}
    board = [lines[name] for name in sorted(lines)]
    write_json(file, board)
    (folder / "board.md").write_text(board_markdown(board), encoding="utf-8")
    return board


def board_markdown(board: list[dict[str, Any]]) -> str:
    """The board for reading, with what chance alone would give and a Benjamini-Hochberg mark at 5 %."""
    adjusted = benjamini_hochberg([line["p"] for line in board])
    counts = {word: sum(line["verdict"] == word for line in board) for word in ("holds", "not shown", "reversed")}
    rows = [
        f"| {line['name']} | {line['claim']} | {line['metric']} | {line['effect']:+.4f} "
        f"[{line['interval'][0]:+.4f}, {line['interval'][1]:+.4f}] | {len(line['seeds'])} | **{line['verdict']}**"
        f"{' ✓' if q <= 0.05 else ''} | {line['data']} |"
        for line, q in zip(board, adjusted, strict=True)
    ]
    chance = 0.05 * len(board)
    return "\n".join(
        [
            "# The claims board",
            "",
            "Generated by `litotes claims run`; each line can be run again with `litotes claims run NAME`.",
            "",
            f"{len(board)} claims: {counts['holds']} hold, {counts['not shown']} not shown, "
            f"{counts['reversed']} reversed. "
            f"If no claim were true, chance alone would give about {chance:.2f} intervals that leave out 0. "
            "✓ = still significant at 5 % after Benjamini and Hochberg.",
            "",
            f"Effect: treated minus baseline, {METHOD}.",
            "",
            "| name | claim | metric | effect | seeds | verdict | data |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
