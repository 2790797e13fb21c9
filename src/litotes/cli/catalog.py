"""litotes list, litotes show"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from litotes.cli import given


def add(app: typer.Typer) -> None:
    app.command("list", epilog="[bold]Examples[/bold]\n\n  litotes list\n\n  litotes list --stage vetter --scale disk")(
        list_
    )
    app.command("show", epilog="[bold]Examples[/bold]\n\n  litotes show gist\n\n  litotes show relative_margin")(show)


def list_(
    stage: Annotated[str | None, typer.Option(help="source, vetter, scorer, objective or temperature.")] = None,
    scale: Annotated[str | None, typer.Option(help="disk or tensor.")] = None,
    json: given.Json = False,
) -> None:
    """The catalogue: every part by its short name."""
    from typing import get_args

    from litotes import catalog
    from litotes.cli.say import say, table

    for flag, value, kinds in (("--stage", stage, catalog.Stage), ("--scale", scale, catalog.Scale)):
        if value is not None:
            given.one_of(flag, value, get_args(kinds))
    found = catalog.entries(stage, scale)  # type: ignore[arg-type]
    if json:
        say([_entry(entry) for entry in found])
        return
    lines = [(entry.name, entry.stage, entry.scale, entry.summary) for entry in found]
    table(("name", "stage", "scale", "what it does"), lines)


def show(
    name: Annotated[str, typer.Argument(help="Short name of a part.")],
    json: given.Json = False,
) -> None:
    """One part: what it does, its arguments, its papers, where it plugs in."""
    import inspect

    from litotes import catalog
    from litotes.cli.say import rows, say

    entry = catalog.entry(name)
    kind = entry.load()
    call = catalog.call(entry.name, kind)
    text = inspect.getdoc(kind) or ""
    if json:
        say({**_entry(entry), "call": call, "doc": text})
        return
    papers = {f"paper {i}" if i > 1 else "paper": paper for i, paper in enumerate(entry.papers, 1)}
    where = {"stage": f"{entry.stage}, {entry.scale} scale", "class": entry.target, "plugs into": entry.plugs_into}
    rows(where | papers, title=call)
    print(f"\n{text}")


def _entry(entry: Any) -> dict[str, Any]:
    names = ("name", "target", "stage", "scale", "summary", "plugs_into")
    return {**{key: getattr(entry, key) for key in names}, "papers": list(entry.papers), "claims": list(entry.claims)}
