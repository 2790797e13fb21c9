"""BEIR folders: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

from __future__ import annotations

from pathlib import Path

from litotes.data.formats.collections import HOLDS, exchange_of, judged
from litotes.data.formats.interchange import Exchange, Format, Written
from litotes.data.readers import read_beir
from litotes.data.writers import write_beir


def read(path: str | Path, *, read_split: str | None = None, skip_bad: bool = False) -> Exchange:
    """A BEIR folder (`litotes.data.readers.read_beir`); `read_split` reads one split only."""
    return exchange_of(read_beir(path, split=read_split, skip_bad=skip_bad))


def write(exchange: Exchange, path: str | Path, *, split: str = "train") -> Written:
    """A BEIR folder; evidence becomes judgements of `split` (`judged`). Rows written are documents."""
    collection, lost = judged(exchange, split)
    lost += write_beir(collection, path)
    return Written(len(collection.corpus), lost, files=(Path(path),))


FORMAT = Format("beir", "BEIR folder: corpus.jsonl, queries.jsonl, qrels/<split>.tsv", HOLDS, ("/",), read, write)
