"""Arrow tables, as Parquet files and Hugging Face datasets bring them, through the gate."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import RELATED
from litotes.data.readers.gate import OPTIONAL, checked_judgements, checked_texts, report, text_column
from litotes.errors import BadInput, BadRows

ID_NAMES = ("id", "_id")
QUERY_NAMES = ("query", "query-id", "query_id")
DOCUMENT_NAMES = ("document", "corpus-id", "corpus_id", "document_id")
GRADE_NAMES = ("grade", "score")


def texts_of(table: pa.Table, file: Path, bad: BadRows, notes: Counter[str], *, kind: str) -> pa.Table:
    """Queries (kind "queries") or documents ("corpus") from a table with `id` or `_id`, `text` and optional columns.

    Whole numbers as ids are written out ("7"), and so are numbers, days and times in the optional columns.
    """
    identity = named(table, ID_NAMES, file)
    if "text" not in table.column_names:
        raise BadInput(f"the columns {table.column_names}", "a column 'text'", file=file)
    wanted = [name for name in OPTIONAL if name in table.column_names and (name != "title" or kind == "corpus")]
    columns = {
        "id": text_column(table[identity], identity, file, numbers=True),
        "text": text_column(table["text"], "text", file),
    }
    columns |= {name: text_column(table[name], name, file, numbers=name != "title") for name in wanted}
    for name in table.column_names:
        if name not in (identity, "text", *wanted):
            notes[f"{kind}: field {name!r} not read"] += len(table) - table[name].null_count
    return checked_texts(columns, np.arange(1, len(table) + 1), file, bad, id_field=identity)


def judgements_of(table: pa.Table, file: Path, bad: BadRows, queries: pa.Table, corpus: pa.Table) -> pa.Table:
    """Judgements from a table of query id, document id and grade, under BEIR's names or ours."""
    names = named(table, QUERY_NAMES, file), named(table, DOCUMENT_NAMES, file), named(table, GRADE_NAMES, file)
    query, document = (text_column(table[name], name, file, numbers=True) for name in names[:2])
    lines = np.arange(1, len(table) + 1)
    grade = numbers(table[names[2]], names[2], file)
    return checked_judgements(query, document, grade, lines, file, bad, queries, corpus, names)


def related_of(table: pa.Table, file: Path, bad: BadRows, queries: pa.Table, corpus: pa.Table) -> pa.Table:
    """Suspicious pairs from a table of `query`, `document` and `relation`."""
    columns = {name: text_column(table[named(table, (name,), file)], name, file) for name in RELATED.names}
    fault: dict[int, BadInput] = {}
    for name, texts, expected in (
        ("document", corpus, "an id of the corpus"),
        ("query", queries, "an id of the queries"),
    ):
        known = pc.is_in(columns[name], value_set=texts["id"].combine_chunks())
        for row in np.flatnonzero(~np.asarray(known.to_numpy(), bool)).tolist() if len(table) else []:
            found = f"the unknown id {columns[name][row].as_py()!r}"
            fault[row] = BadInput(found, expected, file=file, line=row + 1, field=name)
    return pa.table(columns, schema=RELATED).filter(report(fault, len(table), bad))


def named(table: pa.Table, names: tuple[str, ...], file: Path) -> str:
    """The first of these names that is a column. Raises BadInput where none is."""
    for name in names:
        if name in table.column_names:
            return name
    expected = f"a column {' or '.join(map(repr, names))}"
    raise BadInput(f"the columns {table.column_names}", expected, file=file)


def numbers(column: pa.ChunkedArray, name: str, file: Path) -> np.ndarray:
    """A numeric column as float64, null as NaN. Raises BadInput for other types."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise BadInput(f"the type {kind}", "a number", file=file, field=name)
    values = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan)
    return values.to_numpy() if len(values) else np.empty(0, np.float64)
