"""One progress bar for every long step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_silent: ContextVar[bool] = ContextVar("litotes_silent", default=False)


def progress(iterable: Iterable | None = None, *, total: int | None = None, what: str, unit: str = "rows") -> Any:
    """A tqdm bar on standard error: wraps `iterable`, or is moved by `.update(n)` inside a `with` block.

    Args:
        total: number of units, where `iterable` has no length.
        what: the step, as a verb phrase ("encoding documents").
        unit: what is counted.

    `LITOTES_QUIET=1` silences all bars. Where standard error is a file, the bar is drawn every 10 seconds.
    """
    import sys

    from tqdm import tqdm

    quiet = _silent.get() or os.environ.get("LITOTES_QUIET", "") not in ("", "0")
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        desc=what,
        unit=f" {unit}",
        disable=quiet,
        mininterval=0.1 if terminal else 10.0,
        leave=True,
        dynamic_ncols=terminal,
    )


@contextmanager
def silence() -> Iterator[None]:
    """No bars of this thread inside: what is done here is a part of something that has one."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)
