"""Training on WordNet: litotes on the sentence-transformers trainer against that trainer as it comes.

Definitions against lemmas and examples, one positive and two random negatives per anchor, batches of 32, InfoNCE over
all candidates of the batch on both sides (MultipleNegativesRankingLoss, scale 20 = temperature 0.05), same model, same
steps. Seconds are those inside `train`; loading and mining are left out. litotes also looks every pair up in evidence.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import finish, machine, options, process, ratios, spread

BATCH, NEGATIVES = 32, 2
STEPS = {"small": 8, "full": 40}
RUNS = {"small": 1, "full": 3}
MODEL = "all-MiniLM-L6-v2"


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        side, precision, *rest = args.worker.split("-")
        run = {"ours": ours, "theirs": theirs}[side]
        args.out.write_text(json.dumps(run(args.size, precision, "nodropout" in rest)))
        return
    me = str(Path(__file__).resolve())
    names = ["ours-bf16", "theirs-fp32", "ours-fp32", "theirs-bf16", "ours-bf16-nodropout"]
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(RUNS[args.scale]):
        for name in names:
            arguments = [me, "--worker", name, "--size", str(STEPS[args.scale])]
            seen[name].append(process(arguments, args.threads))
    speed = {name: [run["texts"] / run["inside"] for run in runs] for name, runs in seen.items()}
    figures = {
        "name": "train_step",
        "peer": "SentenceTransformerTrainer with MultipleNegativesRankingLoss",
        "model": MODEL,
        "steps": STEPS[args.scale],
        "texts_per_second": {name: spread(values) for name, values in speed.items()},
        "peak_mb": {name: spread([run["peak_mb"] for run in runs]) for name, runs in seen.items()},
        "ratio_as_both_come": ratios(speed["ours-bf16"], speed["theirs-fp32"]),
        "ratio_in_float32": ratios(speed["ours-fp32"], speed["theirs-fp32"]),
        "ratio_in_bfloat16": ratios(speed["ours-bf16"], speed["theirs-bf16"]),
        "machine": machine(args.threads),
    }
    for name, values in figures["texts_per_second"].items():
        print(f"{name:20s} {values['median']:7.0f} texts/s  {figures['peak_mb'][name]['median']:7.0f} MB")
    for name in ("ratio_as_both_come", "ratio_in_float32", "ratio_in_bfloat16"):
        print(f"{name:20s} {figures[name]['median']:7.2f}")
    finish(figures, args.json)


def task(steps: int) -> tuple[Any, list[tuple[int, int, list[int]]]]:
    """The collection, and (query row, positive row, negative rows) of as many anchors as the steps need."""
    from litotes.data.anchors import Anchors
    from litotes.data.wordnet import load_wordnet

    collection = load_wordnet(size=4_000)
    anchors, random = Anchors.of(collection, "train"), np.random.default_rng(0)
    rows = []
    for i in range(min(steps * BATCH, len(anchors))):
        free = np.setdiff1d(random.integers(0, len(collection.corpus), 20), anchors.excluded.row(i))
        negatives = random.permutation(free)[:NEGATIVES].tolist()
        rows.append((int(anchors.query[i]), int(anchors.positives.row(i)[0]), negatives))
    return collection, rows


def ours(steps: int, precision: str, nodropout: bool) -> dict[str, Any]:
    """train_retriever."""
    from litotes.evidence import make
    from litotes.objectives.contrastive.infonce import InfoNCE
    from litotes.training.retriever import train_retriever

    collection, rows = task(steps)
    queries, documents = collection.queries["id"].to_pylist(), collection.corpus["id"].to_pylist()
    pairs = [(q, d, 1 if d == p else -1) for q, p, negatives in rows for d in (p, *negatives)]
    evidence = make(
        [queries[q] for q, _, _ in pairs],
        [documents[d] for _, d, _ in pairs],
        [sign for _, _, sign in pairs],
        source="benchmark",
    )
    with tempfile.TemporaryDirectory() as folder:
        done = train_retriever(
            MODEL, evidence, collection, objective=InfoNCE(0.05), out=Path(folder) / "model", max_steps=steps,
            n=NEGATIVES, precision="bf16" if precision == "bf16" else "fp32", dropout=0.0 if nodropout else None,
        )  # fmt: skip
    return {
        "inside": done.seconds,
        "texts": steps * BATCH * (2 + NEGATIVES),
        "loss": done.curve[-1]["loss"] if done.curve else 0,
    }


def theirs(steps: int, precision: str, nodropout: bool) -> dict[str, Any]:
    """The trainer and the loss of sentence-transformers, with their defaults."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from litotes.data.inference import best_device
    from litotes.data.models import resolve_model

    collection, rows = task(steps)
    queries, documents = collection.query_texts(), collection.document_texts()
    columns = {"anchor": [queries[q] for q, _, _ in rows], "positive": [documents[p] for _, p, _ in rows]}
    for k in range(NEGATIVES):
        columns[f"negative_{k + 1}"] = [documents[negatives[k]] for _, _, negatives in rows]
    model = SentenceTransformer(resolve_model(MODEL), device=best_device())
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, use_cpu=best_device() == "cpu", bf16=precision == "bf16",
            per_device_train_batch_size=BATCH, max_steps=steps, warmup_steps=0.1, report_to="none",
            disable_tqdm=True, save_strategy="no", logging_steps=10,
        )  # fmt: skip
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model),
        )
        start = time.perf_counter()
        trainer.train()
        inside = time.perf_counter() - start
    return {"inside": inside, "texts": steps * BATCH * (2 + NEGATIVES)}


if __name__ == "__main__":
    main()
