"""FlagEmbedding: JSONL rows of query, pos and neg, as its embedders and rerankers train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litotes.data.collection import Collection
from litotes.data.formats.choose import Chosen, choose
from litotes.data.formats.containers import write_lines
from litotes.data.formats.fields import Place, numbers, present, text, texts
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.data.readers.lines import read_objects
from litotes.errors import BadInput, BadRows

TOOL = "flagembedding"
HOLDS = frozenset({"texts", "positives", "negatives", "scores", "ragged"})
KNOWN = frozenset({"query", "pos", "neg", "pos_scores", "neg_scores"})
ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    pool: str | Path | None = None,
    scorer: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """A file of rows, or a folder of such files. Rows with one query text are one anchor.

    `neg` may be missing (a file before mining). `prompt`, `type` and other fields are not read and counted.

    Args: as in `litotes.data.formats.n_tuples.read`, and
        pool: a candidate pool, one `{"text": ...}` a line: documents besides those of the rows.
    Raises:
        BadInput: a row is bad: broken JSON, a text where the list belongs (the library would take its letters for
            passages), a number where text belongs, no positive, scores of another number than texts.
    """
    path = Path(path)
    gatherer = Gatherer(TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    for file in files_of(path):
        for line, row in read_objects(file, gatherer.bad):
            place = Place(file, line)
            with gatherer.bad:
                read_row(row, place, gatherer)
    if pool is not None:
        for line, row in read_objects(Path(pool), gatherer.bad):
            place = Place(Path(pool), line)
            with gatherer.bad:
                gatherer.document(Given(text(present(row, "text", place), "text", place), field="text"), place)
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
    scores: bool | None = None,
    pool: str | Path | None = None,
) -> Written:
    """One row per anchor: `query`, `pos`, `neg` and, with scores, `pos_scores`, `neg_scores`.

    Args:
        short: the trainer divides by the number of negatives, so a row with an empty `neg` ends it: such anchors are
            left out and counted ("drop"), an error ("refuse"), or written all the same ("keep": for its miner, which
            fills `neg`).
        pool: also write the whole corpus there, as the miner's candidate pool.
    """
    if short not in ("drop", "refuse", "keep"):
        raise ValueError(f"flagembedding: short must be 'drop', 'refuse' or 'keep', got {short!r}")
    holds = HOLDS if pool is None else HOLDS | {"corpus"}
    chosen = choose(
        exchange, holds, split=split, negatives=negatives, how=how, seed=seed, at_least=1, short=short, scores=scores
    )
    rows = write_lines(Path(path), _rows(chosen))
    files = [Path(path)]
    if pool is not None:
        assert chosen.collection is not None
        write_lines(Path(pool), ({"text": text} for text in dict.fromkeys(chosen.collection.document_texts())))
        files.append(Path(pool))
    return Written(rows, chosen.lost, files=tuple(files))


def files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS))
    if not found:
        raise BadInput(f"a folder without files that end in {', '.join(ENDINGS)}", "files of rows", file=path)
    return found


def read_row(row: dict[str, Any], place: Place, gatherer: Gatherer) -> None:
    query = text(present(row, "query", place), "query", place)
    given: list[Given] = []
    for name, sign in (("pos", 1), ("neg", -1)):
        value = present(row, name, place) if name == "pos" else row.get(name) or []
        found = texts(value, name, place)
        if name == "pos" and not found:
            raise place.fault("an empty list", "at least one positive", name)
        rating = f"{name}_scores"
        scores: list[Any] = [None] * len(found)
        if row.get(rating) is not None:
            scores = numbers(row[rating], rating, place, len(found), f"one per text of {name!r}")
        given += [
            Given(one, sign=sign, score=score, field=f"{name}[{i}]")
            for i, (one, score) in enumerate(zip(found, scores, strict=True))
        ]
    gatherer.row(place, Given(query, field="query"), given)
    gatherer.notes.update(f"fields {name!r} that were not read" for name in row.keys() - KNOWN)


def _rows(chosen: Chosen) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        row: dict[str, Any] = {
            "query": group.query,
            "pos": [one.text for one in group.positives],
            "neg": [one.text for one in group.negatives],
        }
        if chosen.scored:
            row["pos_scores"] = [one.score for one in group.positives]
            row["neg_scores"] = [one.score for one in group.negatives]
        yield row


FORMAT = Format(
    "flagembedding",
    "FlagEmbedding JSONL: query, pos, neg [, pos_scores, neg_scores]; a candidate pool besides",
    HOLDS,
    (".jsonl", ".json"),
    read,
    write,
)
