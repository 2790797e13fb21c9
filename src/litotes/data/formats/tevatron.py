"""Tevatron, text form: JSONL rows that carry the passages themselves, each with id, title and text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litotes.data.collection import Collection
from litotes.data.formats.choose import Candidate, Chosen, choose
from litotes.data.formats.containers import write_lines
from litotes.data.formats.fields import Place, identity, listed, present, text
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.data.readers.lines import read_objects, spoken
from litotes.errors import BadRows

TOOL = "tevatron"
HOLDS = frozenset({"texts", "titles", "ids", "positives", "negatives", "ragged"})
SIDES = (("positive_passages", 1), ("negative_passages", -1))
KNOWN = frozenset({"query_id", "query", "positive_passages", "negative_passages"})


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """Rows of `query_id`, `query`, `positive_passages`, `negative_passages`; ids may be text or whole numbers.

    A passage without `docid` gets an id made of its text. `answers` and other fields are not read and counted.

    Args: as in `litotes.data.formats.n_tuples.read`.
    Raises:
        BadInput: a row is bad: broken JSON, a passage that is no object, a title that is not a text (Tevatron would
            fail on null), no positive, one id for two texts.
    """
    path = Path(path)
    gatherer = Gatherer(TOOL, BadRows(skip=skip_bad), collection=collection)
    for line, row in read_objects(path, gatherer.bad):
        with gatherer.bad:
            read_row(row, Place(path, line), gatherer)
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
    """One row per anchor. Tevatron reads a passage as `title + " " + text`, which is what litotes encodes too.

    Args:
        short: training fails on an empty list of negatives: such anchors are left out and counted ("drop"), an error
            ("refuse"), or written all the same ("keep": for evaluation, which needs none).
    """
    if short not in ("drop", "refuse", "keep"):
        raise ValueError(f"tevatron: short must be 'drop', 'refuse' or 'keep', got {short!r}")
    chosen = choose(
        exchange, HOLDS, split=split, negatives=negatives, how=how, seed=seed, at_least=1, short=short, scores=False
    )
    return Written(write_lines(Path(path), _rows(chosen)), chosen.lost, files=(Path(path),))


def read_row(row: dict[str, Any], place: Place, gatherer: Gatherer) -> None:
    query_id = identity(present(row, "query_id", place), "query_id", place)
    query = text(present(row, "query", place), "query", place)
    given: list[Given] = []
    for name, sign in SIDES:
        passages = listed(present(row, name, place), name, place, "passages")
        if sign > 0 and not passages:
            raise place.fault("an empty list", "at least one positive", name)
        given += [_passage(one, f"{name}[{i}]", sign, place) for i, one in enumerate(passages)]
    gatherer.row(place, Given(query, query_id, field="query_id"), given)
    gatherer.notes.update(f"fields {name!r} that were not read" for name in row.keys() - KNOWN)


def _passage(value: Any, name: str, sign: int, place: Place) -> Given:
    if not isinstance(value, dict):
        raise place.fault(spoken(value), "an object with docid, title and text", name)
    title = text(value["title"], f"{name}.title", place, empty=True) if "title" in value else None
    if "text" not in value:
        raise place.fault(f"the fields {sorted(value)}", "a field 'text'", name)
    body = text(value["text"], f"{name}.text", place, empty=bool(title and title.strip()))
    docid = identity(value["docid"], f"{name}.docid", place) if "docid" in value else None
    return Given(body, docid, title, sign, field=name)


def _rows(chosen: Chosen) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        yield {
            "query_id": group.anchor,
            "query": group.query,
            "positive_passages": [_written(one) for one in group.positives],
            "negative_passages": [_written(one) for one in group.negatives],
        }


def _written(one: Candidate) -> dict[str, str]:
    return {"docid": one.id, "title": one.title, "text": one.body}


FORMAT = Format(
    "tevatron",
    "Tevatron JSONL, text form: query, positive_passages, negative_passages",
    HOLDS,
    (".jsonl", ".jsonl.gz"),
    read,
    write,
)
