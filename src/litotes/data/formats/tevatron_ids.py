"""Tevatron, id form: a folder of train.jsonl (queries and ids of documents) and corpus.jsonl (the documents)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litotes.data.collection import Collection
from litotes.data.formats.choose import Chosen, choose
from litotes.data.formats.containers import write_lines
from litotes.data.formats.fields import Place, identity, listed, present, text
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.data.readers.lines import read_objects
from litotes.data.writers.folder import fresh_folder
from litotes.errors import BadInput, BadRows

TOOL = "tevatron"
HOLDS = frozenset({"texts", "ids", "corpus", "positives", "negatives", "ragged"})
SIDES = (("positive_document_ids", 1), ("negative_document_ids", -1))
KNOWN = frozenset({"query_id", "query_text", "positive_document_ids", "negative_document_ids"})
KNOWN_DOCUMENT = frozenset({"docid", "text", "title"})
ROWS, CORPUS = "train.jsonl", "corpus.jsonl"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """A folder of `train.jsonl` and `corpus.jsonl`, or one file of rows whose documents stand in `collection`.

    Images, video and audio are not read: a query without text is a fault, other fields are counted.

    Args: as in `litotes.data.formats.n_tuples.read`.
    Raises:
        BadInput: a row is bad: broken JSON, an id that the corpus does not hold, no positive, an id twice in the corpus
            with two texts. A file of rows without any corpus is refused.
    """
    path = Path(path)
    gatherer = Gatherer(TOOL, BadRows(skip=skip_bad), collection=collection)
    rows = path
    if path.is_dir():
        rows = path / ROWS
        for line, row in read_objects(path / CORPUS, gatherer.bad):
            read_document(row, Place(path / CORPUS, line), gatherer)
    elif collection is None:
        raise BadInput(
            "a file of rows with ids of documents", f"a folder with {CORPUS} besides, or a collection", file=path
        )
    gatherer.documents.closed = True
    for line, row in read_objects(rows, gatherer.bad):
        with gatherer.bad:
            read_row(row, Place(rows, line), gatherer)
    return gatherer.exchange(path.name.partition(".")[0])


def write(
    exchange: Exchange,
    path: str | Path,
    *,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    short: Short = "drop",
) -> Written:
    """A folder of `train.jsonl` and `corpus.jsonl`, the latter with every document of the collection.

    In training this form leaves the title away and in encoding it puts it in front, so the title is written as the head
    of the text: both see the same words.

    Args:
        short: as in `litotes.data.formats.tevatron.write`.
    """
    if short not in ("drop", "refuse", "keep"):
        raise ValueError(f"tevatron-ids: short must be 'drop', 'refuse' or 'keep', got {short!r}")
    path = Path(path)
    chosen = choose(
        exchange, HOLDS, split=split, negatives=negatives, how=how, seed=seed, at_least=1, short=short, scores=False
    )
    assert chosen.collection is not None
    collection = chosen.collection
    with fresh_folder(path) as place:
        rows = write_lines(place / ROWS, _rows(chosen))
        ids, texts = collection.corpus["id"].to_pylist(), collection.document_texts()
        pairs = zip(ids, texts, strict=True)
        write_lines(place / CORPUS, ({"docid": i, "text": text, "image": None} for i, text in pairs))
    return Written(rows, chosen.lost, files=(path / ROWS, path / CORPUS))


def read_document(row: dict[str, Any], place: Place, gatherer: Gatherer) -> None:
    try:
        docid = identity(present(row, "docid", place), "docid", place)
        title = text(row["title"], "title", place, empty=True) if row.get("title") is not None else None
        body = text(present(row, "text", place), "text", place, empty=bool(title and title.strip()))
    except BadInput as fault:
        gatherer.bad.add(fault)
        return
    gatherer.document(Given(body, docid, title, field="docid"), place)
    named = {name for name in row.keys() - KNOWN_DOCUMENT if row[name] is not None}
    gatherer.notes.update(f"fields {name!r} of documents that were not read" for name in named)


def read_row(row: dict[str, Any], place: Place, gatherer: Gatherer) -> None:
    query_id = identity(present(row, "query_id", place), "query_id", place)
    query = text(present(row, "query_text", place), "query_text", place)
    given: list[Given] = []
    for name, sign in SIDES:
        ids = listed(present(row, name, place), name, place, "ids")
        if sign > 0 and not ids:
            raise place.fault("an empty list", "at least one positive", name)
        for i, one in enumerate(ids):
            given.append(Given(id=identity(one, f"{name}[{i}]", place), sign=sign, field=f"{name}[{i}]"))
    gatherer.row(place, Given(query, query_id, field="query_id"), given)
    named = {name for name in row.keys() - KNOWN if row[name] is not None}
    gatherer.notes.update(f"fields {name!r} that were not read" for name in named)


def _rows(chosen: Chosen) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        yield {
            "query_id": group.anchor,
            "query_text": group.query,
            "query_image": None,
            "positive_document_ids": [one.id for one in group.positives],
            "negative_document_ids": [one.id for one in group.negatives],
            "answer": None,
        }


FORMAT = Format(
    "tevatron-ids",
    "Tevatron, id form: a folder of train.jsonl (ids) and corpus.jsonl (texts)",
    HOLDS,
    ("/", ".jsonl"),
    read,
    write,
)
