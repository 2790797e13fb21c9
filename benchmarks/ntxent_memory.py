"""NT-Xent over several views: litotes against pytorch-metric-learning, same vectors, value, gradient and memory.

Rows are views of images, those of one image pull each other, all else pushes. The peer lists all pairs and holds a
matrix of positive pairs by negative pairs; one log-sum per row says the same. Whole processes, in turn.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from _harness import finish, in_turn, machine, noise, options, process, ratios, show_table, spread, table

SIZES = {"small": [96, 192], "full": [96, 384]}
RUNS = {"small": 1, "full": 2}
VIEWS, WIDTH, TEMPERATURE = 4, 128, 0.07
ME = str(Path(__file__).resolve())


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        args.out.write_text(json.dumps(step(args.worker, args.size)))
        return
    rows, measured = [], {}

    def worker(side: str, size: int) -> dict[str, Any]:
        run = process([ME, "--worker", side, "--size", str(size)], args.threads)
        idle = process([ME, "--worker", f"{side}-nothing", "--size", str(size)], args.threads)
        return {**run, "mb": max(run["peak_mb"] - idle["peak_mb"], 0.0)}

    for size in SIZES[args.scale]:
        runs = RUNS[args.scale]
        mine, peer = in_turn(lambda size=size: worker("ours", size), lambda size=size: worker("theirs", size), runs)
        for name in ("value", "slope"):
            if abs(mine[0][name] - peer[0][name]) > 1e-4 * abs(peer[0][name]):
                raise RuntimeError(f"{size} rows: {name} differs, {mine[0][name]} and {peer[0][name]}")
        speed = ratios([run["ms"] for run in peer], [run["ms"] for run in mine])
        for side, found in (("litotes, InfoNCE", mine), ("pytorch-metric-learning, NTXentLoss", peer)):
            cells = [spread([run[key] for run in found]) for key in ("ms", "mb")]
            rows.append([f"{side}, {size} rows of {VIEWS} views", *cells, mine[0]["value"]])
        measured[str(size)] = {
            "speed_ratio": speed,
            "ours_mb": spread([run["mb"] for run in mine]),
            "theirs_mb": spread([run["mb"] for run in peer]),
            "slope_apart": abs(mine[0]["slope"] - peer[0]["slope"]) / abs(peer[0]["slope"]),
        }
    largest = max(SIZES[args.scale])
    of_largest = measured[str(largest)]
    figures: dict[str, Any] = {
        "name": "ntxent_memory",
        "title": "NT-Xent over four views",
        "task": f"Value and gradient of one step over float32 vectors of {WIDTH} dimensions, temperature {TEMPERATURE}",
        "command": f"python benchmarks/ntxent_memory.py --scale {args.scale} "
        "--json benchmarks/results/ntxent_memory.json",
        "scale": args.scale,
        "machine": {**machine(args.threads), "noise": noise(args.threads)},
        "table": table(["what", "milliseconds", "MB more than doing nothing", "loss"], rows),
        "measured": measured,
        "notes": [
            f"At {largest} rows the peer needs {of_largest['theirs_mb']['median']:,.0f} MB and litotes "
            f"{of_largest['ours_mb']['median']:,.0f} MB; litotes is {of_largest['speed_ratio']['median']:,.0f} times "
            f"as fast ({of_largest['speed_ratio']['min']:,.0f} to {of_largest['speed_ratio']['max']:,.0f}).",
            "Losses are the same to a relative 1e-4, and so are the gradients, projected on a drawn direction.",
            "Memory is sampled every 50 ms in a process that repeats the step; that of the same process without the "
            "step is taken off.",
        ],
    }
    show_table(figures)
    finish(figures, args.json)


def step(side: str, size: int) -> dict[str, Any]:
    """Milliseconds of the fastest forward and backward pass, the loss, and the gradient along a drawn direction."""
    import torch
    from pytorch_metric_learning.losses import NTXentLoss

    from litotes.integrations.pytorch_metric_learning import Loss
    from litotes.objectives.contrastive.infonce import InfoNCE

    seed = int.from_bytes(hashlib.sha256(str(size).encode()).digest()[:4], "big")
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(size, WIDTH, generator=random).requires_grad_()
    direction = torch.randn(size, WIDTH, generator=random)
    y = torch.arange(size // VIEWS).repeat(VIEWS)
    loss = Loss(InfoNCE(TEMPERATURE)) if side.startswith("ours") else NTXentLoss(TEMPERATURE)
    if side.endswith("nothing"):
        time.sleep(0.2)
        return {"ms": 0.0, "value": 0.0, "slope": 0.0}
    times, value = [], torch.zeros(())
    start = time.perf_counter()
    least = 5 if side.startswith("ours") else 2
    while len(times) < least or time.perf_counter() - start < 0.5:
        x.grad = None
        begun = time.perf_counter()
        value = loss(x, y)
        value.backward()
        times.append(1000 * (time.perf_counter() - begun))
    assert x.grad is not None
    slope = (x.grad * direction).sum() / direction.norm()
    return {"ms": min(times), "value": value.item(), "slope": slope.item()}


if __name__ == "__main__":
    main()
