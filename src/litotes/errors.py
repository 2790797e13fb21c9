"""Errors that say where the fault is, what was found there and what was expected."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """A fault in somebody's data.

    Args:
        found: what stands there, as a person would say it (`3 (int)`, `id 'd7' a second time, first on line 2`).
        expected: what would have been right.
        file: the file, or None for data that came as objects.
        line: 1-based line (or row) number.
        field: name of the field or column.
    """

    def __init__(
        self,
        found: str,
        expected: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
    ):
        self.found, self.expected = found, expected
        self.file, self.line, self.field = file, line, field
        place = (
            f"row {line}"
            if file is None and line is not None
            else ":".join(str(p) for p in (file, line) if p is not None)
        )
        where = ": ".join(part for part in (place, f"field {field!r}" if field is not None else "") if part)
        super().__init__(
            f"{where}: found {found}, expected {expected}" if where else f"found {found}, expected {expected}"
        )

    def __reduce__(self) -> tuple[Any, ...]:  # keyword-only arguments do not survive pickling by themselves
        return _rebuild, (self.found, self.expected, self.file, self.line, self.field)


def _rebuild(found: str, expected: str, file: str | Path | None, line: int | None, field: str | None) -> BadInput:
    return BadInput(found, expected, file=file, line=line, field=field)


class BadRows:
    """What a reader does with bad rows: stop at the first (default), or count each one and remember the first few.

    Args:
        skip: True counts instead of stopping (`--skip-bad`).
        keep: how many to remember in full.
    """

    def __init__(self, skip: bool = False, keep: int = 20):
        self.skip, self.keep = skip, keep
        self.total = 0
        self.by_reason: Counter[str] = Counter()
        self.first: list[BadInput] = []

    def add(self, fault: BadInput) -> None:
        """Raise `fault`, or count it when skipping."""
        if not self.skip:
            raise fault
        self.total += 1
        self.by_reason[
            f"field {fault.field!r}: expected {fault.expected}" if fault.field else f"expected {fault.expected}"
        ] += 1
        if len(self.first) < self.keep:
            self.first.append(fault)

    def __enter__(self) -> BadRows:
        """`with bad:` around the reading of one row: a BadInput from inside is added, any other error passes."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> bool:
        if not isinstance(fault, BadInput) or not self.skip:
            return False
        self.add(fault)
        return True

    def summary(self) -> str:
        """One line per reason with its count, then the remembered faults; empty when nothing was skipped."""
        if not self.total:
            return ""
        reasons = [f"  {count} x {reason}" for reason, count in self.by_reason.most_common()]
        more = [f"  ... and {self.total - len(self.first)} more"] if self.total > len(self.first) else []
        return "\n".join([f"skipped {self.total} bad rows:", *reasons, *(f"  {fault}" for fault in self.first), *more])
