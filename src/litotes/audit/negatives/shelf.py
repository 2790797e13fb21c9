"""Texts of a set, each once, kept on disk: what is in memory is a digest and a number per text."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.anchors import normalise
from litotes.data.texts import Texts

_BATCH = 4096
_SCHEMA = pa.schema([("text", pa.string())])


class Shelf:
    """Texts by number, in order of arrival; two texts that `normalise` makes one share a `same` number.

    In:   texts, one at a time, through `put`.
    Out:  after `close`: `texts` (read from disk when asked for), `column` (Arrow, memory-mapped), `same` int32 [N].
    Cost: some 250 bytes of memory per different text; the texts themselves are on disk.

    Args:
        file: where the texts go.
        known: digest of a normalised text -> `same` number; shelves that share it can be compared.
    """

    def __init__(self, file: Path, known: dict[bytes, int]):
        self.known, self._file = known, file
        self._place: dict[bytes, int] = {}
        self._same = array("i")
        self._waiting: list[str] = []
        self._sink = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_file(self._sink, _SCHEMA)
        self.column: pa.ChunkedArray = pa.chunked_array([], pa.string())
        self.texts = Texts(self.column)
        self.same = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._same)

    def put(self, text: str) -> int:
        """The number of a text, new or known."""
        digest = _digest(text)
        place = self._place.setdefault(digest, len(self._same))
        if place == len(self._same):
            self._same.append(self.known.setdefault(_digest(normalise(text)), len(self.known)))
            self._waiting.append(text)
            if len(self._waiting) == _BATCH:
                self._flush()
        return place

    def close(self) -> None:
        """Write what waits and open what was written. Nothing can be put any more."""
        self._flush()
        self._writer.close()
        self._sink.close()
        self._place.clear()
        self.column = pa.ipc.open_file(pa.memory_map(str(self._file))).read_all()["text"]
        self.texts = Texts(self.column)
        self.same = np.frombuffer(self._same, np.int32) if len(self._same) else np.empty(0, np.int32)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(pa.record_batch([pa.array(self._waiting, pa.string())], schema=_SCHEMA))
            self._waiting.clear()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
