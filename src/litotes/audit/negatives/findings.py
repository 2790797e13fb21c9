"""What was found: which slots or rows have a defect, what was measured and against which line."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Finding:
    """Slots (or rows) of one kind, ascending, each once.

    Args:
        kind: a name in KINDS.
        places: slots, or rows where the kind counts rows: int64 [F].
        seen: what was measured, NaN = nothing: float32 [F].
        line: what it was held against: float32 [F].
        other: the document or query it is like, -1 = none: int32 [F].
    """

    kind: str
    places: np.ndarray
    seen: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    line: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    other: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.places)


def finding(kind: str, places: np.ndarray, seen: object = np.nan, line: object = np.nan, other: object = -1) -> Finding:
    """A finding from places in any order; `seen`, `line` and `other` are one value or one per place."""
    places = np.asarray(places, np.int64)
    columns = [
        np.broadcast_to(np.asarray(value, kind_), places.shape)
        for value, kind_ in ((seen, np.float32), (line, np.float32), (other, np.int32))
    ]
    unique, first = np.unique(places, return_index=True)
    return Finding(kind, unique, *(column[first] for column in columns))


@dataclass(frozen=True, eq=False)
class Places:
    """Where the findings of one kind stand in the file.

    Args:
        records: record numbers from 0, as the file has them: int64 [F].
        fields: places in the row ("neg[3]"), "" where the whole row is meant.
    """

    records: np.ndarray
    fields: list[str]

    def pairs(self) -> list[tuple[int, str]]:
        """(record, field) of each."""
        return list(zip(self.records.tolist(), self.fields, strict=True))
