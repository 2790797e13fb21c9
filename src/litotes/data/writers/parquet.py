"""Collection -> Parquet folder: the form that holds everything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from litotes.data.collection import JUDGEMENTS, RELATED, Collection
from litotes.data.writers.folder import fresh_folder, lost_columns, split_names

TEXTS = ("id", "title", "text", "group", "date", "taxonomy", "modality")


def write_parquet(collection: Collection, folder: str | Path) -> Counter[str]:
    """Write queries.parquet, corpus.parquet, qrels/<split>.parquet and, where there is one, related.parquet.

    All columns are written; `read_parquet` reads back those that litotes knows, so values of others are counted as lost
    to it. Zstandard, ids and texts as strings.

    Out:  counts of what `read_parquet` will not bring back: values of unknown columns. Empty where nothing is lost.
    Raises:
        BadInput: a split cannot name a file.
        FileExistsError: the folder is there and not empty.
    """
    import pyarrow.parquet as pq

    lost = lost_columns(collection.queries, [name for name in TEXTS if name != "title"], "queries")
    lost += lost_columns(collection.corpus, TEXTS, "corpus")
    with fresh_folder(folder) as place:
        pq.write_table(collection.queries, place / "queries.parquet", compression="zstd")
        pq.write_table(collection.corpus, place / "corpus.parquet", compression="zstd")
        (place / "qrels").mkdir()
        for split in split_names(collection):
            table = collection.qrels[split].select(JUDGEMENTS.names)
            pq.write_table(table, place / "qrels" / f"{split}.parquet", compression="zstd")
        if collection.related is not None:
            pq.write_table(collection.related.select(RELATED.names), place / "related.parquet", compression="zstd")
    return lost
