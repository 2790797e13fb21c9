"""What benchmarks share: whole processes run in turn, their seconds and peak memory, and the ratio pair by pair.

Memory is the largest RssAnon + RssShmem of the process tree, sampled every 50 ms: what the work needs, without file
pages that the system can take back.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil


def options(description: str) -> argparse.Namespace:
    """--scale small|full, --json PATH, --threads N, and the arguments by which a benchmark calls itself."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scale", choices=("small", "full"), default="small", help="small ends within 60 seconds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def process(arguments: Sequence[str], threads: int) -> dict[str, Any]:
    """Run this interpreter with `arguments`; whole-process seconds, peak memory in MB, and what it wrote to --out."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "true",
            "RAYON_NUM_THREADS": str(threads),
            "LITOTES_QUIET": "1",
            "HF_HUB_OFFLINE": "1",
        }
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments, "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True
        )
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(child.pid, peak), daemon=True)
        watcher.start()
        _, errors = child.communicate()
        seconds = time.perf_counter() - start
        watcher.join()
        if child.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {child.returncode}:\n{errors[-3000:]}")
        return {"seconds": seconds, "peak_mb": peak[0], **json.loads(out.read_text())}


def in_turn(
    ours: Callable[[], dict[str, Any]], theirs: Callable[[], dict[str, Any]], runs: int
) -> tuple[list[dict], list[dict]]:
    """Ours, theirs, ours, theirs, ...: a machine that slows down slows both."""
    a, b = [], []
    for _ in range(runs):
        a.append(ours())
        b.append(theirs())
    return a, b


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median, maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Theirs over ours, pair by pair: how many times as fast (or as small) ours is."""
    return spread([t / o for t, o in zip(theirs, ours, strict=True)])


def machine(threads: int) -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor by name, with what it can multiply fast."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    units = [unit for unit in ("avx512_bf16", "amx_bf16", "avx512_vnni") if unit in fields.get("flags", "").split()]
    return " with ".join(part for part in (fields.get("model name", platform.machine()), ", ".join(units)) if part)


def product_rates(threads: int) -> dict[str, float]:
    """Matrix products of this machine in GFLOP/s, [4096, 384] x [384, 1536], best of five: the roof of encoders."""
    import torch

    torch.set_num_threads(threads)
    rates = {}
    for name in ("float32", "bfloat16"):
        x, y = (torch.randn(shape, dtype=getattr(torch, name)) for shape in ((4096, 384), (384, 1536)))
        best = float("inf")
        for _ in range(6):
            start = time.perf_counter()
            for _ in range(5):
                x @ y
            best = min(best, (time.perf_counter() - start) / 5)
        rates[name] = round(2 * 4096 * 384 * 1536 / best / 1e9, 1)
    return rates


def noise(threads: int) -> dict[str, float]:
    """How still the machine is: a float32 product of about a fifth of a second, five times, in seconds."""
    import torch

    torch.set_num_threads(threads)
    x, y = torch.randn(4096, 384), torch.randn(384, 1536)
    x @ y
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(8):
            x @ y
        seconds.append(time.perf_counter() - start)
    return spread(seconds)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Figures as docs/performance.md and the terminal show them. Numbers stay numbers in the JSON."""
    if wrong := [row for row in rows if len(row) != len(columns)]:
        raise ValueError(f"table: {len(columns)} columns, but a row of {len(wrong[0])}: {wrong[0]}")
    return {"columns": list(columns), "rows": [list(row) for row in rows]}


def shown(value: Any) -> str:
    """One cell: three digits of a number are enough; a spread is its median and, in brackets, its ends."""
    if isinstance(value, dict):
        return f"{shown(value['median'])} ({shown(value['min'])} to {shown(value['max'])})"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def show_table(figures: dict[str, Any]) -> None:
    """Print the table of a benchmark, its notes, and how still the machine was."""
    print(f"{figures['title']}\n{figures['task']}\n{about_machine(figures['machine'])}\n")
    cells = [figures["table"]["columns"], *([shown(cell) for cell in row] for row in figures["table"]["rows"])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        first, *rest = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join([first, *rest]).rstrip())
    print()
    for note in figures.get("notes", ()):
        print(f"- {note}")


def about_machine(facts: dict[str, Any]) -> str:
    """One line about where the figures come from."""
    rates = facts.get("products", {})
    said = ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in rates.items())
    line = f"{facts['cpu']}, {facts['threads']} threads"
    line += f"; matrix products {said}" if said else ""
    if still := facts.get("noise"):
        line += f"; the same product five times: {1e3 * still['min']:.0f} / {1e3 * still['median']:.0f} / "
        line += f"{1e3 * still['max']:.0f} ms (min, median, max)"
    return line


def finish(figures: dict[str, Any], path: Path | None) -> None:
    """Write the figures where --json says."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")


def _watch(pid: int, peak: list[float]) -> None:
    try:
        root = psutil.Process(pid)
        while True:
            total = 0
            for one in [root, *root.children(recursive=True)]:
                try:
                    status = Path(f"/proc/{one.pid}/status").read_text()
                except OSError:
                    continue
                fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                total += sum(int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem"))
            peak[0] = max(peak[0], total / 1024)
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return
