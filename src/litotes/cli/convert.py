"""litotes convert"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

EXAMPLES = """
[bold]Examples[/bold]

  litotes convert --formats

  litotes convert pairs.csv DATA/mine --to beir

  litotes convert evidence train.jsonl --to flagembedding --collection DATA/scifact --n 7

  litotes convert triplets.jsonl evidence.parquet --from triplets --to evidence
"""


def add(app: typer.Typer) -> None:
    app.command("convert", epilog=EXAMPLES)(convert)


def convert(
    source: Annotated[Path | None, typer.Argument(help="What you have.")] = None,
    target: Annotated[Path | None, typer.Argument(help="Where the other form goes.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Its format; default: found out.")] = None,
    to: Annotated[str | None, typer.Option(help="The format wanted; default: by the ending.")] = None,
    collection: Annotated[str | None, typer.Option(help="The texts, where the source has ids only.")] = None,
    split: Annotated[str, typer.Option(help="Split of the judgements.")] = "train",
    n: Annotated[int | None, typer.Option(min=1, help="Negatives per anchor; default: all believed ones.")] = None,
    pick: Annotated[str, typer.Option(help="Which of them: top or random.")] = "top",
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the format's writer.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats.")] = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Turn collections and evidence into other tools' formats and back; what a format cannot hold is counted."""
    from litotes.cli.say import say
    from litotes.data.formats import FORMATS
    from litotes.data.formats import convert as change

    if formats:
        _list(FORMATS, json)
        return
    if source is None or target is None:
        raise ValueError(
            "convert needs what you have and where the other form goes: litotes convert SOURCE TARGET --to FORMAT"
        )
    data = given.collection_of(collection, skip_bad=skip_bad) if collection is not None else None
    options: dict[str, Any] = dict(_option(text) for text in option or [])
    written = change(
        source,
        target,
        source_format=from_,
        target_format=to,
        collection=data,
        split=split,
        negatives=n,
        how=pick,  # type: ignore[arg-type]
        skip_bad=skip_bad,
        overwrite=overwrite,
        **options,
    )
    if json:
        files = [str(file) for file in written.files]
        say(
            {
                "rows": written.rows,
                "files": files,
                "lost": dict(written.lost),
                "notes": dict(written.notes),
                "skipped": written.bad.total,
            }
        )
        return
    print(written.summary(), file=sys.stderr)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option {text!r}: expected name=value")
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _list(formats: dict[str, Any], json: bool) -> None:
    from litotes.cli.say import say

    rows = [
        {
            "name": f.name,
            "reads": f.reader is not None,
            "writes": f.writer is not None,
            "summary": f.summary,
            "holds": sorted(f.holds),
        }
        for f in formats.values()
    ]
    if json:
        say(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "reads", "writes", "what it is"):
        table.add_column(column, no_wrap=column == "name")
    for row in rows:
        table.add_row(row["name"], "yes" if row["reads"] else "", "yes" if row["writes"] else "", row["summary"])
    Console().print(table)
