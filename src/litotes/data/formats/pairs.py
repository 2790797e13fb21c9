"""Pairs: an anchor and a positive a row, in CSV, TSV, JSONL, Parquet or a Hugging Face dataset on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from litotes.data.formats.collections import exchange_of, judged
from litotes.data.formats.interchange import Exchange, Format, Written
from litotes.data.readers import read_hf_disk, read_pairs
from litotes.data.writers import write_hf_pairs, write_pairs

HOLDS = frozenset({"texts", "positives"})


def read(path: str | Path, *, split: str = "train", read_split: str | None = None, skip_bad: bool = False) -> Exchange:
    """A file of pairs (`litotes.data.readers.read_pairs`) whose judgements become `split`, or a saved dataset."""
    if Path(path).is_dir():
        return exchange_of(read_hf_disk(path, split=read_split, skip_bad=skip_bad))
    return exchange_of(read_pairs(path, split=split, skip_bad=skip_bad))


def write(exchange: Exchange, path: str | Path, *, split: str = "train", ids: bool = False) -> Written:
    """One row per positive: `anchor`, `positive`, and with `ids` the columns `query_id` and `document_id`.

    A path without an ending is a folder for `datasets.load_from_disk`.
    """
    collection, lost = judged(exchange, split)
    writer = write_hf_pairs if Path(path).suffix == "" else write_pairs
    lost += writer(collection, path, split, ids=ids)
    rows = int(np.count_nonzero(collection.qrels[split]["grade"].to_numpy() > 0))
    return Written(rows, lost, files=(Path(path),))


FORMAT = Format(
    "pairs",
    "pairs: anchor, positive in CSV, TSV, JSONL, Parquet or a Hugging Face dataset on disk",
    HOLDS,
    (".csv", ".tsv", ".jsonl", ".parquet", "/"),
    read,
    write,
)
