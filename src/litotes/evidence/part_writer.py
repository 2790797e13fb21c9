"""A part of evidence that is written piece by piece, so that it is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litotes.atomic import atomic_path
from litotes.evidence import table as t

SORTED = b"litotes.order"
ROW_GROUP = 1 << 16
STRINGS = ["anchor", "candidate", "found.list.element.source", "doubts.list.element.part"]


class PartWriter:
    """Writes rows in stored order into one Parquet file, in row groups of 65,536.

    The bytes depend on the rows alone, not on the pieces in which they come. The file is there once `close` has been
    called, and not before; `discard` leaves nothing.

    Args:
        path: of the file.
        scorer: the one behind the scores. `more`: metadata of the file besides.
    """

    def __init__(self, path: Path, scorer: Mapping[str, Any] | None, more: Mapping[str, str]):
        self.path, self.rows = path, 0
        self.first = self.last = ""
        schema = t.with_scorer(t.empty(), scorer).schema
        self._schema = schema.with_metadata({**schema.metadata, **{k.encode(): v.encode() for k, v in more.items()}})
        self._waiting: list[pa.Table] = []
        self._open = ExitStack()
        temporary = self._open.enter_context(atomic_path(path))
        # scores are nearly all different: a dictionary of them costs time and space
        writer = pq.ParquetWriter(temporary, self._schema, compression="zstd", use_dictionary=STRINGS)
        self._writer = self._open.enter_context(writer)

    def add(self, table: pa.Table) -> None:
        """Rows that come behind those that were added."""
        if not len(table):
            return
        self.first = self.first if self.rows else table["anchor"][0].as_py()
        self.last = table["anchor"][-1].as_py()
        self.rows += len(table)
        self._waiting.append(table.cast(self._schema))
        while sum(map(len, self._waiting)) >= ROW_GROUP:
            self._write(ROW_GROUP)

    def close(self) -> None:
        """Write what waits, and give the file its name."""
        if self._waiting:
            self._write(ROW_GROUP)
        self._open.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        stop = RuntimeError("discarded")
        self._open.__exit__(RuntimeError, stop, None)

    def _write(self, rows: int) -> None:
        joined = pa.concat_tables(self._waiting)
        self._writer.write_table(joined.slice(0, rows).combine_chunks(), row_group_size=ROW_GROUP)
        self._waiting = [joined.slice(rows)] if len(joined) > rows else []
