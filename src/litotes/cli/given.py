"""Options that several commands share, and the collection they name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Corpus = Annotated[Path | None, typer.Option(help="Documents: corpus.jsonl ({_id, title, text}) or Parquet.")]
Queries = Annotated[Path | None, typer.Option(help="Queries: queries.jsonl ({_id, text}) or Parquet.")]
Qrels = Annotated[
    Path | None, typer.Option(help="Judgements: a TSV (query-id, corpus-id, score), Parquet, or a folder.")
]
AnchorColumn = Annotated[str | None, typer.Option(help="Column of anchors in a file of pairs, if not found by name.")]
PositiveColumn = Annotated[
    str | None, typer.Option(help="Column of positives in a file of pairs, if not found by name.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out, count and list them.")]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Model = Annotated[str, typer.Option(help="Encoder: a sentence-transformers folder or hub name.")]
QueryPrompt = Annotated[str | None, typer.Option(help="Text put before every query.")]
DocumentPrompt = Annotated[str | None, typer.Option(help="Text put before every document.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps vectors, so that no text is encoded twice.")]

MINILM = "all-MiniLM-L6-v2"


def collection_of(
    source: str | None,
    *,
    corpus: Path | None = None,
    queries: Path | None = None,
    qrels: Path | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
) -> Any:
    """The collection that the options name; what was skipped or noted is told on standard error."""
    from litotes.data.readers import read_collection

    read = read_collection(
        source,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        anchor=anchor,
        positive=positive,
        split=split,
        skip_bad=skip_bad,
    )
    if read.bad.total:
        print(read.bad.summary(), file=sys.stderr)
    for note, count in getattr(read, "notes", {}).items():
        print(f"note: {note}: {count}", file=sys.stderr)
    return read.collection
