"""Collection -> pairs in CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from litotes.atomic import atomic_path
from litotes.data.collection import Collection
from litotes.data.writers.beir import refuse_breaks
from litotes.data.writers.folder import lost_columns
from litotes.errors import BadInput


def write_pairs(collection: Collection, path: str | Path, split: str, *, ids: bool = False) -> Counter[str]:
    """Write one row per positive of a split: `anchor`, `positive`, as sentence-transformers trains on them.

    Args:
        path: `.csv` (RFC 4180, every field quoted), `.tsv` (no quotes), `.jsonl` or `.parquet`.
        ids: add the columns `query_id` and `document_id`, so that `read_pairs` gives the same ids back. Training tools
            that take every column for a text must not see them.
    Out:  counts of what the file cannot hold: judged negatives, grades, titles, documents that are no positive, ...
    Raises:
        BadInput: the split has no positive, the ending is another one, or (TSV) a text or an id holds a tab or a line
            break.
        ValueError: the collection has no such split.
    """
    path = Path(path)
    table, lost = positive_pairs(collection, split)
    if not ids:
        lost["ids of queries"] = len(collection.queries)
        lost["ids of documents"] = len(collection.corpus)
        table = table.select(["anchor", "positive"])
    if path.suffix == ".tsv":
        for name in table.column_names:
            refuse_breaks(table[name].to_pylist(), f"{collection.name}/{split}", name)
    if path.suffix not in (".csv", ".tsv", ".jsonl", ".parquet"):
        raise BadInput(f"the ending {path.suffix!r}", ".csv, .tsv, .jsonl or .parquet", file=path)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary, compression="zstd")
        else:
            _write_rows(table, temporary, path.suffix)
    return lost


def _write_rows(table: pa.Table, path: Path, suffix: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        quoted = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        if suffix == ".csv":
            quoted.writerow(table.column_names)
        elif suffix == ".tsv":
            file.write("\t".join(table.column_names) + "\n")
        for batch in table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                if suffix == ".csv":
                    quoted.writerow(row.values())
                elif suffix == ".tsv":
                    file.write("\t".join(row.values()) + "\n")
                else:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def positive_pairs(collection: Collection, split: str) -> tuple[pa.Table, Counter[str]]:
    """(query id, anchor, document id, positive) for every judgement of grade above 0, and what pairs cannot hold."""
    query, document, grade = collection.judgements(split)
    kept = grade > 0
    if not kept.any():
        raise BadInput("no judgement above 0", "at least one positive", file=f"{collection.name}/qrels/{split}")
    texts = pa.array(collection.document_texts(), pa.string())
    table = pa.table(
        {
            "anchor": collection.queries["text"].take(pa.array(query[kept])),
            "positive": texts.take(pa.array(document[kept])),
            "query_id": collection.queries["id"].take(pa.array(query[kept])),
            "document_id": collection.corpus["id"].take(pa.array(document[kept])),
        }
    )
    lost = lost_columns(collection.queries, ("id", "text"), "queries")
    lost += lost_columns(collection.corpus, ("id", "text", "title"), "corpus")
    if "title" in collection.corpus.column_names:
        titled = pc.sum(pc.greater(pc.utf8_length(pc.fill_null(collection.corpus["title"], "")), 0)).as_py() or 0
        lost["titles that became the head of the text"] += titled
    lost["judged negatives"] += int((grade == 0).sum())
    lost["judgements below 0"] += int((grade < 0).sum())
    lost["grades other than 1"] += int((grade[kept] != 1).sum())
    lost["queries without a positive"] += len(collection.queries) - len(set(query[kept].tolist()))
    lost["documents that are no positive"] += len(collection.corpus) - len(set(document[kept].tolist()))
    lost["judgements of other splits"] += sum(len(table) for name, table in collection.qrels.items() if name != split)
    if collection.related is not None:
        lost["rows of related"] += len(collection.related)
    return table, +lost
