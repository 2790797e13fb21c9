"""How a fault is told: one line for the user's data, files and arguments; a traceback only for a bug of ours."""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

USERS = (ValueError, OSError, ImportError, FloatingPointError, OverflowError, MemoryError, EOFError)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class Told(TyperGroup):
    """The group of all commands: turns what they raise into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            usual = "stopped: what was finished is kept (vectors with --cache), and the same command goes on from there"
            print(f"\n{str(stop) or usual}", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `litotes list | head`: nobody listens, which is no fault
            raise
        except USERS as error:
            print(f"error: {told(error)}", file=sys.stderr)
            raise typer.Exit(2) from None


def told(error: BaseException) -> str:
    """What an error says to the user."""
    text = str(error) or type(error).__name__
    if not isinstance(error, OSError):
        return text
    if error.strerror is not None and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    text = " ".join(text.split())  # libraries put advice of several lines into an OSError
    if error.errno in _FULL or "File too large" in text or "No space left" in text:
        text += "; what was finished is kept: free some space and give the same command again"
    return text
