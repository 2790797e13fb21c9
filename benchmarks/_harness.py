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
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
    }


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
