"""Options that several commands share, the collection they name, and the checks that come before any work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli.say import remark

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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Model = Annotated[str, typer.Option(help="Encoder: a sentence-transformers folder or hub name.")]
QueryPrompt = Annotated[str | None, typer.Option(help="Text put before every query.")]
DocumentPrompt = Annotated[str | None, typer.Option(help="Text put before every document.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps vectors, so that no text is encoded twice.")]

MINILM = "all-MiniLM-L6-v2"
ALIASES = {"sentence-transformers": "triplets"}  # of formats: what its trainers read first
DTYPES = ("auto", "float32", "bfloat16", "float16")


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

    if source is None and (queries is None or corpus is None):
        raise ValueError("no collection: name a folder, a file of pairs or wordnet, or give --corpus and --queries")
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
        remark(read.bad.summary())
    for note, count in read.notes.items():
        remark(f"note: {note}: {count}")
    return read.collection


def same_collection(evidence: Any, data: Any) -> None:
    """Remark where evidence was made from something else than the collection that is given."""
    made_from = evidence.fingerprints.get("collection")
    if made_from is not None and made_from != data.fingerprint():
        remark(f"note: {evidence.path} was made from another collection than {data.name!r}, or other splits of it")


def one_of(flag: str, value: str, choices: Iterable[str]) -> str:
    """`value`, if it is among the choices. Raises ValueError that names the nearest ones."""
    from litotes.catalog import nearest

    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{flag} {value!r} is not known; {nearest(value, choices)}")
    return value


def format_of(flag: str, value: str, side: str) -> str:
    """The registry's name of a format that is read ("reader") or written ("writer"), aliases included."""
    from litotes.data.formats import FORMATS

    there = [name for name, one in FORMATS.items() if getattr(one, side) is not None]
    name = one_of(flag, value, [*there, *ALIASES])
    return ALIASES.get(name, name)


def option(flag: str, text: str) -> tuple[str, str]:
    """`name=value` in two."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{flag} {text!r}: expected name=value")
    return name, value


def refuse(ctx: typer.Context, names: Iterable[str], why: str) -> None:
    """Raise ValueError where one of these parameters stands on the command line: nothing is ignored in silence."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise ValueError(f"{parameter.opts[0]} {why}")
