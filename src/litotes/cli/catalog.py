"""litotes list, litotes show"""

from __future__ import annotations

from typing import Annotated, Any

import typer


def add(app: typer.Typer) -> None:
    app.command("list", epilog="[bold]Examples[/bold]\n\n  litotes list\n\n  litotes list --stage vetter --scale disk")(
        list_
    )
    app.command("show", epilog="[bold]Examples[/bold]\n\n  litotes show gist\n\n  litotes show relative_margin")(show)


def list_(
    stage: Annotated[str | None, typer.Option(help="source, vetter, scorer, objective or temperature.")] = None,
    scale: Annotated[str | None, typer.Option(help="disk or tensor.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """The catalogue: every part by its short name."""
    from litotes import catalog
    from litotes.cli.say import say

    found = catalog.entries(stage, scale)  # type: ignore[arg-type]
    if json:
        say([_entry(entry) for entry in found])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("name", "stage", "scale", "what it does"):
        table.add_column(name, no_wrap=name != "what it does")
    for entry in found:
        table.add_row(entry.name, entry.stage, entry.scale, entry.summary)
    Console().print(table)


def show(
    name: Annotated[str, typer.Argument(help="Short name of a part.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """One part: what it does, its arguments, its papers, where it plugs in."""
    import inspect

    from litotes import catalog
    from litotes.cli.say import rows, say

    entry = catalog.entry(name)
    kind = entry.load()
    arguments = [str(p) for p in inspect.signature(kind).parameters.values()]
    text = inspect.getdoc(kind) or ""
    if json:
        say({**_entry(entry), "arguments": arguments, "doc": text})
        return
    call = f"{entry.name}({', '.join(arguments)})"
    rows(
        {
            "part": call,
            "stage": f"{entry.stage}, {entry.scale} scale",
            "class": entry.target,
            "plugs into": entry.plugs_into,
        }
    )
    for paper in entry.papers:
        rows({"paper": paper})
    typer.echo(f"\n{text}")


def _entry(entry: Any) -> dict[str, Any]:
    names = ("name", "target", "stage", "scale", "summary", "plugs_into")
    return {**{key: getattr(entry, key) for key in names}, "papers": list(entry.papers), "claims": list(entry.claims)}
