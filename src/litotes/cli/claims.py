"""litotes claims run, litotes claims board"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

claims = typer.Typer(help="Check papers' claims: run them over seeds, read the board.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option(help="Folder of claim files.")]


def add(app: typer.Typer) -> None:
    claims.command(
        "run", epilog="[bold]Examples[/bold]\n\n  litotes claims run gist --seeds 5\n\n  litotes claims run --all"
    )(run)
    claims.command("board", epilog="[bold]Examples[/bold]\n\n  litotes claims board\n\n  litotes claims board --json")(
        board
    )
    app.add_typer(claims, name="claims")


def run(
    names: Annotated[list[str] | None, typer.Argument(help="Names of claims.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every claim in the folder.")] = False,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 5,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    folder: Folder = Path("claims"),
    write: Annotated[bool, typer.Option(help="Put the results on the board.")] = True,
    json: given.Json = False,
) -> None:
    """Run claims and print the paired difference with its interval and the verdict."""
    from litotes.audit.claims import find_claims, run_claim, update_board
    from litotes.cli.say import say

    there = find_claims(folder)
    wanted = list(there) if all_ else list(names or [])
    if not wanted:
        raise ValueError(f"name a claim or say --all; in {folder} there are {', '.join(there) or 'none'}")
    for name in wanted:
        given.one_of("the claim", name, there)
    lines = []
    for name in wanted:
        result = run_claim(there[name], range(first, first + seeds))
        if write:
            update_board(folder, [result])
        lines.append(result.as_board())
        if not json:
            _show(lines[-1:])
    if json:
        say(lines)


def board(
    folder: Folder = Path("claims"),
    json: given.Json = False,
) -> None:
    """Print the board."""
    from litotes.atomic import read_json
    from litotes.cli.say import say

    file = folder / "board.json"
    if not file.exists():
        raise FileNotFoundError(f"no board at {file}; litotes claims run makes it")
    lines = read_json(file)
    if json:
        say(lines)
    else:
        _show(lines)


def _show(lines: list[dict[str, Any]]) -> None:
    from rich import box

    from litotes.cli.say import table

    shown = []
    for line in lines:
        contrasts = [
            f"{c['effect']:+.4f} [{c['interval'][0]:+.4f}, {c['interval'][1]:+.4f}]\nagainst {arm}"
            for arm, c in line["contrasts"].items()
        ]
        what = f"{line['name']} ({line['metric']}, {len(line['seeds'])} seeds, {line['seconds']:.0f} s)"
        shown.append((f"{what}\n{line['claim']}", "\n".join(contrasts), line["verdict"]))
    looks = {"box": box.HORIZONTALS, "show_lines": True}
    table(("claim", "effect, 95 % interval", "verdict"), shown, wrap=0, **looks)
