"""Optional dependencies: asked for where they are used, with an error that names the extra."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, *, extra: str, why: str) -> Any:
    """Import `module`, or say which extra brings it.

    Raises:
        ImportError: the module is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{why} needs the package {module!r}: pip install 'litotes[{extra}]'") from error
