"""The command line. Exit codes: 0 done, 1 a check failed, 2 bad input or usage, 130 interrupted (resumable)."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of `litotes`: a fault of the user's data is a message, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our own bars say what is happening
    from litotes.cli.app import app

    try:
        app()
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(130)
    except (ValueError, FileNotFoundError, FileExistsError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a missing right: what was finished is kept
        print(f"error: {error}; finished parts are kept, the same command goes on", file=sys.stderr)
        sys.exit(2)
