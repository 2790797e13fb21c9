"""Claims: the smallest honest experiment behind a paper's claim, over seeds, with a verdict.

A claim is a file `claims/<name>.py` with `CLAIM = Claim(...)` and `run(seed) -> {"baseline": x, "treated": y, ...}`.
Every seed redraws split and initialisation; baseline and treatment get the same budget and the same tuning.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from litotes.atomic import atomic_path, read_json, write_json
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
        arms = self.beats if isinstance(self.beats, tuple) else ()  # a text would be taken for its letters
        if not arms or "treated" in arms or len(set(arms)) < len(arms):
            raise ValueError(f"Claim: beats must be a tuple of different arms beside treated, got {self.beats!r}")
        for name in ("claim", "metric", "data"):
            if not getattr(self, name).strip():
                raise ValueError(f"Claim: {name} must say something, got {getattr(self, name)!r}")


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
            "p": p_value(self.values, claim),  # of all contrasts together
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
    """A claim file: its header and its module.

    While it loads, and only then, the folder above its own stands last on `sys.path`: `from claims.worlds import ...`
    finds what claims share, and no other import comes out differently.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Python, fails as it is loaded, or CLAIM or run is missing; the file is named.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no claim at {path}")
    name = f"litotes_claim_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look their module up
    try:
        with _last_on_path(str(path.parent.parent)):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim) or not callable(getattr(module, "run", None)):
        raise ValueError(f"{path}: a claim file holds CLAIM = Claim(...) and a function run(seed)")
    return claim, module


def run_claim(path: str | Path, seeds: Iterable[int]) -> Result:
    """Run a claim under every seed.

    Raises:
        ValueError: fewer than 2 seeds, one of them twice, or `run` does not give finite numbers for treated and every
            arm to beat. What `run` itself raises passes through.
    """
    seeds = list(seeds)
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"run_claim: an interval over seeds needs at least 2 different ones, got {seeds}")
    claim, module = load_claim(path)
    name = Path(path).stem.replace("_", "-")
    start = time.perf_counter()
    values = []
    for seed in seeds:
        with _last_on_path(str(Path(path).resolve().parent.parent)):
            gives = module.run(seed)
        values.append(_checked(gives, claim, f"{path}: run({seed})"))
    contrasts = {arm: paired_t_interval([v["treated"] - v[arm] for v in values]) for arm in claim.beats}
    return Result(name, claim, seeds, values, round(time.perf_counter() - start, 1), contrasts)


def p_value(values: list[dict[str, float]], claim: Claim) -> float:
    """Two-sided p of the paired t test of treated against each arm to beat: the largest, for all must be beaten.

    Differences that are the same under every seed give 0, or 1 where they are 0: what their interval of width 0 says.
    """
    from scipy import stats

    found = []
    for arm in claim.beats:
        differences = np.array([v["treated"] - v[arm] for v in values])
        if np.ptp(differences) > 0 and differences.var(ddof=1) > 0:  # a tiny spread underflows to no variance
            found.append(float(stats.ttest_1samp(differences, 0).pvalue))
        else:
            found.append(0.0 if differences.mean() else 1.0)
    return max(found)


def update_board(folder: str | Path, results: Iterable[Result]) -> list[dict[str, Any]]:
    """Put results on the board: `board.json` and `board.md` in `folder`; lines of other claims stay."""
    folder = Path(folder)
    file = folder / "board.json"
    try:
        lines = {line["name"]: line for line in (read_json(file) if file.exists() else [])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not a claims board, or damaged ({error!r})") from None
    lines |= {result.name: result.as_board() for result in results}
    board = [lines[name] for name in sorted(lines)]
    write_json(file, board)
    with atomic_path(folder / "board.md") as temporary:
        temporary.write_text(board_markdown(board), encoding="utf-8")
    return board


def board_markdown(board: list[dict[str, Any]]) -> str:
    """The board for reading, with what chance alone would give and a Benjamini-Hochberg mark at 5 %."""
    adjusted = benjamini_hochberg([line["p"] for line in board])
    counts = {word: sum(line["verdict"] == word for line in board) for word in ("holds", "not shown", "reversed")}
    rows = [
        f"| {line['name']} | {_cell(line['claim'])} | {_cell(line['metric'])} | {line['effect']:+.4f} "
        f"[{line['interval'][0]:+.4f}, {line['interval'][1]:+.4f}] | {len(line['seeds'])} | **{line['verdict']}**"
        f"{' ✓' if q <= 0.05 and line['verdict'] != 'not shown' else ''} | {_cell(line['data'])} |"
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
            f"Effect: treated minus baseline, {METHOD}. Where a claim names several arms to beat, it holds only",
            "if each of these contrasts holds, and its p value is the largest of theirs.",
            "",
            "| name | claim | metric | effect | seeds | verdict | data |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _checked(gives: Any, claim: Claim, who: str) -> dict[str, float]:
    """What `run` gave, as finite numbers."""
    try:
        numbers = {str(key): float(value) for key, value in gives.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{who} must give a dict of numbers, got {gives!r} ({error})") from None
    missing = sorted({"treated", *claim.beats} - numbers.keys())
    if missing:
        raise ValueError(f"{who} must give {', '.join(missing)} too, got {', '.join(numbers) or 'nothing'}")
    odd = [key for key, value in numbers.items() if not np.isfinite(value)]
    if odd:
        raise ValueError(f"{who} must give finite numbers, got {odd[0]} = {numbers[odd[0]]}")
    return numbers


def _cell(text: str) -> str:
    """A text inside a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


@contextmanager
def _last_on_path(folder: str) -> Iterator[None]:
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.reverse()
        sys.path.remove(folder)  # the last of that name: what stood there before stays
        sys.path.reverse()
