"""Detection: which format a file or a folder is, from what stands in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.formats.containers import read_cell, rows_of, saved_dataset
from litotes.data.formats.trec_run import shape_of
from litotes.data.readers.columns import ANCHOR_NAMES, POSITIVE_NAMES
from litotes.data.readers.lines import read_lines
from litotes.errors import BadInput, BadRows
from litotes.evidence import SCHEMA

TUPLES = ("triplets", "n-tuples")
ROWS = (
    "pairs",
    "triplets",
    "n-tuples",
    "labelled-pairs",
    "labelled-lists",
    "flagembedding",
    "tevatron",
    "tevatron-ids",
)
TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def detect(path: str | Path) -> str:
    """The name of the format at `path`.

    A folder is known by its files, a file of rows by the names and types of the columns of its first row, a text file
    without column names by the number of its columns.

    Raises:
        BadInput: there is nothing, or it is of no known format.
        ValueError: it may be of several; the message lists them.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise BadInput("no such file or folder", "something to convert", file=path)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".parquet" and _is_evidence(path):
        return "evidence"
    if suffix == ".json" and _is_nemo(path):
        return "nemo"
    if suffix == ".tsv" and (plain := _columns_only(path)) is not None:
        return plain
    if suffix in TABLES:
        return of_row(path, _first_row(path, suffix))
    return _required(_columns_only(path), path)


def of_row(path: Path, row: Mapping[str, Any]) -> str:
    """The format of a file of rows, by its first row."""
    names = set(row)
    if "positive_passages" in names:
        return "tevatron"
    if "positive_document_ids" in names:
        return "tevatron-ids"
    if {"query", "pos", "neg"} <= names:
        return "flagembedding"
    labels = [name for name in ("label", "labels", "score", "scores") if name in names]
    numbers = [*labels, *(name for name in ("positive_score", "negative_score") if name in names)]
    inputs = [name for name in row if name not in numbers]
    lists = [name for name in inputs if isinstance(read_cell(row[name], path), list)]
    if "negative_1" in names:
        return "n-tuples"
    if "negative" in names and len(inputs) == 3:
        return "triplets"
    if labels and len(inputs) == 2:
        return "labelled-lists" if lists == inputs[1:] else "labelled-pairs"
    usual = any(name.casefold() in ANCHOR_NAMES for name in names) and any(
        name.casefold() in POSITIVE_NAMES for name in names
    )
    likely = ("pairs", *(("triplets",) if len(inputs) == 3 else ()), *(("n-tuples",) if len(inputs) > 3 else ()))
    identified = any(name.casefold().endswith(("id", "_id", "-id")) for name in names)
    if usual and (len(inputs) == 2 or identified or "grade" in names):
        return "pairs"
    if len(inputs) < 2:
        raise BadInput(f"the columns {list(row)}", f"the columns of one of {', '.join(ROWS)}", file=path)
    raise ValueError(f"{path}: the columns {list(row)} may be {' or '.join(likely)}; say which")


def _folder(path: Path) -> str:
    there = {entry.name.removesuffix(".gz") for entry in path.iterdir()}
    if "manifest.json" in there:
        return "evidence"
    if {"corpus.jsonl", "train.jsonl"} <= there and "queries.jsonl" not in there:
        return "tevatron-ids"
    if "corpus.jsonl" in there:
        return "beir"
    if "corpus.parquet" in there:
        return "parquet"
    if saved_dataset(path / "corpus"):
        return "hf"
    if saved_dataset(path):
        return _saved(path)
    rows = sorted(file for file in path.iterdir() if file.name.removesuffix(".gz").endswith((".jsonl", ".json")))
    if rows and _is_flagembedding(rows[0]):
        return "flagembedding"
    expected = "evidence, a collection, a saved dataset or files of FlagEmbedding rows"
    raise BadInput(f"a folder of {sorted(there)[:8]}", expected, file=path)


def _saved(path: Path) -> str:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, dict):
        if {"corpus", "queries"} <= set(loaded):
            return "hf"
        loaded = next(iter(loaded.values()))
    if not len(loaded):
        raise BadInput("a dataset without a row", "at least one", file=path)
    return of_row(path, loaded[0])


def _is_evidence(path: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path).names == SCHEMA.names
    except pa.ArrowInvalid as error:
        raise BadInput(f"a broken file ({error})", "a Parquet file", file=path) from None


def _is_nemo(path: Path) -> bool:
    for _, line in read_lines(path, BadRows(skip=True)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            return True  # an object over several lines; its reader says what is wrong with it
        return isinstance(row, dict) and {"corpus", "data"} <= set(row)
    return False


def _is_flagembedding(path: Path) -> bool:
    return {"query", "pos"} <= set(_first_row(path, ".jsonl"))


def _first_row(path: Path, suffix: str) -> dict[str, Any]:
    bad = BadRows(skip=True)
    if suffix == ".json":
        from litotes.data.readers.lines import read_objects

        found = next(iter(read_objects(path, bad)), None)
    else:
        found = next(iter(rows_of(path, bad)), None)
    if found is None:
        raise bad.first[0] if bad.first else BadInput("a file without a row", "at least one", file=path)
    return found[1]


def _columns_only(path: Path) -> str | None:
    """A run or judgements by the first line; None where that line names columns."""
    for _, line in read_lines(path, BadRows(skip=True)):
        columns = line.split()
        if not columns:
            continue
        if len(columns) == 6 and _number(columns[3]) and _number(columns[4]):
            return "trec-run"
        if len(columns) == 4 and _number(columns[3]):
            return "trec-qrels"
        if len(columns) == 3 and _number(columns[2]):
            shape_of(path)
            return "trec-run"
        return None
    raise BadInput("an empty file", "at least one line", file=path)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _required(name: str | None, path: Path) -> str:
    if name is None:
        raise BadInput(f"the ending {path.suffix!r} and no run or judgements", f"one of {', '.join(TABLES)}", file=path)
    return name
