"""Fields of a row as what they should be, or a fault with file, line and field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from litotes.data.readers.lines import spoken
from litotes.errors import BadInput


class Place(NamedTuple):
    """Where a row stands; `prefix` comes before the name of the field (`data[3].`)."""

    file: Path
    line: int | None
    prefix: str = ""

    def fault(self, found: str, expected: str, field: str | None = None) -> BadInput:
        """The error for this row."""
        name = None if field is None and not self.prefix else f"{self.prefix}{field or ''}".rstrip(".")
        return BadInput(found, expected, file=self.file, line=self.line, field=name)


def present(row: Mapping[str, Any], name: str, place: Place) -> Any:
    """The value of a field that must be there."""
    if name not in row:
        raise place.fault(f"the fields {sorted(row)}", f"a field {name!r}", name)
    return row[name]


def text(value: Any, name: str, place: Place, *, empty: bool = False) -> str:
    """A string; `empty` lets white space pass."""
    if not isinstance(value, str):
        raise place.fault(spoken(value), "a string", name)
    if not empty and not value.strip():
        raise place.fault(f"empty text {value[:20]!r}", "text that is not only white space", name)
    return value


def identity(value: Any, name: str, place: Place) -> str:
    """An id; whole numbers are written out."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value, name, place)


def listed(value: Any, name: str, place: Place, what: str = "texts") -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise place.fault(spoken(value), f"a list of {what}", name)
    return value


def texts(value: Any, name: str, place: Place) -> list[str]:
    """A list of strings, none of them empty."""
    return [text(one, f"{name}[{i}]", place) for i, one in enumerate(listed(value, name, place))]


def number(value: Any, name: str, place: Place) -> float:
    """A finite number that float32 can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise place.fault(spoken(value), "a number", name)
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise place.fault(str(value), "a finite number", name)
    return float(value)


def numbers(value: Any, name: str, place: Place, length: int, one_per: str = "one per text") -> list[float]:
    """A list of `length` finite numbers."""
    values = listed(value, name, place, "numbers")
    if len(values) != length:
        raise place.fault(f"{len(values)} numbers", f"{length}, {one_per}", name)
    return [number(one, f"{name}[{i}]", place) for i, one in enumerate(values)]
