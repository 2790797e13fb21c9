"""Texts of an Arrow column as a Python sequence that makes each string when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa

_AT_ONCE = 4096


class Texts(Sequence[str]):
    """A column of strings, read like a list, without a Python object per text.

    A list of a million texts costs some 100 bytes a text beside the column it came from.
    """

    def __init__(self, column: pa.ChunkedArray):
        self._chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0] + [len(chunk) for chunk in self._chunks])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        row = int(place) + (len(self) if place < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(f"Texts: place {place} of {len(self)}")
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1 if len(self._chunks) > 1 else 0
        return str(self._chunks[chunk][row - int(self._starts[chunk])].as_py())

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            for low in range(0, len(chunk), _AT_ONCE):
                yield from chunk.slice(low, _AT_ONCE).to_pylist()
