"""What an audit reads: a set in any format that `convert` reads, as numbers, with the way to write it again."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litotes.audit.negatives.example_set import ExampleSet, Gathering
from litotes.audit.negatives.layouts import LAYOUTS, layout_of
from litotes.audit.negatives.recorder import Recorder
from litotes.audit.negatives.row_files import RowFiles
from litotes.audit.negatives.table_files import TableFiles
from litotes.data.collection import Collection
from litotes.data.formats import FORMATS, detect, format_named
from litotes.errors import BadInput, BadRows

_BY_FORMAT = ("threshold", "read_split", "scorer", "shape", "pool")


@dataclass(frozen=True, eq=False)
class Source:
    """A set that was read.

    Args:
        path, format: where and what it is.
        examples: its rows.
        files: writes it again.
        ids, titles: of documents by number, where the set gives such.
        bad: rows that were skipped.
        notes: what was met and taken another way than it stands there, with counts.
    """

    path: Path
    format: str
    examples: ExampleSet
    files: RowFiles | TableFiles
    ids: dict[int, str]
    titles: dict[int, str]
    bad: BadRows
    notes: Counter[str]


def read_source(
    path: str | Path,
    folder: Path,
    *,
    format: str | None = None,
    collection: Collection | None = None,
    split: str = "train",
    skip_bad: bool = False,
    known: dict[bytes, int] | None = None,
    **options: Any,
) -> Source:
    """Read `path`; its texts go into `folder`.

    Args:
        format: a name in FORMATS; None looks into the source.
        collection: the texts, where the source has ids only.
        split: whose judgements count, where the source is a collection.
        skip_bad: leave bad rows out and count them; default: stop at the first.
        known: shared by sets that are compared (`Gathering`).
        options: of the format's reader: threshold, read_split, shape, ...
    Raises:
        BadInput: a row is bad, or there is nothing. ValueError: the format cannot be told, or an option has no meaning.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput("no such file or folder", "a set to audit", file=path)
    name = format or detect(path)
    takes = format_named(name, "reader").options("reader")
    for option, value in options.items():
        if value is not None and option not in takes:
            there = sorted(takes & set(_BY_FORMAT))
            raise ValueError(f"audit: {option} has no meaning for {name}; it takes {', '.join(there) or 'no option'}")
    given = {option: value for option, value in options.items() if value is not None}
    gathering, bad = Gathering(folder, known), BadRows(skip=skip_bad)
    if name not in LAYOUTS:
        table = TableFiles(path, name, given | {"skip_bad": skip_bad}, collection, split)
        table.read(gathering)
        examples = gathering.finish(flat=True)
        notes = table.exchange.notes + table.lost
        return Source(path, name, examples, table, {}, {}, table.exchange.bad, notes)
    files = RowFiles(path, layout_of(name, given.get("threshold")), given.get("read_split"))
    if name == "tevatron-ids" and path.is_file() and collection is None:
        raise BadInput("a file of rows with ids of documents", "a folder with corpus.jsonl, or a collection", file=path)
    if collection is not None and "collection" not in inspect.signature(_reader(name)).parameters:
        raise ValueError(f"audit: {name} has its own texts; a collection has no meaning")
    recorder = Recorder(bad, gathering, collection)
    files.read(recorder)
    return Source(
        path, name, gathering.finish(flat=files.layout.flat), files, recorder.ids, recorder.titles, bad, recorder.notes
    )


def _reader(name: str) -> Any:
    return FORMATS[name].reader
