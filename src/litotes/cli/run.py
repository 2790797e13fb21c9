"""litotes run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  litotes run recipes/default.toml

  litotes run recipes/default.toml --set train.lr=5e-5 --set name=hotter

  litotes run recipes/default.toml --seeds 5
"""


def add(app: typer.Typer) -> None:
    app.command("run", epilog=EXAMPLES)(run)


def run(
    recipe: Annotated[Path, typer.Argument(help="A TOML file: the whole experiment.")],
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to run; with several, intervals are over seeds.")] = 1,
    runs: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run a recipe: mine, vet, train and evaluate every arm, then report. Finished steps are not done again."""
    from litotes.cli.say import say
    from litotes.recipe.run import run as run_recipe

    results = run_recipe(recipe, overrides=set_, seeds=seeds, runs=runs)
    folder = runs / results["name"]
    if json:
        say(results)
        return
    from rich.console import Console

    from litotes.recipe.table import arms_table, remarks

    console = Console()
    console.print(arms_table(results))
    console.print(*remarks(results), sep="\n", highlight=False)
    console.print(
        f"figures  {folder / 'results.json'}\nreport   {folder / 'report.html'}", highlight=False, soft_wrap=True
    )
