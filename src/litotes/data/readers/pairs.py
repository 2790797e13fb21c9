"""Pairs: one anchor and one positive a row, in CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection, judgements_table
from litotes.data.readers.beir import read_texts
from litotes.data.readers.columns import Columns
from litotes.data.readers.gate import ReadCollection
from litotes.data.readers.lines import spoken
from litotes.data.readers.parquet import parquet_table
from litotes.data.readers.rows import read_rows
from litotes.data.readers.tables import texts_of
from litotes.errors import BadInput, BadRows


def read_pairs(
    path: str | Path,
    *,
    corpus: str | Path | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    split: str = "train",
    skip_bad: bool = False,
) -> ReadCollection:
    """A file of pairs (`.csv`, `.tsv`, `.jsonl`, each also `.gz`, or `.parquet`) as a collection with one split.

    Rows with the same anchor text are one query with several positives; the corpus is every positive once, in order of
    appearance, after the documents of `corpus`. In JSONL and Parquet a positive may be a list of texts. CSV follows
    RFC 4180 (quotes, line breaks inside quotes); TSV knows no quotes: tabs part fields, line feeds part rows.

    Ids come from an id column where there is one (`query_id`, `document_id`, ...), else from the text: "q-" or "d-" and
    80 bits of its BLAKE2b in hexadecimal, so the same text has the same id in every file. A positive that is word for
    word a document of `corpus` is that document. A column `grade` gives graded judgements, a column `label` must hold 0
    or 1; 0 is a judged negative; without either, every row is a positive of grade 1. A repeated pair counts once and
    stands in `notes`; columns that were not read do too.

    Args:
        corpus: more documents: `.jsonl` in BEIR's form or `.parquet`.
        anchor, positive: names of the two columns; None finds them among those of `columns.py`.
        split: what to call the split.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: columns are missing, or a row is bad: empty text, a number where text belongs, too few fields, one id
            for two texts, two grades for one pair.
    """
    path = Path(path)
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    extra = read_documents(Path(corpus), bad, notes) if corpus is not None else None
    rows = read_rows(path, bad)
    return gather_pairs(
        {split: (path, rows)}, bad, notes, extra=extra, anchor=anchor, positive=positive, name=_stem(path)
    )


def gather_pairs(
    sources: Mapping[str, tuple[Path, Iterable[tuple[int, dict[str, Any]]]]],
    bad: BadRows,
    notes: Counter[str],
    *,
    extra: pa.Table | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    name: str = "pairs",
) -> ReadCollection:
    """Rows of several splits as one collection; `sources` maps a split to (file, (line, row)...). See `read_pairs`."""
    queries = _Texts("q")
    documents = _Texts("d")
    for row in extra.select(["id"]).append_column("text", _whole_texts(extra)).to_pylist() if extra is not None else []:
        documents.known(row["id"], row["text"])
    qrels = {}
    for split, (path, rows) in sources.items():
        grades: dict[tuple[str, str], tuple[float, int]] = {}
        columns: Columns | None = None
        for line, row in rows:
            columns = columns or Columns.of(list(row), path, anchor, positive, notes)
            with bad:
                _take(row, line, path, columns, queries, documents, grades, notes)
        if not grades:
            raise BadInput("no good row", "at least one pair", file=path)
        pairs = list(grades)
        made = judgements_table([q for q, _ in pairs], [d for _, d in pairs], [grade for grade, _ in grades.values()])
        qrels[split] = made
    corpus = documents.table(since=len(extra) if extra is not None else 0)
    if extra is not None:
        if "title" in extra.column_names:
            corpus = corpus.append_column("title", pa.repeat("", len(corpus)))
        corpus = pa.concat_tables([extra, corpus], promote_options="default")
    return ReadCollection(Collection(name, queries.table(), corpus, qrels), bad, +notes)


@dataclass
class _Texts:
    """Texts of one side, each once, with the id under which it stands."""

    prefix: str
    id_of: dict[str, str] = field(default_factory=dict)
    text_of: dict[str, str] = field(default_factory=dict)

    def known(self, identity: str, text: str) -> None:
        self.id_of.setdefault(text, identity)
        self.text_of[identity] = text

    def look(self, text: str, identity: str | None) -> str:
        """The id under which a text stands or would stand; an id of its own wins over that of the same text."""
        if identity is None:
            identity = self.id_of.get(text)
        if identity is None:
            identity = f"{self.prefix}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"
        return identity

    def table(self, since: int = 0) -> pa.Table:
        ids, texts = list(self.text_of)[since:], list(self.text_of.values())[since:]
        return pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string())})


def _take(
    row: Mapping[str, Any],
    line: int,
    path: Path,
    columns: Columns,
    queries: _Texts,
    documents: _Texts,
    grades: dict[tuple[str, str], tuple[float, int]],
    notes: Counter[str],
) -> None:
    """One row into the collection. Raises BadInput, having changed nothing, where the row is bad."""
    text = _text(row.get(columns.anchor), columns.anchor, path, line)
    positives = row.get(columns.positive)
    listed = isinstance(positives, list)
    found = [
        _text(one, columns.positive, path, line) for one in (positives if isinstance(positives, list) else [positives])
    ]
    if not found:
        raise BadInput("an empty list", "text", file=path, line=line, field=columns.positive)
    grade = _grade(row, columns.grade, path, line)
    query_id = _identity(row, columns.anchor_id, path, line)
    document_ids = _identities(row, columns.positive_id, listed, len(found), path, line)
    query = queries.look(text, query_id)
    asked = [documents.look(one, identity) for one, identity in zip(found, document_ids, strict=True)]
    new: dict[str, str] = {}
    _check_id(query, text, queries.text_of.get(query), columns.anchor_id or columns.anchor, path, line)
    for document, one in zip(asked, found, strict=True):
        held = documents.text_of.get(document, new.setdefault(document, one))
        _check_id(document, one, held, columns.positive_id or columns.positive, path, line)
        graded, before = grades.get((query, document), (grade, line))
        if graded != grade:
            was = f"{grade:g}, and {graded:g} on line {before}"
            raise BadInput(was, "one grade per pair", file=path, line=line, field=columns.grade)
    queries.known(query, text)
    for document, one in zip(asked, found, strict=True):
        documents.known(document, one)
        notes["pairs: repeated pair"] += (query, document) in grades
        grades.setdefault((query, document), (grade, line))


def _check_id(identity: str, text: str, held: str | None, name: str, path: Path, line: int) -> None:
    if held is not None and held != text:
        found = f"id {identity!r} for the text {text[:40]!r}, before for {held[:40]!r}"
        raise BadInput(found, "one text per id", file=path, line=line, field=name)


def _text(value: Any, name: str, path: Path, line: int) -> str:
    if not isinstance(value, str):
        raise BadInput(spoken(value), "a string", file=path, line=line, field=name)
    if not value.strip():
        raise BadInput(
            f"empty text {value[:20]!r}", "text that is not only white space", file=path, line=line, field=name
        )
    return value


def _identity(row: Mapping[str, Any], name: str | None, path: Path, line: int) -> str | None:
    if name is None:
        return None
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value, name, path, line)


def _identities(
    row: Mapping[str, Any], name: str | None, listed: bool, count: int, path: Path, line: int
) -> list[str | None]:
    if name is None:
        return [None] * count
    if not listed:
        return [_identity(row, name, path, line)]
    ids = row.get(name)
    if not isinstance(ids, list):
        raise BadInput(spoken(ids), f"a list of {count} ids", file=path, line=line, field=name)
    if len(ids) != count:
        raise BadInput(f"{len(ids)} ids", f"{count}, one per text", file=path, line=line, field=name)
    return [_identity({name: one}, name, path, line) for one in ids]


def _grade(row: Mapping[str, Any], name: str | None, path: Path, line: int) -> float:
    if name is None:
        return 1.0
    value = row.get(name)
    try:
        grade = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except ValueError:
        grade = None
    if grade is None or not np.isfinite(np.float32(grade)):
        raise BadInput(spoken(value), "a finite number", file=path, line=line, field=name)
    if name == "label" and grade not in (0.0, 1.0):
        raise BadInput(
            f"{grade:g}",
            "0 or 1 (a label of more classes does not say what is a positive)",
            file=path,
            line=line,
            field=name,
        )
    return float(np.float32(grade))


def read_documents(path: Path, bad: BadRows, notes: Counter[str]) -> pa.Table:
    """Documents from one file: `.parquet`, or BEIR's `.jsonl`."""
    if path.suffix == ".parquet":
        return texts_of(parquet_table(path), path, bad, notes, kind="corpus")
    return read_texts(path, bad, notes, kind="corpus")


def _whole_texts(corpus: pa.Table) -> pa.Array:
    return pa.array(Collection("corpus", corpus.slice(0, 0), corpus).document_texts(), pa.string())


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem
