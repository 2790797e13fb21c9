"""Approximate search: the indexes of litotes against hnswlib, FAISS HNSW and FAISS IVF, all at one measured recall.

Every method is turned up (ef, nprobe, effort; each step doubles it) until it finds 95 % of the exact top k of all
queries, and is then timed at that setting. What the peers return are scores of their own; litotes scores its finds
anew by the definition, which is part of its time. All run in one process, in turn, on the same vectors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import finish, machine, noise, options, process, show_table, spread, table

SIZES = {"small": (15_000, 128, 500), "full": (100_000, 384, 2048)}
RUNS, K, TARGET = 5, 100, 0.95
TITLE = "Approximate search at a measured recall"


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        args.out.write_text(json.dumps(measured(args.worker, args.threads)))
        return
    made = process(
        [str(Path(__file__).resolve()), "--worker", args.scale, "--threads", str(args.threads)], args.threads
    )
    size, wide, queries = SIZES[args.scale]
    base = made["methods"]["FAISS HNSW, float32"]["seconds"]["median"]
    columns = ["method", "recall", "setting", "build s", "search s", "queries/s", "times FAISS HNSW"]
    rows = [
        [
            name,
            one["recall"],
            one["setting"],
            one["build"],
            one["seconds"],
            queries / one["seconds"]["median"],
            base / one["seconds"]["median"],
        ]
        for name, one in made["methods"].items()
    ]
    figures: dict[str, Any] = {
        "name": "approximate",
        "title": TITLE,
        "command": f"python benchmarks/approximate.py --scale {args.scale}",
        "task": f"top {K} of {queries:,} queries in {size:,} x {wide} unit vectors, in 1,000 overlapping clusters",
        "machine": machine(args.threads) | {"noise": noise(args.threads)},
        "table": table(columns, rows),
        "notes": [
            f"each method at its first setting, doubled step by step, that reaches a recall of {TARGET}",
            "setting: effort of litotes, ef of HNSW, nprobe of IVF; litotes scores what it finds by the definition",
            f"peak memory of the process with all indexes {made['peak_mb']:,.0f} MB",
        ],
    }
    show_table(figures)
    finish(figures, args.json)


def measured(scale: str, threads: int) -> dict[str, Any]:
    """Recall, setting and seconds of every method."""
    import faiss
    import hnswlib

    from litotes.search.approximate import ApproximateIndex
    from litotes.search.exact import top_k

    faiss.omp_set_num_threads(threads)
    corpus, queries = vectors(*SIZES[scale])
    exact, seconds = timed(lambda: top_k(queries, corpus, K)[0])
    methods = {
        "litotes exact": {"recall": 1.0, "setting": "", "build": 0.0, "seconds": seconds},
    }

    def add(name: str, build: Callable[[], Any], search: Callable[[Any, int], np.ndarray], settings: list[int]) -> None:
        start = time.perf_counter()
        index = build()
        built = time.perf_counter() - start
        for setting in settings:
            recall = np.mean(
                [len(np.intersect1d(*pair)) / K for pair in zip(search(index, setting), exact, strict=True)]
            )
            if recall >= TARGET:
                break
        _, seconds = timed(lambda: search(index, setting))
        methods[name] = {"recall": float(recall), "setting": setting, "build": built, "seconds": seconds}

    for kind in ("hnsw", "ivf", "ivfpq"):
        add(
            f"litotes {kind}",
            lambda kind=kind: ApproximateIndex.build(corpus, kind=kind),
            lambda index, effort: replaced(index, effort).top_k(queries, K)[0],
            list(range(12)),
        )

    def faiss_hnsw() -> Any:
        index = faiss.IndexHNSWFlat(corpus.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
        index.add(corpus)
        return index

    def faiss_ivf() -> Any:
        lists = max(1, min(int(4 * len(corpus) ** 0.5), len(corpus) // 39))
        index = faiss.index_factory(corpus.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.train(corpus)
        index.add(corpus)
        return index

    def hnsw() -> Any:
        index = hnswlib.Index("ip", corpus.shape[1])
        index.init_index(len(corpus), M=32, ef_construction=80)
        index.set_num_threads(threads)
        index.add_items(corpus)
        return index

    def ask_hnswlib(index: Any, ef: int) -> np.ndarray:
        index.set_ef(ef)
        return index.knn_query(queries, K)[0]

    beams, probes = [K << step for step in range(8)], [8 << step for step in range(10)]
    add(
        "FAISS HNSW, float32",
        faiss_hnsw,
        lambda index, ef: index.search(queries, K, params=faiss.SearchParametersHNSW(efSearch=ef))[1],
        beams,
    )
    add(
        "FAISS IVF, float32",
        faiss_ivf,
        lambda index, nprobe: index.search(queries, K, params=faiss.SearchParametersIVF(nprobe=nprobe))[1],
        probes,
    )
    add("hnswlib", hnsw, ask_hnswlib, beams)
    return {"methods": methods}


def replaced(index: Any, effort: int) -> Any:
    """The index at another effort, its norms kept."""
    made = replace(index, effort=effort)
    made.__dict__["corpus_norms"] = index.corpus_norms
    return made


def vectors(size: int, wide: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around 1,000 centres, as close to each other as to their centre."""
    numbers = np.random.default_rng(0)
    centres = numbers.standard_normal((1000, wide), dtype=np.float32)
    made = centres[numbers.integers(0, 1000, size + queries)]
    made += numbers.standard_normal(made.shape, dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made[:size].copy(), made[size:].copy()


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work` gives, and its seconds: RUNS times after once to warm up."""
    made, seconds = work(), []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return made, spread(seconds)


if __name__ == "__main__":
    main()
