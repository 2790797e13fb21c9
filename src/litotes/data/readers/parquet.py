"""The Parquet folder: queries.parquet, corpus.parquet and qrels/<split>.parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.readers.gate import ReadCollection
from litotes.data.readers.tables import judgements_of, related_of, texts_of
from litotes.errors import BadInput, BadRows


def read_parquet(folder: str | Path, *, split: str | None = None, skip_bad: bool = False) -> ReadCollection:
    """A folder as `write_parquet` writes it; `related.parquet` is read where it is there.

    Columns: `id` (or `_id`), `text`, optional `title`, `group`, `date`, `taxonomy`, `modality`; `query`, `document`,
    `grade` (or BEIR's `query-id`, `corpus-id`, `score`). Lines in messages are rows, from 1.

    Args:
        split: read only that split; None reads all, in alphabetical order.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: a file or a column is missing or of the wrong type, or a row is bad (see `read_beir`).
    """
    folder = Path(folder)
    qrels = {path.stem: path for path in sorted((folder / "qrels").glob("*.parquet"))}
    if split is not None and split not in qrels:
        raise BadInput(f"the splits {sorted(qrels)}", f"qrels/{split}.parquet", file=folder)
    chosen = qrels if split is None else {split: qrels[split]}
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    tables: Mapping[str, pa.Table] = {
        kind: texts_of(parquet_table(folder / f"{kind}.parquet"), folder / f"{kind}.parquet", bad, notes, kind=kind)
        for kind in ("queries", "corpus")
    }
    judged = {
        name: judgements_of(parquet_table(path), path, bad, tables["queries"], tables["corpus"])
        for name, path in chosen.items()
    }
    related = folder / "related.parquet"
    suspects = None
    if related.exists():
        suspects = related_of(parquet_table(related), related, bad, tables["queries"], tables["corpus"])
    collection = Collection(folder.resolve().name, tables["queries"], tables["corpus"], judged, suspects)
    return ReadCollection(collection, bad, notes)


def parquet_table(path: Path) -> pa.Table:
    """A Parquet file as a table. Raises BadInput where there is none or it is broken."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError:
        raise BadInput("no such file", "a Parquet file", file=path) from None
    except pa.ArrowInvalid as error:
        raise BadInput(f"a broken file ({error})", "a Parquet file", file=path) from None
