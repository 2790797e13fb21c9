"""litotes convert"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.errors import BadInput

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
    to: Annotated[
        str | None,
        typer.Option(help="The format wanted; default: by the ending. sentence-transformers means triplets."),
    ] = None,
    collection: Annotated[str | None, typer.Option(help="The texts, where the source has ids only.")] = None,
    split: Annotated[str, typer.Option(help="Split of the judgements.")] = "train",
    n: Annotated[int | None, typer.Option(min=1, help="Negatives per anchor; default: all believed ones.")] = None,
    pick: Annotated[str, typer.Option(help="Which of them: top or random.")] = "top",
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the format's reader or writer.")
    ] = None,
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    overwrite: given.Overwrite = False,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats.")] = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Turn collections and evidence into other tools' formats and back; what a format cannot hold is counted."""
    from litotes.cli.say import say
    from litotes.data.formats import convert as change

    if formats:
        _list(json)
        return
    if source is None or target is None:
        raise ValueError(
            "convert needs what you have and where the other form goes: litotes convert SOURCE TARGET --to FORMAT"
        )
    given.one_of("--pick", pick, ("top", "random"))
    options = dict(_option(text) for text in option or [])
    from_ = None if from_ is None else given.format_of("--from", from_, "reader")
    to = _by_ending(target) if to is None else given.format_of("--to", to, "writer")
    parts = {"corpus": corpus, "queries": queries, "qrels": qrels, "anchor": anchor_column, "positive": positive_column}
    data = None
    if collection is not None or any(value is not None for value in parts.values()):
        data = given.collection_of(collection, **parts, skip_bad=skip_bad)  # type: ignore[arg-type]
    try:
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
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise ValueError(_as_flags(str(error))) from error
    if json:
        say(
            {
                "rows": written.rows,
                "files": [str(file) for file in written.files],
                "lost": dict(written.lost),
                "notes": dict(written.notes),
                "skipped": written.bad.total,
            }
        )
    else:
        print(written.summary())


def _by_ending(target: Path) -> str:
    from litotes.data.formats import FORMATS
    from litotes.data.formats.conversion import BY_ENDING

    if target.suffix in BY_ENDING:
        return BY_ENDING[target.suffix]
    ending = target.suffix or "/"
    likely = [one.name for one in FORMATS.values() if one.writer is not None and ending in one.extensions]
    raise ValueError(f"--to: {target.name!r} may be {', '.join(likely) or 'no format that is known'}; say which")


def _as_flags(message: str) -> str:
    """A message about arguments of the function, in terms of the command line."""
    flags = {"negatives": "--n", "how": "--pick", "source_format": "--from", "target_format": "--to"}
    flags |= {name: f"--{name.replace('_', '-')}" for name in ("split", "skip_bad")}
    message = message.removeprefix("convert: ")
    name = message.partition("=")[0]
    if " has no meaning from " in message:
        return message.replace(f"{name}=", f"{flags.get(name, f'--option {name}')} ", 1)
    return message.replace("source_format", "--from").replace("target_format", "--to")


def _option(text: str) -> tuple[str, Any]:
    import inspect

    from litotes.data.formats import convert as change

    name, value = given.option("--option", text)
    own = {"source", "target", "source_format", "target_format", "collection", "split", "negatives", "how"}
    known = [known for known in inspect.signature(change).parameters if known not in own | {"skip_bad", "overwrite"}]
    given.one_of("--option", name, known)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _list(json: bool) -> None:
    from litotes.cli.say import say, table
    from litotes.data.formats import FORMATS

    every = FORMATS.values()
    if json:
        sides = [{"reads": one.reader is not None, "writes": one.writer is not None} for one in every]
        say(
            [
                {"name": one.name, **side, "summary": one.summary, "holds": sorted(one.holds)}
                for one, side in zip(every, sides, strict=True)
            ]
        )
        return
    yes = {True: "yes", False: ""}
    lines = [(one.name, yes[one.reader is not None], yes[one.writer is not None], one.summary) for one in every]
    table(("name", "reads", "writes", "what it is"), lines)
    for alias, name in given.ALIASES.items():
        print(f"\n--to {alias} means --to {name}")
