"""Containers: rows of named columns in JSONL, CSV, TSV, Parquet or a dataset that `datasets` saved, one at a time."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from litotes.atomic import atomic_path
from litotes.data.readers.hf import SAVED
from litotes.data.readers.rows import read_rows
from litotes.data.writers.folder import fresh_folder
from litotes.errors import BadInput, BadRows

BATCH = 4096
ENDINGS = (".jsonl", ".csv", ".parquet", "/")


def rows_of(path: Path, bad: BadRows, split: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row by column). A folder is a dataset that `save_to_disk` wrote; the line is then the row, from 1.

    Args:
        split: which split of a folder that has several; None takes the only one.
    """
    if path.is_dir():
        return _dataset_rows(path, split)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return read_rows(path, bad)


def write_rows(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> int:
    """Write rows as the ending of `path` says: `.jsonl`, `.csv`, `.parquet`; none is a folder for `load_from_disk`.

    Lists in CSV are written as JSON. The file is whole or absent. Out: number of rows.

    Raises:
        ValueError: another ending.
        FileExistsError: the folder is there and not empty.
    """
    if path.suffix == ".jsonl":
        return write_lines(path, rows)
    if path.suffix == ".csv":
        return _write_csv(rows, schema, path)
    if path.suffix == ".parquet":
        with atomic_path(path) as temporary:
            return _write_parquet(rows, schema, temporary)
    if path.suffix == "":
        return _write_dataset(rows, schema, path)
    raise ValueError(
        f"convert: cannot write {path.name!r}: the ending must be .jsonl, .csv, .parquet or none (a folder)"
    )


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line; number of rows."""
    count = 0
    with text_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A UTF-8 file that is whole or absent."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


def read_cell(value: Any, file: Path) -> Any:
    """A list that a cell of CSV or TSV holds, as JSON or as Python prints it; any other value as it is."""
    celled = file.name.removesuffix(".gz").endswith((".csv", ".tsv"))
    if not celled or not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        import ast

        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value


def saved_dataset(path: Path) -> bool:
    """True for a folder that `datasets` saved."""
    return path.is_dir() and any((path / name).exists() for name in SAVED)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise BadInput("no such file", "a Parquet file", file=path) from None
    except pa.ArrowInvalid as error:
        raise BadInput(f"a broken file ({error})", "a Parquet file", file=path) from None
    number = itertools.count(1)
    with file:
        for batch in file.iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                yield next(number), row


def _dataset_rows(path: Path, split: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    import datasets

    if not saved_dataset(path):
        raise BadInput("a folder without a saved dataset", "a folder that save_to_disk wrote", file=path)
    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, dict):
        if split is None and len(loaded) == 1:
            split = next(iter(loaded))
        if split not in loaded:
            raise BadInput(
                f"the splits {sorted(loaded)}", f"the split {split!r}" if split else "one split, or its name", file=path
            )
        loaded = loaded[split]
    number = itertools.count(1)
    for batch in loaded.with_format("arrow").iter(BATCH):
        for row in batch.to_pylist():
            yield next(number), row


def _write_csv(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> int:
    count = 0
    with text_file(path) as file:
        out = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        out.writerow(schema.names)
        for row in rows:
            out.writerow([json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in row.values()])
            count += 1
    return count


def _batches(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while block := list(itertools.islice(remaining, BATCH)):
        yield pa.RecordBatch.from_pylist(block, schema)


def _write_parquet(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows, schema):
            writer.write_batch(batch)
            count += len(batch)
    return count


def _write_dataset(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> int:
    import datasets

    count = 0
    with fresh_folder(path) as place:
        stream = place.with_name(place.name + ".arrow")
        try:
            with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for batch in _batches(rows, schema):
                    writer.write_batch(batch)
                    count += len(batch)
            datasets.Dataset.from_file(str(stream)).save_to_disk(str(place))
        finally:
            stream.unlink(missing_ok=True)
    return count
