"""Collections in Parquet: a folder of queries.parquet, corpus.parquet and qrels/<split>.parquet."""

from __future__ import annotations

from pathlib import Path

from litotes.data.formats.collections import HOLDS, exchange_of, judged
from litotes.data.formats.interchange import Exchange, Format, Written
from litotes.data.readers import read_parquet
from litotes.data.writers import write_parquet


def read(path: str | Path, *, read_split: str | None = None, skip_bad: bool = False) -> Exchange:
    """A Parquet folder (`litotes.data.readers.read_parquet`); `read_split` reads one split only."""
    return exchange_of(read_parquet(path, split=read_split, skip_bad=skip_bad))


def write(exchange: Exchange, path: str | Path, *, split: str = "train") -> Written:
    """A Parquet folder; evidence becomes judgements of `split` (`judged`). Rows written are documents."""
    collection, lost = judged(exchange, split)
    lost += write_parquet(collection, path)
    return Written(len(collection.corpus), lost, files=(Path(path),))


FORMAT = Format(
    "parquet",
    "collection in Parquet: a folder of queries.parquet, corpus.parquet, qrels/<split>.parquet",
    HOLDS,
    ("/",),
    read,
    write,
)
