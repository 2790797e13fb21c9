"""Vectors of the texts of a set, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.search.space import Space


def space_of(examples: ExampleSet, encoder: Any, folder: Path) -> Space:
    """Queries and documents by their numbers. Documents that no row names are not encoded: their vectors are 0."""
    queries = encoder.encode(examples.queries.texts, "query", folder / "queries.npy")
    used = np.unique(examples.slot_document)
    chosen = encoder.encode(_Chosen(examples.documents.texts, used), "document", folder / "chosen.npy")
    documents = chosen
    if len(used) < len(examples.documents):
        shape = (len(examples.documents), chosen.shape[1])
        documents = np.lib.format.open_memmap(folder / "documents.npy", mode="w+", dtype=np.float32, shape=shape)
        for low in range(0, len(used), 4096):
            documents[used[low : low + 4096]] = chosen[low : low + 4096]
        documents.flush()
    return Space(queries, documents, encoder.similarity, encoder.name, encoder.checksum)


class _Chosen(Sequence[str]):
    """Some of many texts, read when asked for."""

    def __init__(self, texts: Sequence[str], rows: np.ndarray):
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._texts[int(row)] for row in self._rows[place]]
        return self._texts[int(self._rows[place])]
