"""BEIR: a folder of corpus.jsonl, queries.jsonl and qrels/<split>.tsv, or such files given apart."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.readers.gate import OPTIONAL, ReadCollection, checked_judgements, checked_texts
from litotes.data.readers.lines import read_lines, read_objects, spoken
from litotes.errors import BadInput, BadRows

HEADER = ("query-id", "corpus-id", "score")


def read_beir(folder: str | Path, *, split: str | None = None, skip_bad: bool = False) -> ReadCollection:
    """A BEIR folder; each file may be gzipped (`corpus.jsonl.gz`).

    Beside `_id`, `title` and `text`, the fields `group`, `date`, `taxonomy` and `modality` are kept, also from the
    object `metadata`; others are named in `notes`. Queries without a judgement stay (BEIR's own loader drops them). A
    query may be judged in several splits.

    Args:
        split: read only `qrels/<split>.tsv`; None reads all of them, in alphabetical order.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: a file is missing, or a row is bad: broken JSON, a field missing or of the wrong type, empty text, an
            id twice; in the judgements a missing header, an unknown id, a grade that is no finite number, a pair twice.
    """
    folder = Path(folder)
    qrels = {}
    for path in sorted((folder / "qrels").glob("*.tsv*")):
        if path.name.endswith((".tsv", ".tsv.gz")):
            qrels[path.name.removesuffix(".gz").removesuffix(".tsv")] = path
    if split is not None and split not in qrels:
        raise BadInput(f"the splits {sorted(qrels)}", f"qrels/{split}.tsv", file=folder)
    chosen = qrels if split is None else {split: qrels[split]}
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    queries = read_texts(_existing(folder / "queries.jsonl"), bad, notes, kind="queries")
    corpus = read_texts(_existing(folder / "corpus.jsonl"), bad, notes, kind="corpus")
    judged = {name: read_qrels(path, bad, queries, corpus) for name, path in chosen.items()}
    return ReadCollection(Collection(folder.resolve().name, queries, corpus, judged), bad, notes)


def read_texts(path: Path, bad: BadRows, notes: Counter[str], *, kind: str) -> pa.Table:
    """The good rows of a `corpus.jsonl` (kind "corpus") or `queries.jsonl` ("queries"): id, text, optional columns."""
    wanted = [name for name in OPTIONAL if name != "title" or kind == "corpus"]
    ids: list[str | None] = []
    texts: list[str | None] = []
    extra: dict[str, list[str | None]] = {name: [] for name in wanted}
    known, lines = {"_id", "text", "metadata", *wanted}, array("q")
    unread: Counter[str] = Counter()
    for number, record in read_objects(path, bad):
        fault = _fault(record, wanted)
        if fault is not None:
            field, found, expected = fault
            bad.add(BadInput(found, expected, file=path, line=number, field=field))
            continue
        metadata = record.get("metadata") or {}
        lines.append(number)
        ids.append(record["_id"])
        texts.append(record.get("text"))
        for name in wanted:
            value = record.get(name)
            value = metadata.get(name) if value is None else value
            extra[name].append(str(value) if isinstance(value, int) else value)
        if not record.keys() <= known or metadata:
            unread.update(record.keys() - known)
            unread.update(f"metadata.{key}" for key in metadata.keys() - wanted)
    notes.update({f"{kind}: field {name!r} not read": count for name, count in unread.items()})
    at = np.array(lines, np.int64)
    columns = {name: pa.chunked_array([pa.array(values, pa.string())]) for name, values in extra.items()}
    columns |= {
        "id": pa.chunked_array([pa.array(ids, pa.string())]),
        "text": pa.chunked_array([pa.array(texts, pa.string())]),
    }
    return checked_texts(columns, at, path, bad, id_field="_id")


def read_qrels(path: Path, bad: BadRows, queries: pa.Table, corpus: pa.Table) -> pa.Table:
    """The good rows of a `qrels/<split>.tsv`: three columns between tabs under a header, grades any finite numbers."""
    query: list[str | None] = []
    document: list[str | None] = []
    grades, lines = array("d"), array("q")
    empty = True
    for number, line in read_lines(path, bad):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1:
            empty = False
            if len(fields) != 3 or _number(fields[2]) is not None:
                expected = f"the header {'<tab>'.join(HEADER)}"
                bad.add(BadInput(f"the first line {line.rstrip()[:60]!r}", expected, file=path, line=1))
        elif fields == [""]:
            continue
        elif len(fields) != 3:
            expected = f"3 ({', '.join(HEADER)}) between tabs"
            bad.add(BadInput(f"{len(fields)} column{'s' * (len(fields) != 1)}", expected, file=path, line=number))
        elif (grade := _number(fields[2])) is None:
            bad.add(BadInput(spoken(fields[2]), "a number", file=path, line=number, field=HEADER[2]))
        else:
            query.append(fields[0])
            document.append(fields[1])
            grades.append(grade)
            lines.append(number)
    if empty:
        raise BadInput("an empty file", f"the header {'<tab>'.join(HEADER)}", file=path)
    at = np.array(lines, np.int64)
    ids = [pa.chunked_array([pa.array(side, pa.string())]) for side in (query, document)]
    return checked_judgements(ids[0], ids[1], np.array(grades, np.float64), at, path, bad, queries, corpus)


def _existing(path: Path) -> Path:
    gzipped = path.with_name(path.name + ".gz")
    return gzipped if gzipped.exists() and not path.exists() else path


def _fault(record: Mapping[str, Any], wanted: list[str]) -> tuple[str, str, str] | None:
    """(field, found, expected) of the first field whose type is wrong; None of a title or a text is as good as none."""
    if "_id" not in record:
        return "_id", f"the fields {sorted(record)}", "a field '_id'"
    if not isinstance(record["_id"], str):
        return "_id", spoken(record["_id"]), "a string"
    if "text" not in record and not record.get("title"):
        return "text", f"the fields {sorted(record)}", "a field 'text'"
    if not isinstance(record.get("text"), (str, type(None))):
        return "text", spoken(record["text"]), "a string"
    metadata = record.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        return "metadata", spoken(metadata), "an object"
    for name in wanted:
        value = record.get(name)
        value = (metadata or {}).get(name) if value is None else value
        if isinstance(value, bool) or not isinstance(
            value, (str, type(None)) if name == "title" else (str, int, type(None))
        ):
            return name, spoken(value), "a string"
    return None


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
