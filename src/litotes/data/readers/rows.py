"""Rows of a table file, one dict at a time, each with the line where it starts."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.readers.lines import read_lines, read_objects
from litotes.data.readers.parquet import parquet_table
from litotes.errors import BadInput, BadRows

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def read_rows(path: Path, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row by column) of a file of one of SUFFIXES; in Parquet the line is the row, from 1."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".csv":
        return _csv_rows(path, bad)
    if suffix == ".tsv":
        return _tsv_rows(path, bad)
    if suffix == ".jsonl":
        return read_objects(path, bad)
    if path.suffix == ".parquet":
        return table_rows(parquet_table(path))
    raise BadInput(f"the ending {path.suffix!r}", f"one of {', '.join(SUFFIXES)}", file=path)


def table_rows(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1, row by column) of a table."""
    number = 0
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _csv_rows(path: Path, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    starts = array("q")

    def lines() -> Iterator[str]:
        for number, line in read_lines(path, bad):
            starts.append(number)
            yield line

    limit = csv.field_size_limit(1 << 30)  # the module's limit of 128 KiB refuses long documents
    try:
        rows = csv.reader(lines(), strict=True)
        header: list[str] | None = None
        while True:
            place = len(starts)
            try:
                fields = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                at = starts[min(place, len(starts) - 1)] if starts else 1
                raise BadInput(f"broken CSV ({error})", "quoted fields that end", file=path, line=at) from None
            if not fields:
                continue
            if header is None:
                header = _header(fields, path)
            elif len(fields) != len(header):
                bad.add(
                    BadInput(
                        f"{len(fields)} field{'s' * (len(fields) != 1)}",
                        f"{len(header)}, as in the header",
                        file=path,
                        line=starts[place],
                    )
                )
            else:
                yield starts[place], dict(zip(header, fields, strict=True))
    finally:
        csv.field_size_limit(limit)
    if header is None:
        raise BadInput("an empty file", "a header", file=path)


def _tsv_rows(path: Path, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    header: list[str] | None = None
    for number, line in read_lines(path, bad):
        fields = line.rstrip("\r\n").split("\t")
        if header is None:
            header = _header(fields, path)
        elif fields == [""]:
            continue
        elif len(fields) != len(header):
            bad.add(
                BadInput(
                    f"{len(fields)} field{'s' * (len(fields) != 1)}",
                    f"{len(header)}, as in the header",
                    file=path,
                    line=number,
                )
            )
        else:
            yield number, dict(zip(header, fields, strict=True))
    if header is None:
        raise BadInput("an empty file", "a header", file=path)


def _header(fields: list[str], path: Path) -> list[str]:
    if len(set(fields)) < len(fields):
        raise BadInput(f"the columns {fields}", "each name once", file=path, line=1)
    return fields
