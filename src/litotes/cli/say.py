"""What commands print."""

from __future__ import annotations

import json
from typing import Any


def say(value: Any) -> None:
    """Print a value as JSON on standard output, for machines."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def rows(pairs: dict[str, Any], title: str = "") -> None:
    """Print names and values in two columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, show_header=False, box=None, title_justify="left", padding=(0, 2, 0, 0))
    for name, value in pairs.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table, soft_wrap=True)
