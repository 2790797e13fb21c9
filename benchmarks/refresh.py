"""What mining anew costs a training run: WordNet, all-MiniLM-L6-v2, the default schedule of `Refresh`.

One positive and two mined negatives per anchor, batches of 32, InfoNCE over all candidates of the batch. In turn: a run
without refreshes, one that mines in place, and, with --scale full, one that mines in a thread beside training with a
lag of 20 steps, on a core that is free beside it. The share is the time in which training stood still for refreshes,
over the time in the trainer; the time that is more than that of the run without is given besides.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from _harness import finish, machine, noise, options, process, show_table, spread, table

BATCH, NEGATIVES, MODEL = 32, 2, "all-MiniLM-L6-v2"
SCALE = {"small": (200, 24, 1), "full": (1500, 160, 3)}  # documents, steps, runs
KINDS = {"none": "no refresh", "inside": "in place", "beside": "in a thread, lag 20"}


def main() -> None:
    args = options(__doc__ or "")
    size, steps, runs = SCALE[args.scale]
    if args.worker:
        args.out.write_text(json.dumps(worker(args.worker, size if args.size is None else args.size)))
        return
    me = str(Path(__file__).resolve())
    seen: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    kinds = [kind for kind in KINDS if args.scale == "full" or kind != "beside"]
    for _ in range(runs):
        for kind in kinds:
            arguments = [me, "--worker", kind, "--scale", args.scale, "--threads", str(args.threads)]
            seen[kind].append(process(arguments, args.threads))
    rows = []
    for kind in kinds:
        label, done = KINDS[kind], seen[kind]
        rows.append(
            [
                label,
                done[0]["refreshes"],
                spread([run["inside"] for run in done]),
                spread([100 * run["waited"] / run["inside"] for run in done]),
                spread(
                    [100 * (run["inside"] / base["inside"] - 1) for run, base in zip(done, seen["none"], strict=True)]
                ),
                spread([run["peak_mb"] for run in done]),
            ]
        )
    work = {
        name: spread([run["work"][name] for run in seen["inside"]])
        for name in ("copy", "encode", "search", "join", "rows")
    }
    figures = {
        "name": "refresh",
        "title": "Mining anew during training",
        "command": f"python benchmarks/refresh.py --scale {args.scale} --threads {args.threads} "
        "--json benchmarks/results/refresh.json",
        "task": f"{size:,} documents of WordNet, {MODEL}, {steps} steps of {BATCH} anchors with {NEGATIVES} negatives; "
        f"Refresh() chose to mine every {seen['inside'][0]['every']} steps",
        "table": table(
            ["refresh", "refreshes", "seconds", "% stood still", "% more time", "peak MB"],
            rows,
        ),
        "work": work,
        "runs": seen,
        "share_stood_still": spread([run["waited"] / run["inside"] for run in seen["inside"]]),
        "notes": [
            "seconds of one refresh in place: "
            + ", ".join(f"{name} {value['median']:.2f}" for name, value in work.items()),
        ],
        "machine": {**machine(args.threads), "noise": noise(args.threads)},
    }
    show_table(figures)
    finish(figures, args.json)


def worker(kind: str, size: int) -> dict[str, Any]:
    """One run; seconds in the trainer and seconds in which it stood still."""
    from litotes.data.wordnet import load_wordnet
    from litotes.mining import mine
    from litotes.objectives.contrastive.infonce import InfoNCE
    from litotes.sources.mined.dense import Mined
    from litotes.training.refresh import Refresh
    from litotes.training.retriever import train_retriever

    steps = next(steps for documents, steps, _ in SCALE.values() if documents == size)
    collection = load_wordnet(size=size)
    evidence = mine(collection, "train", model=MODEL, sources=[Mined(depth=30)]).evidence
    refresh = {"none": None, "inside": Refresh(), "beside": Refresh(lag=20, asynchronous=True)}[kind]
    with tempfile.TemporaryDirectory() as folder:
        done = train_retriever(
            MODEL, evidence, collection, objective=InfoNCE(0.05), out=Path(folder) / "model", max_steps=steps,
            batch_size=BATCH, n=NEGATIVES, refresh=refresh, checkpoints=10_000,
        )  # fmt: skip
    waited = sum(entry["waited"] for entry in done.refreshes)
    kinds = [entry["seconds"] for entry in done.refreshes]
    return {
        "inside": done.seconds,
        "waited": waited,
        "refreshes": len(done.refreshes),
        "every": done.refreshes[0]["mined_at"] if done.refreshes else None,
        "new": [entry["new"] for entry in done.refreshes],
        "work": {name: sum(each[name] for each in kinds) / len(kinds) for name in kinds[0]} if kinds else {},
    }


if __name__ == "__main__":
    main()
