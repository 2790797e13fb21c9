"""litotes mine"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.cli.say import tell

EXAMPLES = """
[bold]Examples[/bold]

  litotes mine DATA/scifact --no-model --to sentence-transformers --n 3 --out evidence

  litotes mine --corpus corpus.jsonl --queries queries.jsonl --qrels qrels/train.tsv --out evidence.parquet

  litotes mine DATA/scifact --model BAAI/bge-small-en-v1.5 --out evidence

  litotes mine pairs.csv --out evidence.parquet --to flagembedding --to-out train.jsonl --n 7

  litotes mine wordnet:2000 --source 'bm25(depth=50)' --source 'dense(depth=50, skip=10)' --out evidence

  litotes mine DATA/scifact --query-vectors q.npy --corpus-vectors c.lance --out evidence

  litotes mine DATA/scifact --plan

  litotes mine DATA/scifact --ray auto --workers 2 --out evidence

  litotes mine pairs.jsonl --like sentence-transformers --like-option relative_margin=0.05 --out evidence
"""


def add(app: typer.Typer) -> None:
    app.command("mine", epilog=EXAMPLES)(mine)


def mine(
    ctx: typer.Context,
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
    search: Annotated[
        str, typer.Option(help="How the default source searches: exact, auto, hnsw, ivf or ivfpq (recall is measured).")
    ] = "exact",
    vetter: Annotated[
        list[str] | None, typer.Option(help="Who doubts; again for several. Default: relative_margin(margin=0.05).")
    ] = None,
    no_vet: Annotated[bool, typer.Option("--no-vet", help="Believe everything that is found.")] = False,
    query_vectors: Annotated[
        str | None,
        typer.Option(help="Vectors you have: .npy (+ ids file), Parquet (also a folder) or .lance; or a URL."),
    ] = None,
    corpus_vectors: Annotated[str | None, typer.Option(help="The same for the documents.")] = None,
    query_ids: Annotated[Path | None, typer.Option(help="Ids of the .npy rows, .txt or .json.")] = None,
    corpus_ids: Annotated[Path | None, typer.Option(help="Ids of the .npy rows, .txt or .json.")] = None,
    similarity: Annotated[str, typer.Option(help="How given vectors compare: cosine, dot or l2.")] = "cosine",
    to: Annotated[
        str | None,
        typer.Option(
            help="Also write a training format: sentence-transformers (its triplets), flagembedding, tevatron, ...; "
            "litotes convert --formats lists them."
        ),
    ] = None,
    to_out: Annotated[
        Path | None, typer.Option(help="Where the training format goes; default: beside the evidence.")
    ] = None,
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
    memory: Annotated[
        str | None,
        typer.Option(help="What the whole process may hold, as 2GB or 512MiB; refused before the start if too little."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Encode and search on Ray: auto, local, or a host:port.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many, with --ray; or to reckon for, with --plan.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only reckon what the run would take, from a 2-second probe; write nothing.")
    ] = False,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random draws.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a training file that is there.")] = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Find negatives for every anchor, score them, doubt the false ones: evidence that is never silently dropped."""
    _refuse_ignored(ctx, collection, like, to, no_model, no_vet, source, query_vectors, corpus_vectors)
    _refuse_elsewhere(ctx, like, no_model, ray, plan)
    if memory is not None:
        _bound(memory)
    given.one_of("--dtype", dtype, given.DTYPES)
    given.one_of("--similarity", similarity, ("cosine", "dot", "l2"))
    _refuse_other(out)
    chosen = sources = vetters = target = None
    if like is not None:
        from litotes.cli.like import Like

        given.one_of("--layout", layout, ("triplet", "n-tuple", "labeled-pair", "labeled-list"))
        chosen = Like.of(like, like_option or [], n=n, seed=seed, out=out, to_out=to_out, overwrite=overwrite)
    else:
        from litotes import catalog

        finder = "bm25" if no_model else "dense"
        how = "" if no_model or search == "exact" else f", search={search}"
        spelled = source or [f"{finder}(depth={depth}, skip={skip}{how})"]
        sources = [catalog.parse(text, stage="source", scale="disk") for text in spelled]
        wanted = [] if no_vet else (vetter or ["relative_margin(margin=0.05)"])
        vetters = [catalog.parse(text, stage="vetter", scale="disk") for text in wanted]
        if to is not None:
            to = given.format_of("--to", to, "writer")
            target = _target(out, to, to_out, overwrite)

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
    space = encoder = None
    if query_vectors is not None and corpus_vectors is not None:
        from litotes.data.readers import read_vector_pair
        from litotes.search.space import Space

        read = read_vector_pair(
            data, query_vectors, corpus_vectors, query_ids=query_ids, corpus_ids=corpus_ids, spool=cache
        )
        space = Space(read.queries, read.corpus, similarity, "vectors")
    elif not no_model:
        from litotes.data.encoder import Encoder

        # a preset stands for the peer's own rules, and the peers compute in single precision
        precision = "float32" if like else dtype
        encoder = Encoder(
            model, dtype=precision, cache=cache, query_prompt=query_prompt, document_prompt=document_prompt
        )
    if chosen is not None:
        counts = chosen.mine(data, split, encoder, space, layout=layout, scores=scores, cache=cache)
        tell(counts, json=json, title=f"mined {data.name}, {split}, like {like}")
        return

    from litotes.cluster import Cluster
    from litotes.mining import mine as mine_negatives

    assert sources is not None and vetters is not None
    if plan:
        from litotes.cli.plan import tell_plan
        from litotes.mining.plan import WORKERS
        from litotes.mining.plan import plan as reckon

        counts_of = WORKERS if workers is None else (workers,)
        made = reckon(
            data, split, encoder=encoder, space=space, sources=sources, vetters=vetters, workers=counts_of, seed=seed
        )
        tell_plan(made, f"would mine {data.name}, {split}", json=json)
        return
    with nullcontext() if ray is None else Cluster(ray, workers) as cluster:
        mining = mine_negatives(
            data,
            split,
            model=encoder,
            space=space,
            sources=sources,
            vetters=vetters,
            out=out,
            cache=cache,
            memory=memory,
            cluster=cluster,
        )
    counts = _counts(mining, vetters, out, n or 5, json)
    written = None
    if to is not None and target is not None:
        written = _written(out, target, to, data, split, n or 5, overwrite)
        counts["training file"] = ", ".join(map(str, written.files))
        if json:
            counts |= {"training rows": written.rows, "lost": dict(written.lost), "notes": dict(written.notes)}
    tell(counts, json=json, title=f"mined {data.name}, {split}")
    if written is not None and not json:
        print(written.summary())


def _refuse_ignored(
    ctx: typer.Context,
    collection: str | None,
    like: str | None,
    to: str | None,
    no_model: bool,
    no_vet: bool,
    source: list[str] | None,
    query_vectors: str | None,
    corpus_vectors: str | None,
) -> None:
    """Refuse options that would have no effect beside the others."""
    if (query_vectors is None) != (corpus_vectors is None):
        raise ValueError("--query-vectors and --corpus-vectors go together, got one of them")
    of_model = ("model", "query_prompt", "document_prompt", "dtype")
    if query_vectors is not None:
        given.refuse(ctx, (*of_model, "no_model"), "has no meaning where vectors are given")
    else:
        given.refuse(ctx, ("query_ids", "corpus_ids", "similarity"), "needs --query-vectors and --corpus-vectors")
    if no_model:
        given.refuse(ctx, (*of_model, "search"), "has no meaning with --no-model")
    if no_vet:
        given.refuse(ctx, ("vetter",), "has no meaning with --no-vet")
    if source:
        given.refuse(
            ctx, ("depth", "skip", "search"), "is for the default source; say it in --source, as in dense(depth=50)"
        )
    if like is None:
        given.refuse(ctx, ("like_option", "layout", "scores"), "needs --like")
        if to is None:
            given.refuse(ctx, ("to_out", "overwrite"), "needs --to or --like")
    else:
        ours = ("source", "depth", "skip", "search", "vetter", "no_vet", "to", "dtype", "memory")
        given.refuse(ctx, ours, "has no meaning with --like: that miner's rules hold, see --like-option")
        given.refuse(ctx, ("no_model",), "has no meaning with --like: none of these miners works with BM25")
        if like != "sentence-transformers":
            given.refuse(ctx, ("layout", "scores"), "is for --like sentence-transformers")


def _refuse_elsewhere(ctx: typer.Context, like: str | None, no_model: bool, ray: str | None, plan: bool) -> None:
    """Refuse to run elsewhere, or to reckon, what only runs here, or has no vectors to reckon with."""
    if like is not None:
        given.refuse(ctx, ("ray", "plan"), "has no meaning with --like")
    if no_model:
        given.refuse(ctx, ("ray", "plan"), "is for vectors, and --no-model has none: BM25 runs on this machine")
    if ray is not None:
        given.refuse(ctx, ("memory",), "bounds one process; it has no meaning with --ray")
    elif not plan:
        given.refuse(ctx, ("workers",), "needs --ray or --plan")


def _refuse_other(out: Path) -> None:
    """Refuse a place where something else lies, before any work is done."""
    from litotes.atomic import MARK
    from litotes.evidence import Evidence

    if out.is_file() or (out.is_dir() and (out / "manifest.json").exists()):
        Evidence.open(out)
    elif out.is_dir() and any(not entry.name.endswith(MARK) for entry in out.iterdir()):
        raise FileExistsError(f"--out {out}: a folder with other things in it; choose another place")


def _target(out: Path, to: str, to_out: Path | None, overwrite: bool) -> Path:
    """Where the training format goes: an ending it can have, and nothing there."""
    from litotes.data.formats import FORMATS

    endings = FORMATS[to].extensions
    if to_out is None:
        name = out.name.removesuffix(".parquet")
        to_out = out.with_name(f"{name}-{to}" if endings[0] == "/" else name + endings[0])
    if not any(to_out.name.endswith(e) if e != "/" else not to_out.suffix for e in endings):
        shown = ["none (a folder)" if ending == "/" else ending for ending in endings]
        raise ValueError(f"--to-out {to_out}: the ending of {to} is {' or '.join(shown)}")
    if to_out.resolve() == out.resolve():
        raise ValueError(f"--to-out {to_out}: the evidence goes there")
    if to_out.is_file() and not overwrite:
        raise FileExistsError(f"{to_out} exists; choose another --to-out, or say --overwrite")
    if to_out.is_dir() and any(to_out.iterdir()):
        raise FileExistsError(f"{to_out} exists and is not an empty folder; choose another --to-out")
    return to_out


def _bound(memory: str) -> None:
    """Check the size, and let Arrow take from the C heap, which gives back what it frees, instead of its own arena."""
    from litotes.memory import parse_bytes

    parse_bytes(memory)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow reads it when it is loaded, which is later


def _written(out: Path, target: Path, to: str, data: Any, split: str, n: int, overwrite: bool) -> Any:
    from litotes.data.formats import FORMATS, convert

    takes = FORMATS[to].options("writer")
    asked: dict[str, Any] = {"negatives": n} if "negatives" in takes else {}
    return convert(out, target, target_format=to, collection=data, split=split, overwrite=overwrite, **asked)


def _counts(mining: Any, vetters: list[Any], out: Path, n: int, json: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from litotes.memory import spell_bytes

    summary = mining.evidence.describe()
    return {
        "evidence": str(out),
        "seconds": {step: round(value, 2) for step, value in mining.seconds.items()},
        "memory": {name.replace("_", " "): spell_bytes(size) for name, size in mining.memory.items()},
        "changed input": {name: _listed(value) for name, value in mining.changed.items()},
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
        "doubted by": {name: mining.doubted.get(name, 0) for name in map(str, vetters)},
        "anchors that got less from": dict(mining.short),
        "search": {name: asdict(one) for name, one in mining.searches.items()} if json else _told(mining.searches),
        "notes": {f"{source}: {name}": value for source, said in mining.notes.items() for name, value in said.items()},
    }


def _told(searches: Mapping[str, Any]) -> dict[str, str]:
    """How each source's search was proved, under its bare name where no other has that one."""
    bare = Counter(source.partition("(")[0] for source in searches)
    return {
        source.partition("(")[0] if bare[source.partition("(")[0]] == 1 else source: str(report)
        for source, report in searches.items()
    }


def _listed(value: Any) -> Any:
    return (", ".join(value) or "none") if isinstance(value, list) else value


def _split(data: Any, split: str | None) -> str:
    if split is not None:
        return given.one_of("--split", split, data.splits)
    if "train" in data.splits:
        return "train"
    if len(data.splits) == 1:
        return str(data.splits[0])
    raise ValueError(
        f"--split: the collection {data.name!r} has {data.splits or 'no judgements'}; say which to mine for"
    )
