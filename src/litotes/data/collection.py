"""Collection: queries, documents and graded judgements, with outside ids as strings and dense rows inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.errors import BadInput

JUDGEMENTS = pa.schema([("query", pa.string()), ("document", pa.string()), ("grade", pa.float32())])
RELATED = pa.schema([("query", pa.string()), ("document", pa.string()), ("relation", pa.string())])


class Judgements(NamedTuple):
    """Graded relevance in rows: `query` int32 [J], `document` int32 [J], `grade` float32 [J]."""

    query: np.ndarray
    document: np.ndarray
    grade: np.ndarray


@dataclass(frozen=True, eq=False)
class Collection:
    """A retrieval task. A grade above 0 is a positive; a grade of 0 is a certain negative: somebody looked and said no.

    Args:
        name: what reports call it.
        queries: Arrow table with `id` and `text` (string) and any of the optional columns `group`, `date`, `taxonomy`,
            `modality`.
        corpus: likewise, with the optional column `title` besides.
        qrels: split name -> table (query string, document string, grade float32). A pair may be judged once a split.
        related: optional table (query, document, relation): pairs that are no judged positives but known to be
            suspicious as negatives; the ground truth against which vetting can be scored.
    Raises:
        BadInput: an id is missing or twice there, a text is missing or empty, a judgement or a related pair names an
            unknown id, a judgement is there twice or has a grade that is not a finite number. The table, the row and
            the column are named.
    """

    name: str
    queries: pa.Table
    corpus: pa.Table
    qrels: Mapping[str, pa.Table] = field(default_factory=dict)
    related: pa.Table | None = None

    def __post_init__(self) -> None:
        for what, table in (("queries", self.queries), ("corpus", self.corpus)):
            _check_texts(table, f"{self.name}/{what}")
        for split, table in self.qrels.items():
            _check_judgements(table, self, f"{self.name}/qrels/{split}")
        if self.related is not None:
            _check_pairs(self.related, RELATED, self, f"{self.name}/related")

    @property
    def splits(self) -> list[str]:
        """The names of the splits, in the order in which they were given."""
        return list(self.qrels)

    def query_rows(self, ids: pa.Array | pa.ChunkedArray | list[str]) -> np.ndarray:
        """Rows of these query ids: int32. Raises BadInput for an id that is not there."""
        return _rows(ids, self.queries, f"{self.name}/queries")

    def document_rows(self, ids: pa.Array | pa.ChunkedArray | list[str]) -> np.ndarray:
        """Rows of these document ids: int32. Raises BadInput for an id that is not there."""
        return _rows(ids, self.corpus, f"{self.name}/corpus")

    def query_texts(self) -> list[str]:
        """The text of every query, in row order."""
        return self.queries["text"].to_pylist()

    def document_texts(self) -> list[str]:
        """The text of every document as an encoder reads it: `title + " " + text` where there is a title."""
        return self.document_column().to_pylist()

    def document_column(self) -> pa.ChunkedArray:
        """What `document_texts` lists, as Arrow strings."""
        if "title" not in self.corpus.column_names:
            return self.corpus["text"]
        titles = pc.fill_null(self.corpus["title"], "")
        return pc.utf8_trim_whitespace(pc.binary_join_element_wise(titles, self.corpus["text"], " "))

    def judgements(self, split: str) -> Judgements:
        """The judgements of a split, in rows. Raises ValueError for a split that is not there."""
        table = self._split(split)
        return Judgements(
            self.query_rows(table["query"]), self.document_rows(table["document"]), table["grade"].to_numpy()
        )

    def with_qrels(self, qrels: Mapping[str, pa.Table]) -> Collection:
        """The same queries and documents under other judgements."""
        return replace(self, qrels=qrels)

    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, optional columns and judgements, in row order: hexadecimal.

        `name` and `related` are no part of it: nothing that is mined depends on them, so evidence stays valid when the
        truth about suspicious pairs is added or corrected.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        judged = [(f"qrels/{split}", self.qrels[split]) for split in sorted(self.qrels)]
        for what, table in [("queries", self.queries), ("corpus", self.corpus), *judged]:
            digest.update(json.dumps([what, len(table), sorted(table.column_names)]).encode())
            for name in sorted(table.column_names):
                digest.update(_column_digest(table[name]))
        return digest.hexdigest()

    def _split(self, split: str) -> pa.Table:
        if split not in self.qrels:
            raise ValueError(f"Collection {self.name!r} has no split {split!r}; it has {self.splits}")
        return self.qrels[split]


def judgements_table(query: list[str], document: list[str], grade: list[float]) -> pa.Table:
    """Judgements as a table of the right types, each argument one value per judgement."""
    return pa.table({"query": query, "document": document, "grade": grade}, schema=JUDGEMENTS)


def _rows(ids: pa.Array | pa.ChunkedArray | list[str], table: pa.Table, where: str) -> np.ndarray:
    ids = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids, pa.string())
    found = pc.index_in(ids.cast(pa.string()), value_set=table["id"].combine_chunks())
    if found.null_count:
        unknown = ids.filter(pc.is_null(found))
        raise BadInput(f"the unknown id {unknown[0].as_py()!r} ({len(unknown)} such)", f"ids of {where}", file=where)
    return found.to_numpy(zero_copy_only=False).astype(np.int32) if len(ids) else np.empty(0, np.int32)


def _check_texts(table: pa.Table, where: str) -> None:
    for column in ("id", "text"):
        if column not in table.column_names:
            raise BadInput(f"the columns {table.column_names}", f"a column {column!r} (string)", file=where)
        if not pa.types.is_string(table.schema.field(column).type):
            kind = table.schema.field(column).type
            raise BadInput(f"the type {kind}", "string", file=where, field=column)
        blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(table[column]), ""), True)
        if pc.any(blank).as_py():
            row = pc.index(blank, True).as_py()
            raise BadInput(
                f"an empty {column}", "text that is not only white space", file=where, line=row + 1, field=column
            )
    counts = pc.value_counts(table["id"].combine_chunks())
    if len(counts) < len(table):
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        rows = np.flatnonzero(pc.equal(table["id"], twice).to_numpy(zero_copy_only=False))
        raise BadInput(
            f"id {twice!r} a second time, first on row {rows[0] + 1}",
            "each id once",
            file=where,
            line=int(rows[1]) + 1,
            field="id",
        )


def _column_digest(column: pa.ChunkedArray) -> bytes:
    """SHA-256 of the values, however they are cut into chunks: of all lengths (-1 = null) and of all bytes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.cast(pa.large_string())
    else:
        texts = pa.chunked_array([[None if v is None else str(v) for v in column.to_pylist()]], pa.large_string())
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for chunk in texts.chunks:
        lengths.update(pc.fill_null(pc.binary_length(chunk), -1).to_numpy().astype("<i8").tobytes())
        chunk = chunk.drop_null()
        if len(chunk):
            _, offsets, values = chunk.buffers()
            ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            content.update(memoryview(values)[ends[0] : ends[-1]] if values is not None else b"")
    return lengths.digest() + content.digest()


def _check_pairs(table: pa.Table, schema: pa.Schema, collection: Collection, where: str) -> None:
    """Columns and types of pairs, and their ids."""
    for column in schema:
        there = table.schema.field(column.name).type if column.name in table.column_names else "no such column"
        if there != column.type:
            raise BadInput(f"{there}", f"a column of type {column.type}", file=where, field=column.name)
    for column, texts in (("query", collection.queries), ("document", collection.corpus)):
        known = pc.is_in(table[column], value_set=texts["id"].combine_chunks())
        if not pc.all(known).as_py() and len(table):
            row = pc.index(known, False).as_py()
            known_ids = f"an id of the {'queries' if column == 'query' else 'corpus'}"
            unknown = f"the unknown id {table[column][row].as_py()!r}"
            raise BadInput(unknown, known_ids, file=where, line=row + 1, field=column)


def _check_judgements(table: pa.Table, collection: Collection, where: str) -> None:
    _check_pairs(table, JUDGEMENTS, collection, where)
    grades = table["grade"].to_numpy()
    if not np.isfinite(grades).all():
        row = int(np.flatnonzero(~np.isfinite(grades))[0])
        raise BadInput(f"{grades[row]}", "a finite number", file=where, line=row + 1, field="grade")
    pairs = collection.query_rows(table["query"]).astype(np.int64) << 32 | collection.document_rows(table["document"])
    unique, first = np.unique(pairs, return_index=True)
    if len(unique) < len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), first)[0])
        pair = f"({table['query'][row].as_py()!r}, {table['document'][row].as_py()!r})"
        raise BadInput(f"the pair {pair} a second time", "each pair judged once", file=where, line=row + 1)
