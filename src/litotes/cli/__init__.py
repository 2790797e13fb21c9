"""The command line. Exit codes: 0 done, 1 a check failed, 2 bad input or usage, 130 interrupted (resumable)."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of `litotes`."""
    for library in ("HF_HUB", "HF_DATASETS"):  # our own bars say what is happening
        os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
    try:
        from litotes.cli.app import app

        app()
    except KeyboardInterrupt:  # before a command runs; a command's own is told in faults.py
        sys.exit(130)
