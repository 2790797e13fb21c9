"""The command line."""

from __future__ import annotations


def main() -> None:
    """Entry point of `litotes`."""
    from litotes.cli.app import app

    app()
