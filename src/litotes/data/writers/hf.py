"""Collection -> Hugging Face datasets on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.collection import JUDGEMENTS, Collection
from litotes.data.writers.folder import fresh_folder, lost_columns, split_names
from litotes.data.writers.pairs import positive_pairs
from litotes.data.writers.parquet import TEXTS


def write_hf(collection: Collection, folder: str | Path) -> Counter[str]:
    """Write the folders `corpus`, `queries` (each a Dataset) and `qrels` (a DatasetDict of splits): BEIR form.

    Columns as in BEIR's datasets on the hub: `_id`, `title`, `text`, here with `group`, `date`, `taxonomy` where there
    are such; `query-id`, `corpus-id`, `score` (float32). `read_hf_disk` reads them back.

    Out:  counts of what is not written: values of unknown columns, rows of `related`, splits without a judgement.
    Raises:
        BadInput: a split cannot name a folder.
        FileExistsError: the folder is there and not empty.
    """
    import datasets

    lost = Counter[str]()
    with fresh_folder(folder) as place:
        for kind, table in (("corpus", collection.corpus), ("queries", collection.queries)):
            known = [name for name in TEXTS if name in table.column_names and (kind == "corpus" or name != "title")]
            lost += lost_columns(table, known, kind)
            _save(datasets, table.select(known).rename_columns(["_id", *known[1:]]), place / kind)
        splits = {}
        for name in split_names(collection):
            table = collection.qrels[name].select(JUDGEMENTS.names)
            if len(table):
                splits[name] = _dataset(datasets, table.rename_columns(["query-id", "corpus-id", "score"]))
            else:
                lost["splits without a judgement"] += 1  # `datasets` can save them, and cannot load them
        if splits:
            datasets.DatasetDict(splits).save_to_disk(str(place / "qrels"))
    if collection.related is not None:
        lost["rows of related"] += len(collection.related)
    return lost


def write_hf_pairs(collection: Collection, folder: str | Path, split: str, *, ids: bool = False) -> Counter[str]:
    """Write one Dataset of pairs; arguments and counts as in `write_pairs`. Raises as `write_hf`, and for the split."""
    import datasets

    table, lost = positive_pairs(collection, split)
    if not ids:
        lost["ids of queries"] = len(collection.queries)
        lost["ids of documents"] = len(collection.corpus)
        table = table.select(["anchor", "positive"])
    with fresh_folder(folder) as place:
        _dataset(datasets, table).save_to_disk(str(place))
    return lost


def _dataset(datasets: Any, table: pa.Table) -> Any:
    return datasets.Dataset(table.replace_schema_metadata(None).combine_chunks())


def _save(datasets: Any, table: pa.Table, folder: Path) -> None:
    _dataset(datasets, table).save_to_disk(str(folder))
