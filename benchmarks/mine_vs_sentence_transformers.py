"""Mining WordNet: litotes against `sentence_transformers.util.mine_hard_negatives`, same input, same model.

Definitions against lemma strings; 5 negatives, relative margin 0.05, depth 100. Both are whole processes, started in
turn: imports and loading the model are in the seconds of both. What is compared beside speed: which anchors are kept,
peak memory, and, with litotes in float32 as the peer is, that the chosen negatives are the same.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from _harness import finish, in_turn, machine, options, process, product_rates, ratios, spread

NEGATIVES, MARGIN, DEPTH = 5, 0.05, 100
SIZES = {"small": 1_000, "full": 10_000}
RUNS = {"small": 2, "full": 3}


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        result = {"ours": ours, "ours-float32": lambda size: ours(size, "float32"), "theirs": theirs}[args.worker](
            args.size
        )
        args.out.write_text(json.dumps(result))
        return
    size, me = SIZES[args.scale], str(Path(__file__).resolve())

    def worker(which: str) -> dict[str, Any]:
        return process([me, "--worker", which, "--size", str(size)], args.threads)

    mine, peer = in_turn(lambda: worker("ours"), lambda: worker("theirs"), RUNS[args.scale])
    exact = worker("ours-float32")
    both = [anchor for anchor in peer[0]["negatives"] if len(exact["negatives"].get(anchor, ())) >= NEGATIVES]
    same = sum(exact["negatives"][anchor] == peer[0]["negatives"][anchor] for anchor in both)
    overlap = [
        len(set(mine[0]["negatives"][a]) & set(peer[0]["negatives"][a])) / NEGATIVES
        for a in both
        if a in mine[0]["negatives"]
    ]
    figures = {
        "name": "mine_vs_sentence_transformers",
        "peer": f"sentence-transformers {peer[0]['version']} mine_hard_negatives",
        "scale": args.scale,
        "task": f"{size} definitions against {peer[0]['documents']} lemma strings, {NEGATIVES} negatives, "
        f"relative margin {MARGIN}, depth {DEPTH}",
        "machine": {**machine(args.threads), "products": product_rates(args.threads)},
        "ratio": ratios([r["seconds"] for r in peer], [r["seconds"] for r in mine]),
        "ratio_without_imports": ratios([r["work"] for r in peer], [r["work"] for r in mine]),
        "memory_ratio": ratios([r["peak_mb"] for r in peer], [r["peak_mb"] for r in mine]),
        "seconds": {"ours": spread([r["seconds"] for r in mine]), "theirs": spread([r["seconds"] for r in peer])},
        "peak_mb": {"ours": spread([r["peak_mb"] for r in mine]), "theirs": spread([r["peak_mb"] for r in peer])},
        "anchors_kept": {"ours": mine[0]["kept"], "theirs": peer[0]["kept"], "of": size},
        "equal": {
            "what": "the ordered negatives of every anchor that both keep with all its negatives, litotes in float32",
            "anchors": len(both),
            "same": same,
            "float32_seconds": exact["seconds"],
            "bf16_overlap": sum(overlap) / max(len(overlap), 1),
        },
    }
    finish(figures, args.json)
    show(figures)


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['task']}\nagainst {figures['peer']}, {figures['machine']['threads']} threads")
    for name in ("seconds", "peak_mb"):
        for who, values in figures[name].items():
            figures_of = " ".join(f"{values[key]:8.1f}" for key in ("min", "median", "max"))
            print(f"  {name:8} {who:7} {figures_of}   (min, median, max)")
    for name, what in (
        ("ratio", "as fast, whole processes"),
        ("ratio_without_imports", "as fast, without imports and model"),
        ("memory_ratio", "as small"),
    ):
        print(
            f"  {figures[name]['median']:.2f} times {what} ({figures[name]['min']:.2f} to {figures[name]['max']:.2f})"
        )
    rates = figures["machine"]["products"]
    print(f"  this machine multiplies bfloat16 {rates['bfloat16'] / rates['float32']:.2f} times as fast as float32")
    kept, equal = figures["anchors_kept"], figures["equal"]
    print(f"  anchors kept: {kept['ours']} and {kept['theirs']} of {kept['of']}")
    print(f"  same negatives in float32: {equal['same']} of {equal['anchors']}")
    print(f"  overlap in low precision: {equal['bf16_overlap']:.1%}")


def task(size: int) -> Any:
    """All definitions of the subset as anchors of one split."""
    import pyarrow as pa

    from litotes.data.wordnet import load_wordnet

    collection = load_wordnet(size, "lemmas")
    return collection.with_qrels({"all": pa.concat_tables(collection.qrels.values())})


def ours(size: int, dtype: str = "auto") -> dict[str, Any]:
    from litotes.data.encoder import Encoder
    from litotes.mining import mine
    from litotes.sources.mined.dense import Mined
    from litotes.vetting.relative_margin import RelativeMargin

    collection = task(size)
    encoder = Encoder("all-MiniLM-L6-v2", dtype=dtype)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # evidence on disk, as the command line writes it
        mining = mine(
            collection,
            "all",
            model=encoder,
            sources=[Mined(depth=DEPTH)],
            vetters=[RelativeMargin(MARGIN)],
            out=Path(folder) / "evidence",
        )
        chosen = mining.evidence.select(NEGATIVES)
    work = time.perf_counter() - start
    texts = dict(zip(collection.corpus["id"].to_pylist(), collection.document_texts(), strict=True))
    asked = dict(zip(collection.queries["id"].to_pylist(), collection.query_texts(), strict=True))
    negatives: dict[str, list[str]] = {}
    for anchor, candidate, sign in zip(
        *(chosen[name].to_pylist() for name in ("anchor", "candidate", "sign")), strict=True
    ):
        listed = negatives.setdefault(asked[anchor], [])
        if sign < 0:
            listed.append(texts[candidate])
    return {
        "work": work,
        "kept": len(set(chosen["anchor"].to_pylist())),
        "documents": len(texts),
        "negatives": negatives,
    }


def theirs(size: int) -> dict[str, Any]:
    import sentence_transformers
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from litotes.data.models import resolve_model

    collection = task(size)
    texts = dict(zip(collection.corpus["id"].to_pylist(), collection.document_texts(), strict=True))
    asked = dict(zip(collection.queries["id"].to_pylist(), collection.query_texts(), strict=True))
    judged = collection.qrels["all"]
    pairs = {
        "anchor": [asked[query] for query in judged["query"].to_pylist()],
        "positive": [texts[document] for document in judged["document"].to_pylist()],
    }
    model = SentenceTransformer(resolve_model("all-MiniLM-L6-v2"), device="cpu")
    start = time.perf_counter()
    mined = mine_hard_negatives(
        Dataset.from_dict(pairs),
        model,
        corpus=list(texts.values()),
        range_max=DEPTH,
        relative_margin=MARGIN,
        num_negatives=NEGATIVES,
        output_format="n-tuple",
        verbose=False,
    )
    work = time.perf_counter() - start
    columns = [mined[f"negative_{i + 1}"] for i in range(NEGATIVES)]
    negatives = dict(zip(mined["anchor"], (list(row) for row in zip(*columns, strict=True)), strict=True))
    return {
        "work": work,
        "kept": len(negatives),
        "documents": len(texts),
        "negatives": negatives,
        "version": sentence_transformers.__version__,
    }


if __name__ == "__main__":
    main()
