"""The gate of every reader: columns in, checked tables out, every fault with its file, line and field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import JUDGEMENTS, Collection
from litotes.errors import BadInput, BadRows

OPTIONAL = ("title", "group", "date", "taxonomy", "modality")
"""Columns kept beside id and text where they are there; a title is kept for documents only."""


@dataclass(frozen=True, eq=False)
class ReadCollection:
    """What a reader found.

    Args:
        collection: the checked collection.
        bad: the rows that were skipped (none unless asked to skip).
        notes: what was there and was not taken, with how often: columns of no known meaning, pairs that are repeated.
    """

    collection: Collection
    bad: BadRows
    notes: Counter[str] = field(default_factory=Counter)


def text_column(column: Any, name: str, file: Path, *, numbers: bool = False) -> pa.ChunkedArray:
    """A column as strings. Whole numbers (`numbers`), and days and times, are written out; other types are refused."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    known = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    known = known or pa.types.is_null(kind)
    if numbers:
        known = known or pa.types.is_integer(kind) or pa.types.is_temporal(kind)
    if not known:
        raise BadInput(f"the type {kind}", "string", file=file, field=name)
    return column.cast(pa.string())


def checked_texts(
    columns: Mapping[str, pa.ChunkedArray], lines: np.ndarray, file: Path, bad: BadRows, *, id_field: str = "id"
) -> pa.Table:
    """Queries or documents that may enter a collection.

    A document without text but with a title has its title for a text; without both it is bad. Of rows with one id, the
    first good one stays.

    In:   columns `id`, `text` and any of OPTIONAL, strings of one length [N]; `lines` int64 [N], where each stands.
    Out:  table of the good rows in their order; optional columns that hold nothing are left out.

    Raises:
        BadInput: the first bad row, unless skipping; no row is good.
    """
    columns = dict(columns)
    no_id, no_text = _blank(columns["id"]), _blank(columns["text"])
    if "title" in columns:
        moved = no_text & ~_blank(columns["title"])
        columns["text"] = pc.if_else(pa.array(moved), columns["title"], columns["text"])
        columns["title"] = pc.if_else(pa.array(moved), "", pc.fill_null(columns["title"], ""))
        no_text &= ~moved
    fault: dict[int, BadInput] = {}
    for row in np.flatnonzero(no_id | no_text).tolist():
        name = id_field if no_id[row] else "text"
        value = columns["id" if no_id[row] else "text"][row].as_py()
        found = "null" if value is None else f"empty text {value[:20]!r}"
        fault[row] = BadInput(found, "text that is not only white space", file=file, line=int(lines[row]), field=name)
    whole = np.flatnonzero(~(no_id | no_text))
    for row, first in _repeats(columns["id"], whole):
        found = f"id {columns['id'][row].as_py()!r} a second time, first on line {lines[first]}"
        fault[row] = BadInput(found, "each id once", file=file, line=int(lines[row]), field=id_field)
    good = report(fault, len(lines), bad)
    table = pa.table(columns).filter(good)
    if not len(table):
        raise BadInput("no good row", "at least one", file=file)
    empty = [name for name in OPTIONAL if name in columns and _blank(table[name]).all()]
    return table.drop_columns(empty)


def checked_judgements(
    query: pa.ChunkedArray,
    document: pa.ChunkedArray,
    grade: np.ndarray,
    lines: np.ndarray,
    file: Path,
    bad: BadRows,
    queries: pa.Table,
    corpus: pa.Table,
    names: tuple[str, str, str] = ("query-id", "corpus-id", "score"),
) -> pa.Table:
    """Judgements that may enter a collection of these queries and documents.

    In:   query, document: strings [J]; grade float [J]; `lines` int64 [J]; `names` of the three fields in the file.
    Out:  table (query, document, grade float32) of the good rows in their order.
    """
    with np.errstate(over="ignore"):
        grade = grade.astype(np.float32)
    query_row = _rows(query, queries)
    document_row = _rows(document, corpus)
    fault: dict[int, BadInput] = {}
    wrong: list[tuple[np.ndarray, int, Callable[[int], str], str]] = [
        (query_row < 0, 0, lambda row: f"the unknown id {query[row].as_py()!r}", "an id of the queries"),
        (document_row < 0, 1, lambda row: f"the unknown id {document[row].as_py()!r}", "an id of the corpus"),
        (~np.isfinite(grade), 2, lambda row: str(grade[row]), "a finite number"),
    ]
    for mask, name, found, expected in reversed(wrong):
        for row in np.flatnonzero(mask).tolist():
            fault[row] = BadInput(found(row), expected, file=file, line=int(lines[row]), field=names[name])
    whole = np.flatnonzero((query_row >= 0) & (document_row >= 0) & np.isfinite(grade))
    for row, first in _repeats(query_row.astype(np.int64) << 32 | document_row, whole):
        pair = f"({query[row].as_py()!r}, {document[row].as_py()!r})"
        found_twice = f"the pair {pair} a second time, first on line {lines[first]}"
        fault[row] = BadInput(found_twice, "each pair judged once", file=file, line=int(lines[row]))
    good = report(fault, len(lines), bad)
    table = pa.table({"query": query, "document": document, "grade": pa.array(grade)}, schema=JUDGEMENTS)
    return table.filter(good)


def report(fault: Mapping[int, BadInput], rows: int, bad: BadRows) -> pa.Array:
    """Hand the faults over in the order of their rows (the first raises unless skipping); the rows without one."""
    good = np.ones(rows, bool)
    for row in sorted(fault):
        bad.add(fault[row])
        good[row] = False
    return pa.array(good)


def _blank(column: pa.ChunkedArray) -> np.ndarray:
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
    return blank.to_numpy() if len(blank) else np.zeros(0, bool)


def _rows(ids: pa.ChunkedArray, table: pa.Table) -> np.ndarray:
    found = pc.fill_null(pc.index_in(ids, value_set=table["id"].combine_chunks()), -1)
    return found.to_numpy() if len(found) else np.zeros(0, np.int32)


def _repeats(values: Any, rows: np.ndarray) -> list[tuple[int, int]]:
    """(row, first row of the same value) for every later row among `rows`, which ascend."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(values[rows], return_index=True, return_inverse=True)
    head = first[inverse]
    later = np.flatnonzero(head != np.arange(len(rows)))
    return [(int(rows[i]), int(rows[head[i]])) for i in later]
