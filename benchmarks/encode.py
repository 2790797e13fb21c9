"""Encoding WordNet texts: litotes against `SentenceTransformer.encode` with its defaults, same model, same texts.

Definitions and lemma strings in five rounds of different texts. Each contestant is one process that loads the model and
encodes a few texts before the first round; then the contestants take turns round by round, so that a machine that slows
down slows all. Compared beside speed: the lowest cosine to the peer's float32 vectors over every text, peak memory, and
the share of the machine's matrix products (multiplications that the texts' tokens need, over time, over what the best
product of such shapes reaches on as many threads).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import _watch, finish, machine, noise, options, ratios, show_table, spread, table

MODEL = "all-MiniLM-L6-v2"
ROUNDS = 5
SIZES = {"small": 400, "full": 4_000}  # texts in a round
CONTESTANTS = ("theirs", "auto", "float32")


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        work(args.worker, args.size, args.out)
        return
    size = SIZES[args.scale]
    with tempfile.TemporaryDirectory() as folder:
        running = {name: Contestant(name, size, args.threads, Path(folder)) for name in CONTESTANTS}
        seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for number in range(ROUNDS):
            for name, contestant in running.items():
                seconds[name].append(contestant.round(number))
        last = {name: contestant.end() for name, contestant in running.items()}
        vectors = {
            name: np.concatenate([np.load(Path(folder) / f"{name}-{number}.npy") for number in range(ROUNDS)])
            for name in CONTESTANTS
        }
    reference = _unit(vectors["theirs"])
    operations = last["auto"]["operations_per_token"] * last["auto"]["tokens"]  # of all rounds
    roof = product_roof(args.threads)
    rates = {name: [size / s for s in seconds[name]] for name in CONTESTANTS}
    figures: dict[str, Any] = {
        "name": "encode",
        "peer": f"SentenceTransformer.encode of sentence-transformers {last['theirs']['version']}, its defaults",
        "scale": args.scale,
        "task": f"{ROUNDS} rounds of {size:,} WordNet texts (definitions and lemma strings), {MODEL}, in turn",
        "machine": {**machine(args.threads), "products": roof, "noise": noise(args.threads)},
        "texts_per_second": {name: spread(rates[name]) for name in CONTESTANTS},
        "ratio": ratios(seconds["theirs"], seconds["auto"]),
        "ratio_float32": ratios(seconds["theirs"], seconds["float32"]),
        "whole_process_ratio": {
            name: (last["theirs"]["ready"] + sum(seconds["theirs"])) / (last[name]["ready"] + sum(seconds[name]))
            for name in CONTESTANTS[1:]
        },
        "ready_seconds": {name: last[name]["ready"] for name in CONTESTANTS},
        "ready_mb": {name: last[name]["ready_mb"] for name in CONTESTANTS},
        "peak_mb": {name: last[name]["peak_mb"] for name in CONTESTANTS},
        "dtype": {name: last[name]["dtype"] for name in CONTESTANTS},
        "lowest_cosine": {
            name: float((reference * _unit(vectors[name])).sum(axis=1).min()) for name in CONTESTANTS[1:]
        },
        "share_of_products": {
            name: operations / sum(seconds[name]) / 1e9 / roof[last[name]["dtype"]] for name in CONTESTANTS
        },
    }
    figures = presented(figures)
    finish(figures, args.json)
    show_table(figures)


def presented(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures with what the terminal and docs/performance.md show of them."""
    peer, roof = figures["peer"], figures["machine"]["products"]
    labels = {"theirs": peer.split(",")[0]} | {
        name: f"litotes, {figures['dtype'][name]}" + (" (its default)" if name == "auto" else "")
        for name in CONTESTANTS[1:]
    }
    against = {"theirs": "", "auto": figures["ratio"], "float32": figures["ratio_float32"]}
    columns = ["", "texts/s", "ratio", "ratio with imports and model", "lowest cosine", "of the products", "peak MB"]
    rows = [
        [
            labels[name],
            figures["texts_per_second"][name],
            against[name],
            figures["whole_process_ratio"].get(name, ""),
            f"{figures['lowest_cosine'][name]:.6f}" if name in figures["lowest_cosine"] else "",
            f"{figures['share_of_products'][name]:.0%}",
            figures["peak_mb"][name],
        ]
        for name in CONTESTANTS
    ]
    return figures | {
        "title": f"Encoding, against {peer}",
        "command": f"python benchmarks/encode.py --scale {figures['scale']}",
        "table": table(columns, rows),
        "notes": [
            "The ratio is in texts a second with the model loaded, round by round; larger is better for litotes.",
            "The lowest cosine is that to the peer's float32 vector, over every text.",
            f"Of the products: multiplications that the texts' tokens need, over what packed products reach here, "
            f"{roof['bfloat16']:.0f} GFLOP/s in bfloat16 and {roof['float32']:.0f} in float32.",
        ],
    }


class Contestant:
    """A process that encodes a round when it is told to."""

    def __init__(self, name: str, size: int, threads: int, folder: Path):
        arguments = [__file__, "--worker", name, "--size", str(size), "--out", str(folder / name)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "true",
            "RAYON_NUM_THREADS": str(threads),
            "LITOTES_QUIET": "1",
            "HF_HUB_OFFLINE": "1",
        }
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.peak = [0.0]
        self.watcher = threading.Thread(target=_watch, args=(self.process.pid, self.peak), daemon=True)
        self.watcher.start()
        self.said = self._hear()
        self.ready, self.ready_mb = time.perf_counter() - start, self.peak[0]

    def round(self, number: int) -> float:
        return float(self._ask(str(number))["seconds"])

    def end(self) -> dict[str, Any]:
        last = self._ask("end")
        self.process.wait()
        self.watcher.join()
        return {**self.said, **last, "ready": self.ready, "ready_mb": self.ready_mb, "peak_mb": self.peak[0]}

    def _ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return dict(json.loads(line))


def work(name: str, size: int, out: Path) -> None:
    rounds = texts(size)
    model: Any
    if name == "theirs":
        import sentence_transformers
        from sentence_transformers import SentenceTransformer

        from litotes.data.models import resolve_model

        model = SentenceTransformer(resolve_model(MODEL), device="cpu")
        encode, said = model.encode, {"version": sentence_transformers.__version__, "dtype": "float32"}
    else:
        from litotes import Encoder

        model = Encoder(MODEL, dtype=name, device="cpu")
        encode, said = lambda part: model.encode(part, "document"), {"dtype": model.dtype}
    encode(rounds[0][:64])
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        number = int(line)
        start = time.perf_counter()
        vectors = encode(rounds[number])
        seconds = time.perf_counter() - start
        np.save(f"{out}-{number}.npy", vectors)
        print(json.dumps({"seconds": seconds}), flush=True)
    print(json.dumps(counted(rounds) if name == "auto" else {}), flush=True)


def texts(size: int) -> list[list[str]]:
    """Rounds of different texts, drawn alike."""
    from litotes.data.wordnet import load_wordnet

    collection = load_wordnet(max(1_000, size * ROUNDS // 2 + 500), "lemmas")
    every = list(dict.fromkeys([*collection.query_texts(), *collection.document_texts()]))
    order = np.random.default_rng(0).permutation(len(every))
    return [[every[row] for row in order[number * size : (number + 1) * size]] for number in range(ROUNDS)]


def counted(rounds: list[list[str]]) -> dict[str, float]:
    """Tokens of all rounds, and operations of the transformer's layers per token (attention itself is left out)."""
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from litotes.data.models import resolve_model

    model = SentenceTransformer(resolve_model(MODEL), device="cpu")
    tokens = sum(int(model.preprocess(part)["attention_mask"].sum()) for part in rounds)
    layers = model[0].model.encoder.layer.modules()
    weights = sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))
    return {"tokens": tokens, "operations_per_token": 2 * weights}


def product_roof(threads: int) -> dict[str, float]:
    """The machine's best GFLOP/s in products of this model's shapes, weights laid out beforehand: best of six."""
    import torch
    from torch import nn

    from litotes.data.packed import PackedLinear

    torch.set_num_threads(threads)
    rates = {}
    for name in ("float32", "bfloat16"):
        dtype = getattr(torch, name)
        x, layer = torch.randn(2048, 384, dtype=dtype), PackedLinear(nn.Linear(384, 1536).to(dtype))
        best = float("inf")
        with torch.inference_mode():
            for _ in range(7):
                start = time.perf_counter()
                for _ in range(10):
                    layer(x)
                best = min(best, (time.perf_counter() - start) / 10)
        rates[name] = round(2 * 2048 * 384 * 1536 / best / 1e9, 1)
    return rates


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
