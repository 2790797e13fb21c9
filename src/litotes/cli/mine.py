"""litotes mine"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

EXAMPLES = """
[bold]Examples[/bold]

  litotes mine --corpus corpus.jsonl --queries queries.jsonl --qrels qrels/train.tsv --out evidence.parquet

  litotes mine DATA/scifact --model BAAI/bge-small-en-v1.5 --out evidence

  litotes mine pairs.csv --out evidence.parquet --to flagembedding --to-out train.jsonl --n 7

  litotes mine wordnet:2000 --source 'bm25(depth=50)' --source 'dense(depth=50, skip=10)' --out evidence

  litotes mine DATA/scifact --query-vectors q.npy --corpus-vectors c.npy --out evidence

  litotes mine pairs.jsonl --like sentence-transformers --like-option relative_margin=0.05 --out evidence
"""


def add(app: typer.Typer) -> None:
    app.command("mine", epilog=EXAMPLES)(mine)


def mine(
    collection: Annotated[
        str | None, typer.Argument(help="A BEIR folder, a file of pairs, wordnet[:N], hf://owner/name[:config].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Evidence: a folder, or one file ending in .parquet.")] = Path("evidence"),
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    split: Annotated[str | None, typer.Option(help="Split to mine for; default: train, or the only one.")] = None,
    model: given.Model = given.MINILM,
    no_model: Annotated[bool, typer.Option("--no-model", help="No encoder: BM25 finds and scores.")] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Where negatives come from; again for several. Default: dense(depth=DEPTH)."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Candidates per anchor of the default source.")] = 100,
    skip: Annotated[int, typer.Option(min=0, help="Ranks the default source leaves out at the top.")] = 0,
    vetter: Annotated[
        list[str] | None, typer.Option(help="Who doubts; again for several. Default: relative_margin(margin=0.05).")
    ] = None,
    no_vet: Annotated[bool, typer.Option("--no-vet", help="Believe everything that is found.")] = False,
    query_vectors: Annotated[Path | None, typer.Option(help="Vectors you have: .npy (+ ids file) or Parquet.")] = None,
    corpus_vectors: Annotated[Path | None, typer.Option(help="Vectors you have: .npy (+ ids file) or Parquet.")] = None,
    query_ids: Annotated[Path | None, typer.Option(help="Ids of the .npy rows, .txt or .json.")] = None,
    corpus_ids: Annotated[Path | None, typer.Option(help="Ids of the .npy rows, .txt or .json.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Also write a training format (litotes convert --formats lists them).")
    ] = None,
    to_out: Annotated[Path | None, typer.Option(help="Where that goes; default: beside the evidence.")] = None,
    n: Annotated[
        int | None, typer.Option(min=1, help="Negatives per anchor in the training format; default: 5.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Choose as that miner does: sentence-transformers, flagembedding or nemo.")
    ] = None,
    like_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that miner, by its own name.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Like sentence-transformers: triplet, n-tuple, labeled-pair or labeled-list.")
    ] = "triplet",
    scores: Annotated[bool, typer.Option("--scores", help="Like sentence-transformers: add the scores.")] = False,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    cache: given.Cache = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random draws.")] = 0,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Find negatives for every anchor, score them, doubt the false ones: evidence that is never silently dropped."""
    data = given.collection_of(
        collection,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        anchor=anchor_column,
        positive=positive_column,
        skip_bad=skip_bad,
    )
    split = _split(data, split)
    if (query_vectors is None) != (corpus_vectors is None):
        raise ValueError("--query-vectors and --corpus-vectors go together, got one of them")
    vectors: dict[str, Any] = {}
    if query_vectors is not None and corpus_vectors is not None:
        from litotes.data.readers import read_vector_pair

        read = read_vector_pair(data, query_vectors, corpus_vectors, query_ids=query_ids, corpus_ids=corpus_ids)
        vectors = {"query_vectors": read.queries, "corpus_vectors": read.corpus}
    encoder = None
    if not vectors and not no_model:
        from litotes.data.encoder import Encoder

        # a preset stands for the peer's own rules, and the peers compute in single precision
        precision = "float32" if like else dtype
        prompts = {"query_prompt": query_prompt, "document_prompt": document_prompt}
        encoder = Encoder(model, dtype=precision, cache=cache, **prompts)  # type: ignore[arg-type]
    if like is not None:
        from litotes.cli.like import mine_like

        mine_like(
            like,
            like_option or [],
            data,
            split,
            encoder,
            vectors,
            n=n,
            seed=seed,
            out=out,
            layout=layout,
            scores=scores,
            to_out=to_out,
            cache=cache,
            json=json,
        )
        return

    from litotes import catalog
    from litotes.cli.say import say
    from litotes.mining import mine as mine_negatives

    default = f"bm25(depth={depth}, skip={skip})" if no_model and not vectors else f"dense(depth={depth}, skip={skip})"
    sources = [catalog.parse(text, stage="source", scale="disk") for text in (source or [default])]
    wanted = [] if no_vet else (vetter or ["relative_margin(margin=0.05)"])
    vetters = [catalog.parse(text, stage="vetter", scale="disk") for text in wanted]
    mining = mine_negatives(
        data, split, model=encoder, sources=sources, vetters=vetters, out=out, cache=cache, **vectors
    )
    summary = mining.evidence.describe()
    n = n or 5
    counts = {
        "evidence": str(out),
        "anchors": mining.anchors,
        "resumed": mining.resumed,
        "rows": mining.rows,
        "positives": mining.positives,
        "judged negatives": mining.judged,
        "candidates": mining.candidates,
        "believed negatives": summary.believed,
        "anchors without a believed negative": summary.short(1),
        f"anchors with fewer than {n}": summary.short(n),
        "copies of positives left out": mining.duplicates,
        **{f"doubted by {part}": count for part, count in mining.doubted.items()},
        **{f"anchors that got less from {name}": count for name, count in mining.short.items()},
        **{f"seconds to {step}": round(value, 2) for step, value in mining.seconds.items()},
    }
    written = None
    if to is not None:
        from litotes.data.formats import convert

        target = to_out or out.with_suffix(".jsonl")
        written = convert(out, target, target_format=to, collection=data, split=split, negatives=n)
        counts["training file"] = ", ".join(map(str, written.files))
    if json:
        say(counts)
        return
    from litotes.cli.say import rows

    rows(counts, title=f"mined {data.name}, {split}")
    if written is not None:
        print(written.summary(), file=sys.stderr)


def _split(data: Any, split: str | None) -> str:
    if split is not None:
        return split
    if "train" in data.splits:
        return "train"
    if len(data.splits) == 1:
        return str(data.splits[0])
    raise ValueError(
        f"--split: the collection {data.name!r} has {data.splits or 'no judgements'}; say which to mine for"
    )
