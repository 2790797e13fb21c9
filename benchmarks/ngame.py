"""Forming NGAME's batches: balanced clusters of a million anchors, and an epoch of batches made of them.

The points lie in clouds around 1,000 centres. The peer is BisectingKMeans of scikit-learn, which halves too, but not
evenly; it gets fewer points, for it takes its time. Whole processes, started in turn; seconds inside are those of the
clustering and of the epoch, without start and making of the points.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from _harness import finish, in_turn, machine, noise, options, process, ratios, show_table, spread, table

SCALE = {"small": (100_000, 10_000, 1), "full": (1_000_000, 10_000, 3)}  # anchors, of these with the peer, runs
WIDTH, SIZE, BATCH = 64, 64, 256


def main() -> None:
    args = options(__doc__ or "")
    anchors, few, runs = SCALE[args.scale]
    if args.worker:
        args.out.write_text(json.dumps(ours(args.size) if args.worker == "ours" else theirs(args.size)))
        return
    me = str(Path(__file__).resolve())

    def worker(side: str, size: int) -> dict[str, Any]:
        return process([me, "--worker", side, "--size", str(size)], args.threads)

    worker("ours", few)  # compiles where no cache has it
    whole = [worker("ours", anchors) for _ in range(runs)]
    mine, peer = in_turn(lambda: worker("ours", few), lambda: worker("theirs", few), runs)
    rows = []
    for label, seen in ((f"litotes, {anchors:,} anchors", whole), (f"litotes, {few:,}", mine)):
        kinds = ("cluster", "epoch", "alike", "peak_mb")
        rows.append([label, *(spread([run[kind] for run in seen]) for kind in kinds)])
    rows.append(
        [
            f"BisectingKMeans, {few:,}",
            spread([run["cluster"] for run in peer]),
            "-",
            spread([run["alike"] for run in peer]),
            spread([run["peak_mb"] for run in peer]),
        ]
    )
    faster = ratios([run["cluster"] for run in peer], [run["cluster"] for run in mine])
    figures = {
        "name": "ngame",
        "title": "Batches of near points",
        "task": f"Clusters of at most {SIZE} among points of {WIDTH} dimensions, 10 rounds a halving, and an epoch of "
        f"batches of {BATCH}",
        "command": "python benchmarks/ngame.py --scale full --json benchmarks/results/ngame.json",
        "scale": args.scale,
        "machine": machine(args.threads) | {"noise": noise(args.threads)},
        "table": table(["what", "seconds to cluster", "seconds for an epoch", "mean cosine inside", "peak MB"], rows),
        "speed_ratio": faster,
        "goal_seconds": 60.0,
        "reached": max(run["cluster"] + run["epoch"] for run in whole) < 60.0,
        "notes": [
            f"The goal, a million anchors clustered and an epoch of batches formed within 60 seconds on two cores: "
            f"{spread([run['cluster'] + run['epoch'] for run in whole])['median']:.1f} seconds at {anchors:,} anchors.",
            f"{faster['median']:.0f} times as fast as BisectingKMeans of scikit-learn "
            f"({faster['min']:.0f} to {faster['max']:.0f}), whose clusters are not of one size.",
            "The mean cosine inside is that of 200 clusters.",
        ],
    }
    show_table(figures)
    finish(figures, args.json)


def points(size: int) -> Any:
    """Clouds around 1,000 centres: float32 [size, WIDTH], each of length 1."""
    import numpy as np

    numbers = np.random.default_rng(0)
    centres = numbers.standard_normal((1000, WIDTH), dtype=np.float32)
    x = centres[numbers.integers(1000, size=size)] + 0.7 * numbers.standard_normal((size, WIDTH), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def alike(x: Any, labels: Any) -> float:
    """Mean cosine of two different points of one cluster, over 200 clusters."""
    import numpy as np

    chosen = np.random.default_rng(0).choice(labels.max() + 1, 200, replace=False)
    found = []
    for cluster in chosen.tolist():
        inside = x[labels == cluster]
        if len(inside) > 1:
            similar = inside @ inside.T
            found.append((similar.sum() - np.trace(similar)) / (len(inside) * (len(inside) - 1)))
    return float(np.mean(found))


def ours(size: int) -> dict[str, Any]:
    from litotes.batching import Ngame
    from litotes.search.clusters import balanced_clusters

    x = points(size)
    balanced_clusters(x[:1000], SIZE)  # loads the compiled loops
    batcher = Ngame(double_at=[1], init_size=SIZE // 2).over(size, BATCH)
    batcher.refresh(x)
    batcher.set_epoch(1)
    begun = time.perf_counter()
    next(iter(batcher))  # clusters, and the first order
    clustered = time.perf_counter()
    batcher.set_epoch(2)
    batches = list(batcher)
    done = time.perf_counter()
    if len(batches) != len(batcher) or sum(map(len, batches)) != size:
        raise RuntimeError(f"{len(batches)} batches do not hold {size} rows")
    return {"cluster": clustered - begun, "epoch": done - clustered, "alike": alike(x, balanced_clusters(x, SIZE))}


def theirs(size: int) -> dict[str, Any]:
    from sklearn.cluster import BisectingKMeans

    from litotes.search.clusters import halves

    x = points(size)
    model = BisectingKMeans(len(halves(size, SIZE)), n_init=1, max_iter=10, random_state=0)
    begun = time.perf_counter()
    labels = model.fit_predict(x)
    return {"cluster": time.perf_counter() - begun, "alike": alike(x, labels)}


if __name__ == "__main__":
    main()
