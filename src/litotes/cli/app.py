"""The commands and how their errors are told."""

from __future__ import annotations

from typing import Annotated

import typer

import litotes
from litotes.cli import (
    audit,
    catalog,
    claims,
    convert,
    evaluate,
    mine,
    neighbours,
    report,
    rescore,
    run,
    train,
    vectors,
    vet,
)
from litotes.cli.faults import Told

app = typer.Typer(
    name="litotes",
    cls=Told,
    help="Learning from negatives: find, make, vet, batch, apply and audit negative examples.",
    epilog="Every command has examples: litotes mine --help. A whole experiment: litotes run recipes/default.toml",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(litotes.__version__)
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


for module in (run, mine, vet, audit, rescore, train, evaluate, report, convert, neighbours, vectors):
    module.add(app)
catalog.add(app)
claims.add(app)
