"""Exact search: litotes against FAISS (flat; bfloat16 and 8-bit codes with float32 refinement), torch, usearch and SVS.

All methods search the same unit vectors in one process and in turn, so that a slower moment slows all. Beside them
stand bare matrix products of the same shape, in the blocks that are fastest here: what no search by products can beat.
Answers are compared with a float64 product of everything that shares no code with litotes. Memory is taken in processes
of their own, with the vectors in a memory-mapped file, so that it counts what comes on top of the vectors.

SVS is Intel's scalable-vs; it is measured where it can be imported.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _harness import finish, machine, noise, options, process, show_table, spread, table

WIDE, K, QUERIES = 384, 100, 2048
SLOW = 8  # usearch, which searches query by query, gets one query in so many
SIZES = {"small": (50_000,), "full": (200_000, 1_000_000)}
RUNS = {50_000: 5, 200_000: 5, 1_000_000: 3}
PEERS_UP_TO = 200_000  # beyond, only FAISS flat is run: the others have shown by then what they do
BLOCK = 4096
Method = Callable[[], np.ndarray | None]


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        kind, folder = args.worker.split(":", 1)
        made = timings(Path(folder), args.threads) if kind == "time" else memory(kind, Path(folder), args.threads)
        args.out.write_text(json.dumps(made))
        return
    runs: dict[int, dict[str, Any]] = {}
    for size in SIZES[args.scale]:
        with tempfile.TemporaryDirectory() as folder:
            make_vectors(size, Path(folder))
            for worker in ("time", "imports", "litotes", "faiss"):
                arguments = [str(Path(__file__).resolve()), "--worker", f"{worker}:{folder}"]
                runs.setdefault(size, {})[worker] = process(
                    [*arguments, "--threads", str(args.threads), "--size", str(size)], args.threads
                )
    figures = report(runs, machine(args.threads) | {"noise": noise(args.threads)}, args.scale)
    show_table(figures)
    finish(figures, args.json)


def report(runs: dict[int, dict[str, Any]], where: dict[str, Any], scale: str) -> dict[str, Any]:
    """Table and notes from what the workers measured."""
    rows, notes = [], []
    for size, made in runs.items():
        timed = made["time"]["methods"]
        flat, bare = timed["FAISS flat, float32"]["runs"], timed["bare product, bfloat16"]["runs"]
        flops = 2.0 * QUERIES * size * WIDE
        for name, one in timed.items():
            rows.append(
                [
                    f"{size:,}",
                    name,
                    spread(one["runs"]),
                    spread([a / b for a, b in zip(one["runs"], flat, strict=False)]),
                    spread([a / b for a, b in zip(one["runs"], bare, strict=False)]),
                    flops / np.median(one["runs"]) / 1e9,
                    one["equal"],
                ]
            )
        notes += [f"{size:,} documents: {note}" for note in made["time"]["notes"]]
        imports, ours, theirs = (made[name]["peak_mb"] for name in ("imports", "litotes", "faiss"))
        vectors = size * WIDE * 4 / 2**20
        notes.append(
            f"{size:,} documents, memory above the {vectors:,.0f} MB of vectors: litotes {ours:,.0f} MB "
            f"({imports:,.0f} of it after imports), FAISS flat {theirs - vectors:,.0f} MB"
        )
    notes.append("share of FAISS and of the bare product: seconds over seconds of the same round; smaller is faster")
    notes.append(
        "equal: queries whose documents are the float64 reference's, in order for litotes and as sets for the rest"
    )
    columns = ["documents", "method", "seconds", "of FAISS flat", "of bare bfloat16", "GFLOP/s", "equal"]
    return {
        "name": "search",
        "title": "Exact search",
        "task": f"top {K} of {QUERIES:,} queries, inner product of unit vectors of {WIDE} dimensions",
        "command": f"python benchmarks/search.py --scale {scale}",
        "machine": where,
        "table": table(columns, rows),
        "notes": notes,
        "runs": {str(size): made for size, made in runs.items()},
    }


def make_vectors(size: int, folder: Path) -> None:
    """corpus.npy and queries.npy: normal numbers, rows of length 1."""
    rng = np.random.default_rng(size)
    for name, rows in (("queries", QUERIES), ("corpus", size)):
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, WIDE))
        for low in range(0, rows, 50_000):
            part = rng.standard_normal((min(50_000, rows - low), WIDE), dtype=np.float32)
            out[low : low + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
        out.flush()


def loaded(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(queries in memory, corpus mapped)."""
    return np.load(folder / "queries.npy"), np.load(folder / "corpus.npy", mmap_mode="r")


def memory(kind: str, folder: Path, threads: int) -> dict[str, Any]:
    """A whole search in a process of its own; its peak is taken from outside."""
    if kind == "faiss":
        import faiss

        faiss.omp_set_num_threads(threads)
        queries, corpus = loaded(folder)
        index = faiss.IndexFlatIP(WIDE)
        for low in range(0, len(corpus), 50_000):
            index.add(corpus[low : low + 50_000])
        index.search(queries, K)
        return {}
    import torch  # noqa: F401

    from litotes.search import kernels  # noqa: F401
    from litotes.search.exact import top_k

    queries, corpus = loaded(folder)
    if kind == "litotes":
        top_k(queries, corpus, K, similarity="dot", threads=threads)
    return {}


def timings(folder: Path, threads: int) -> dict[str, Any]:
    """Seconds of every method, round by round, and whether answers are right."""
    import torch

    torch.set_num_threads(threads)
    queries, corpus = loaded(folder)
    corpus = np.array(corpus)
    seen: list[Any] = []
    methods = searches(queries, corpus, threads, seen)
    found: dict[str, np.ndarray | None] = {}
    runs: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(RUNS[len(corpus)]):
        for name, (method, all_runs) in methods.items():
            if number and not all_runs:
                continue
            start = time.perf_counter()
            answer = method()
            runs[name].append((time.perf_counter() - start) * (SLOW if name.startswith("usearch") else 1))
            found[name] = answer
    reference, scores = float64_top_k(queries, corpus)
    certified = asdict(seen[0])
    notes = [
        f"{certified['queries']:,} queries certified, {certified['at_once']:,} of them at once; "
        f"{certified['survivors_mean']:.0f} survivors a query, at most {certified['survivors_max']}"
    ]
    equal: dict[str, str] = {}
    for name, answer in found.items():
        if answer is None:
            equal[name] = ""
        elif name.startswith("litotes"):
            equal[name] = f"{(answer == reference).all(axis=1).sum():,}"
        else:
            same = (np.sort(answer) == np.sort(reference[: len(answer)])).all(axis=1).sum()
            equal[name] = f"{same:,}" if len(answer) == len(reference) else f"{same:,} of {len(answer):,}"
    notes.append(differences(found["FAISS flat, float32"], reference, scores, queries, corpus))
    return {
        "methods": {name: {"runs": runs[name], "equal": equal[name]} for name in methods},
        "certified": certified,
        "notes": notes,
    }


def searches(queries: np.ndarray, corpus: np.ndarray, threads: int, seen: list[Any]) -> dict[str, tuple[Method, bool]]:
    """All methods: (search, whether it is run in every round)."""
    import faiss

    from litotes.search.exact import top_k

    faiss.omp_set_num_threads(threads)

    def ours(precision: str) -> Method:
        options: dict[str, Any] = {
            "similarity": "dot",
            "precision": precision,
            "engine": "compiled",
            "threads": threads,
        }
        return lambda: top_k(queries, corpus, K, report=seen.append, **options)[0]

    ours("auto")()  # loads the compiled loops
    seen.clear()
    flat = faiss.IndexFlatIP(WIDE)
    flat.add(corpus)
    methods: dict[str, tuple[Method, bool]] = {
        "litotes, bfloat16": (ours("bfloat16"), True),
        "FAISS flat, float32": (lambda: flat.search(queries, K)[1], True),
        "bare product, bfloat16": (bare(queries, corpus, "bfloat16"), True),
        "litotes, float32": (ours("float32"), len(corpus) <= PEERS_UP_TO),
        "bare product, float32": (bare(queries, corpus, "float32"), len(corpus) <= PEERS_UP_TO),
    }
    if len(corpus) > PEERS_UP_TO:
        return methods
    methods["bare product, int8"] = bare(queries, corpus, "int8"), False
    methods["torch product and topk"] = torch_top_k(queries, corpus), False
    for name, code in (("bfloat16", faiss.ScalarQuantizer.QT_bf16), ("8-bit", faiss.ScalarQuantizer.QT_8bit)):
        coded = faiss.IndexScalarQuantizer(WIDE, code, faiss.METRIC_INNER_PRODUCT)
        refined = faiss.IndexRefineFlat(coded)
        refined.train(corpus)
        refined.add(corpus)
        refined.k_factor = 2
        methods[f"FAISS {name} and refinement"] = (lambda index=refined: index.search(queries, K)[1]), False
    usearch_ = usearch_exact(queries, corpus, threads)
    if usearch_ is not None:
        methods[f"usearch exact ({QUERIES // SLOW} queries, times {SLOW})"] = usearch_, False
    svs_ = svs_flat(queries, corpus, threads)
    if svs_ is not None:
        methods["SVS flat"] = svs_, False
    return methods


def bare(queries: np.ndarray, corpus: np.ndarray, precision: str) -> Method:
    """Products of all pairs in blocks, thrown away."""
    import torch

    left = torch.from_numpy(queries)
    block = torch.from_numpy(corpus[:BLOCK].copy())
    left, block = (
        (part * 127 * 4).round().clamp(-127, 127).to(torch.int8)
        if precision == "int8"
        else part.to(getattr(torch, precision))
        for part in (left, block)
    )
    whole, rest = divmod(len(corpus), BLOCK)

    def run() -> None:
        if precision == "int8":
            for _ in range(whole):
                torch._int_mm(left, block.T)
            if rest:
                torch._int_mm(left, block[:rest].T)
            return
        out = torch.empty(len(left), BLOCK, dtype=left.dtype)
        for _ in range(whole):
            torch.mm(left, block.T, out=out)
        if rest:
            torch.mm(left, block[:rest].T)

    return run


def torch_top_k(queries: np.ndarray, corpus: np.ndarray) -> Method:
    """What one writes in an afternoon: a product and a topk for each block, merged."""
    import torch

    def run() -> np.ndarray:
        left, right = torch.from_numpy(queries), torch.from_numpy(corpus)
        values = torch.full((len(left), K), -torch.inf)
        items = torch.zeros((len(left), K), dtype=torch.int64)
        for low in range(0, len(corpus), 4 * BLOCK):
            more, where = (left @ right[low : low + 4 * BLOCK].T).topk(K, dim=1)
            values, order = torch.cat([values, more], dim=1).topk(K, dim=1)
            items = torch.cat([items, where + low], dim=1).gather(1, order)
        return items.numpy()

    return run


def usearch_exact(queries: np.ndarray, corpus: np.ndarray, threads: int) -> Method | None:
    """usearch's brute force over inner products."""
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        return None
    return lambda: search(
        corpus, queries[: QUERIES // SLOW], K, MetricKind.IP, exact=True, threads=threads
    ).keys.astype(np.int64)


def svs_flat(queries: np.ndarray, corpus: np.ndarray, threads: int) -> Method | None:
    """The flat index of scalable-vs."""
    try:
        import svs
    except ImportError:
        return None
    index = svs.Flat(corpus, distance=svs.DistanceType.MIP, num_threads=threads)
    return lambda: index.search(queries, K)[0].astype(np.int64)


def float64_top_k(queries: np.ndarray, corpus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Documents by float64 products rounded to float32, ties to the lowest row; and those scores in float64."""
    import torch

    left = torch.from_numpy(queries).double()
    best, rows = np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
    for low in range(0, len(corpus), 2 * BLOCK):
        part = left @ torch.from_numpy(corpus[low : low + 2 * BLOCK]).double().T
        more, where = part.topk(min(K + 8, part.shape[1]), dim=1)
        best = np.concatenate([best, more.numpy()], axis=1)
        rows = np.concatenate([rows, where.numpy() + low], axis=1)
        order = np.lexsort((rows, -best.astype(np.float32)), axis=1)[:, : K + 8]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows[:, :K], best[:, :K]


def differences(
    answer: np.ndarray | None, reference: np.ndarray, scores: np.ndarray, queries: np.ndarray, corpus: np.ndarray
) -> str:
    """Which documents only one of FAISS and the reference has, and how far from the k-th score they lie."""
    assert answer is not None
    far, count = 0.0, 0
    for i, (one, other) in enumerate(zip(answer, reference, strict=True)):
        alone = np.setxor1d(one, other)
        if len(alone):
            exact = corpus[alone].astype(np.float64) @ queries[i].astype(np.float64)
            far, count = max(far, float(abs(exact - scores[i, -1]).max())), count + 1
    terms = WIDE * 2.0**-24
    bound = 2 * terms / (1 - terms)
    return (
        f"FAISS flat finds another set for {count} queries; documents that only one of both has lie at most {far:.1e} "
        f"from the k-th score (twice the rounding bound of float32: {bound:.1e})"
    )


if __name__ == "__main__":
    main()
