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

from _harness import finish, in_turn, machine, noise, options, process, product_rates, ratios, show_table, spread, table

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
    seconds = {who: [r["seconds"] for r in runs] for who, runs in (("ours", mine), ("theirs", peer))}
    work = {who: [r["work"] for r in runs] for who, runs in (("ours", mine), ("theirs", peer))}
    memory = {who: [r["peak_mb"] for r in runs] for who, runs in (("ours", mine), ("theirs", peer))}
    rates = product_rates(args.threads)
    named = f"sentence-transformers {peer[0]['version']}"
    figures = {
        "name": "mine_vs_sentence_transformers",
        "title": f"Mining end to end, against {named} `mine_hard_negatives`",
        "command": f"python benchmarks/mine_vs_sentence_transformers.py --scale {args.scale}",
        "task": f"{size:,} definitions against {peer[0]['documents']:,} lemma strings, {NEGATIVES} negatives, "
        f"relative margin {MARGIN}, depth {DEPTH}; {RUNS[args.scale]} runs in turn",
        "machine": {**machine(args.threads), "products": rates, "noise": noise(args.threads)},
        "table": table(
            ["", "litotes", named, "ratio"],
            [
                ["seconds, whole process", *map(spread, seconds.values()), ratios(seconds["theirs"], seconds["ours"])],
                [
                    "seconds, without imports and model",
                    *map(spread, work.values()),
                    ratios(work["theirs"], work["ours"]),
                ],
                ["peak memory, MB", *map(spread, memory.values()), ratios(memory["theirs"], memory["ours"])],
                ["anchors kept", mine[0]["kept"], peer[0]["kept"], ""],
            ],
        ),
        "notes": [
            "The ratio is theirs over ours, pair by pair: larger is better for litotes.",
            f"In float32, as the peer computes, litotes took {exact['seconds']:.1f} s and chose the same ordered "
            f"negatives for {same:,} of the {len(both):,} anchors that both keep with all their negatives; in its "
            f"default precision {sum(overlap) / max(len(overlap), 1):.1%} of the negatives are the same.",
            f"This machine multiplies bfloat16 {rates['bfloat16'] / rates['float32']:.2f} times as fast as float32.",
        ],
    }
    finish(figures, args.json)
    show_table(figures)


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
