"""litotes rescore"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

EXAMPLES = """
[bold]Examples[/bold]

  litotes rescore evidence DATA/scifact --model cross-encoder/ms-marco-MiniLM-L6-v2

  litotes rescore evidence pairs.csv --model BAAI/bge-large-en-v1.5 --out taught

  litotes rescore evidence pairs.csv --model models/ranker --activation model
"""


def add(app: typer.Typer) -> None:
    app.command("rescore", epilog=EXAMPLES)(rescore)


def rescore(
    evidence: Annotated[Path, typer.Argument(help="Evidence: a folder or a .parquet file.")],
    collection: Annotated[str | None, typer.Argument(help="The collection that holds the texts.")] = None,
    model: Annotated[str, typer.Option(help="The teacher: a cross-encoder or an encoder, by folder or name.")] = "",
    kind: Annotated[str, typer.Option(help="What the model is: auto, cross-encoder or encoder.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="New evidence; default: it is changed in place.")] = None,
    activation: Annotated[
        str, typer.Option(help="Of a cross-encoder's scores: none (raw), or what the model says.")
    ] = "none",
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens that a text or a pair is cut to.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs that a cross-encoder reads at a time.")] = 32,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    cache: given.Cache = None,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Let a teacher score every pair, positives included, for a student to learn from."""
    from litotes.cli.say import tell

    given.one_of("--kind", kind, ("auto", "cross-encoder", "encoder"))
    given.one_of("--activation", activation, ("none", "model"))
    given.one_of("--dtype", dtype, ("auto", "float32", "bfloat16"))
    if not model:
        raise ValueError("--model: name the teacher, a cross-encoder or an encoder")
    from litotes.evidence import Evidence

    store = Evidence.open(evidence)
    data = given.collection_of(
        collection,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        anchor=anchor_column,
        positive=positive_column,
        skip_bad=skip_bad,
    )
    given.same_collection(store, data)
    from litotes.data.encoder import Encoder
    from litotes.data.pair_scorer import PairScorer
    from litotes.mining.teacher import is_cross_encoder
    from litotes.mining.teacher import rescore as let_score

    teacher: Any
    if kind == "cross-encoder" or (kind == "auto" and is_cross_encoder(model)):
        prompts = [prompt for prompt in (query_prompt, document_prompt) if prompt is not None]
        if prompts:
            raise ValueError(
                "--query-prompt and --document-prompt are for encoders; a cross-encoder reads both at once"
            )
        teacher = PairScorer(
            model,
            activation=activation,  # type: ignore[arg-type]
            max_length=max_length,
            dtype=dtype,
            batch_size=batch_size,
        )
    else:
        if activation != "none":
            raise ValueError("--activation is for cross-encoders")
        teacher = Encoder(
            model, query_prompt=query_prompt, document_prompt=document_prompt, max_length=max_length, dtype=dtype
        )
    done = let_score(store, data, teacher, out=out, cache=cache)
    figures = {
        "evidence": str(done.evidence.path),
        "scored by": done.scorer["name"],
        "checksum": done.scorer["checksum"][:12],
        "rows": done.rows,
        "rows scored by an earlier call": done.resumed,
        "believed negatives": done.believed,
        "of them at or above their lowest positive": done.outranked,
        "seconds": round(done.seconds, 1),
    }
    tell(figures, json=json)
