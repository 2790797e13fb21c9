"""Collection -> BEIR folder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.writers.folder import fresh_folder, lost_columns, split_names
from litotes.errors import BadInput

METADATA = ("group", "date", "taxonomy", "modality")


def write_beir(collection: Collection, folder: str | Path) -> Counter[str]:
    """Write corpus.jsonl, queries.jsonl and qrels/<split>.tsv; `read_beir` reads them back.

    `group`, `date`, `taxonomy` and `modality` go into BEIR's object `metadata`, a missing title is written as "". Whole
    grades are written as integers. Other grades are written with a decimal point, and counted: litotes reads them,
    BEIR's own loader takes integers only.

    Out:  counts of what BEIR cannot hold: values of other columns, rows of `related`, grades that are not whole. Empty
          where nothing is lost.
    Raises:
        BadInput: an id holds a tab or a line break, or a split cannot name a file. Nothing is written then.
        FileExistsError: the folder is there and not empty.
    """
    for table, kind in ((collection.queries, "queries"), (collection.corpus, "corpus")):
        refuse_breaks(table["id"].to_pylist(), f"{collection.name}/{kind}", "id")
    lost = lost_columns(collection.queries, ("id", "text", *METADATA), "queries")
    lost += lost_columns(collection.corpus, ("id", "title", "text", *METADATA), "corpus")
    if collection.related is not None:
        lost["rows of related"] += len(collection.related)
    with fresh_folder(folder) as place:
        _write_texts(collection.corpus, place / "corpus.jsonl", title=True)
        _write_texts(collection.queries, place / "queries.jsonl", title=False)
        (place / "qrels").mkdir()
        for split in split_names(collection):
            table = collection.qrels[split]
            lost["grades that are not whole"] += _write_qrels(table, place / "qrels" / f"{split}.tsv")
    return +lost


def refuse_breaks(values: list[str], where: str, field: str) -> None:
    """Raises BadInput, with the row, for a value that holds a tab or a line break: TSV has no way to write it."""
    for row, value in enumerate(values, 1):
        if "\t" in value or "\n" in value or "\r" in value:
            raise BadInput(
                repr(value[:60]), "no tab and no line break (TSV cannot hold them)", file=where, line=row, field=field
            )


def _write_texts(table: pa.Table, path: Path, *, title: bool) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for batch in table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                record = {"_id": row["id"]}
                if title:
                    record["title"] = row.get("title") or ""
                record["text"] = row["text"]
                metadata = {name: str(row[name]) for name in METADATA if row.get(name) is not None}
                if metadata:
                    record["metadata"] = metadata
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_qrels(table: pa.Table, path: Path) -> int:
    """Number of grades that are not whole."""
    grades = table["grade"].to_numpy()
    whole = grades == np.floor(grades)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, document, grade in zip(
            table["query"].to_pylist(), table["document"].to_pylist(), grades, strict=True
        ):
            file.write(f"{query}\t{document}\t{int(grade) if grade == np.floor(grade) else str(grade)}\n")
    return int((~whole).sum())
