"""litotes report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  litotes report runs/default

  litotes report runs/default/results.json --out report.html
"""


def add(app: typer.Typer) -> None:
    app.command("report", epilog=EXAMPLES)(report)


def report(
    results: Annotated[Path, typer.Argument(help="A run folder or its results.json.")],
    out: Annotated[Path | None, typer.Option(help="Where the HTML file goes; default: beside the results.")] = None,
) -> None:
    """Draw the results of a run again: one self-contained HTML file, and the table."""
    from rich.console import Console

    from litotes.atomic import read_json
    from litotes.audit.report import write_report
    from litotes.recipe.table import arms_table, remarks

    file = results / "results.json" if results.is_dir() else results
    if not file.exists():
        raise FileNotFoundError(f"no results at {file}")
    figures = read_json(file)
    target = out or file.with_name("report.html")
    write_report(figures, target)
    console = Console()
    console.print(arms_table(figures))
    console.print(*remarks(figures), sep="\n", highlight=False)
    console.print(f"report   {target}", highlight=False, soft_wrap=True)
