"""Collections as Hugging Face datasets on disk: subfolders corpus, queries and qrels."""

from __future__ import annotations

from pathlib import Path

from litotes.data.formats.collections import HOLDS, exchange_of, judged
from litotes.data.formats.interchange import Exchange, Format, Written
from litotes.data.readers import read_hf_disk
from litotes.data.writers import write_hf


def read(path: str | Path, *, read_split: str | None = None, skip_bad: bool = False) -> Exchange:
    """A folder that `datasets` saved, in BEIR form or as pairs (`litotes.data.readers.read_hf_disk`)."""
    return exchange_of(read_hf_disk(path, split=read_split, skip_bad=skip_bad))


def write(exchange: Exchange, path: str | Path, *, split: str = "train") -> Written:
    """Datasets in BEIR form; evidence becomes judgements of `split` (`judged`). Rows written are documents."""
    collection, lost = judged(exchange, split)
    lost += write_hf(collection, path)
    return Written(len(collection.corpus), lost, files=(Path(path),))


FORMAT = Format("hf", "collection as Hugging Face datasets on disk: corpus, queries, qrels", HOLDS, ("/",), read, write)
