"""What commands print: results on standard output, remarks on standard error."""

from __future__ import annotations

import json as json_module
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def say(value: Any) -> None:
    """Print a value as JSON, for machines; NaN and infinity, which JSON lacks, become null."""
    print(json_module.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def remark(text: str) -> None:
    """Print a remark where it does not disturb the result."""
    print(text, file=sys.stderr)


def tell(figures: Mapping[str, Any], *, json: bool, title: str = "") -> None:
    """Print figures: as JSON with underscores in the names, or as `rows`."""
    if json:
        say({name.replace(" ", "_"): value for name, value in figures.items()})
    else:
        rows(figures, title)


def rows(figures: Mapping[str, Any], title: str = "") -> None:
    """Print texts with their names, then counts before their names, aligned; names may be as long as they like.

    A mapping of counts is one line each, "<name> <key>"; a mapping of measured numbers is one line in all.
    """
    texts: dict[str, str] = {}
    counts: list[tuple[str, str]] = []
    for name, value in figures.items():
        if not isinstance(value, Mapping):
            value = {"": value}
        elif value and all(isinstance(one, float) for one in value.values()):
            texts[name] = ", ".join(f"{key} {one:g}" for key, one in value.items())
            continue
        for key, one in value.items():
            label = f"{name} {key}".strip()
            if isinstance(one, (int, float)) and not isinstance(one, bool):
                counts.append((f"{one:,}" if isinstance(one, int) else f"{one:g}", label))
            elif one is not None:
                texts[label] = str(one)
    wide = max(map(len, texts), default=0)
    tall = max((len(number) for number, _ in counts), default=0)
    lines = [title] if title else []
    lines += [f"  {name:<{wide}}  {text}" for name, text in texts.items()]
    lines += [f"  {number:>{tall}}  {name}" for number, name in counts]
    print("\n".join(lines))


def table(columns: Sequence[str], lines: Iterable[Sequence[str]], *, wrap: int = -1, **looks: Any) -> None:
    """Print a table; text is taken as it stands (a spelling has brackets, which rich would read as markup).

    Args:
        wrap: the one column that may be broken over several lines.
        looks: as for `rich.table.Table`.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(**{"box": None, "padding": (0, 2, 0, 0), "pad_edge": False, **looks})
    wrap %= len(columns)
    for i, name in enumerate(columns):
        made.add_column(name, no_wrap=i != wrap)
    for line in lines:
        made.add_row(*map(Text, line))
    Console().print(made)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
