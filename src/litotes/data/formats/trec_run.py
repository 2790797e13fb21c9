"""TREC runs: rankings of documents, `query Q0 document rank score tag`, or three columns."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats.choose import evidence_of
from litotes.data.formats.containers import text_file
from litotes.data.formats.fields import Place
from litotes.data.formats.interchange import Exchange, Format, How, Written
from litotes.data.formats.trec_qrels import known_ids, refuse_spaces, refuse_unknown, whole
from litotes.data.readers.lines import read_lines
from litotes.errors import BadInput, BadRows
from litotes.evidence.table import codes

HOLDS = frozenset({"ids", "scores", "ragged", "bare", "doubted", "negatives"})
Shape = Literal["trec", "ranks", "scores"]
SHAPES = ("trec", "ranks", "scores")
UNTAGGED = "run"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    split: str = "train",
    shape: Shape | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """A ranking as evidence, each pair found by `mined:<tag>` at its 0-based rank with its score.

    With a collection that has judgements of `split`, they come too: a ranked document that is judged relevant is a
    positive, one judged irrelevant a judged negative, all others are negatives to be vetted. Without judgements nobody
    knows which of them are relevant, so their sign is 0.

    Args:
        shape: "trec" (6 columns), "ranks" (`query document rank`) or "scores" (`query document score`). None decides by
            the number of columns of the first line, and with three by the first query: its third column counts
            1, 2, 3 ... in "ranks". What was decided stands in the notes.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: another number of columns, a rank that is no whole number from 0 or 1 on, a score that is no finite
            number, a document twice for one query, an id that the collection does not hold.
    """
    if shape is not None and shape not in SHAPES:
        raise ValueError(f"trec-run: shape must be one of {SHAPES}, got {shape!r}")
    path, bad = Path(path), BadRows(skip=skip_bad)
    shape = shape or shape_of(path)
    rows, known = _Rows(), known_ids(collection)
    for number, line in read_lines(path, bad):
        columns = line.split()
        if columns:
            with bad:
                _take(columns, shape, Place(path, number), rows, known)
    notes = Counter({f"run of shape {shape!r}": 1})
    table = _evidence(rows, notes)
    if collection is not None and split in collection.qrels:
        table = ev.add(evidence_of(Exchange(collection), split, Counter()), _signed(table, -1))
    elif len(table):
        notes["pairs of sign 0: there are no judgements that say which are relevant"] = len(table)
    return Exchange(collection, ev.order(table), bad, notes, lent=collection)


def write(
    exchange: Exchange,
    path: str | Path,
    *,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    tag: str = "litotes",
) -> Written:
    """Every pair, doubted and undecided ones too, best score first; with `negatives`, positives and so many negatives.

    Pairs of one score follow the order of the table; tools order such ties in their own ways (trec_eval by document id,
    descending), so how many there are stands in the notes. Where scores are missing, all pairs are written in the order
    of the table with scores that only count down, and this stands in the notes too.

    Raises:
        BadInput: an id holds white space.
    """
    path = Path(path)
    if not tag or any(sign.isspace() for sign in tag):
        raise ValueError(f"trec-run: tag must be a word without white space, got {tag!r}")
    lost: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    table = ev.order(evidence_of(exchange, split, lost))
    if negatives is not None:
        before = len(table)
        table = ev.select(table, negatives, how, seed)
        lost["pairs that were not selected"] += before - len(table)
    for name in ("anchor", "candidate"):
        refuse_spaces(table[name], name)
    anchor, score = codes(table["anchor"]), table["score"].to_numpy()
    missing = np.isnan(score)
    if missing.any():
        notes["pairs whose score only counts down (not all pairs have scores)"] += len(table)
        lost["scores"] += int((~missing).sum())
        turn = np.arange(len(table))
    else:
        turn = np.lexsort([np.arange(len(table)), -score, anchor])
        tied = (np.diff(anchor[turn]) == 0) & (np.diff(score[turn]) == 0)
        notes["pairs with the score of the pair before them (tools order ties in their own ways)"] += int(tied.sum())
    table = table.take(pa.array(turn))
    lost["signs (which candidates are positive)"] += int((table["sign"].to_numpy() != 0).sum())
    lost["grades"] += len(table) - table["grade"].null_count
    lost["weights below 1"] += int((table["weight"].to_numpy() < 1).sum())
    with text_file(path) as file:
        file.writelines(_lines(table, counted=bool(missing.any()), tag=tag))
    return Written(len(table), +lost, +notes, (path,))


def shape_of(path: Path) -> Shape:
    """Decide by the number of columns, and of three by the third column of the first query."""
    third: list[str] = []
    first = None
    for number, line in read_lines(path, BadRows(skip=True)):
        columns = line.split()
        if not columns:
            continue
        if first is None and len(columns) == 6:
            return "trec"
        if len(columns) != 3:
            raise BadInput(
                f"{len(columns)} columns", "6, or 3 (query, document, rank or score)", file=path, line=number
            )
        first = first or columns[0]
        if columns[0] != first:
            break
        third.append(columns[2])
    return "ranks" if third and third == [str(i + 1) for i in range(len(third))] else "scores"


@dataclass
class _Rows:
    """Columns of a run as they are read."""

    query: list[str] = field(default_factory=list)
    document: list[str] = field(default_factory=list)
    rank: array[int] = field(default_factory=lambda: array("q"))
    score: array[float] = field(default_factory=lambda: array("f"))
    tag: list[str] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    ranked: Counter[str] = field(default_factory=Counter)


def _take(
    columns: list[str], shape: Shape, place: Place, rows: _Rows, known: tuple[frozenset[str], frozenset[str]] | None
) -> None:
    if len(columns) != (6 if shape == "trec" else 3):
        expected = (
            "6 (query, Q0, document, rank, score, tag)" if shape == "trec" else f"3 (query, document, {shape[:-1]})"
        )
        raise place.fault(f"{len(columns)} columns", expected)
    query, document = columns[0], columns[2 if shape == "trec" else 1]
    refuse_unknown(query, document, known, place)
    if (query, document) in rows.seen:
        raise place.fault(f"document {document!r} a second time for query {query!r}", "each document once per query")
    rank = rows.ranked[query] + 1
    if shape != "scores":
        rank = whole(columns[3 if shape == "trec" else 2], "rank", place)
        if not 0 <= rank < 2**31:
            raise place.fault(str(rank), "a rank from 0 or 1 on", "rank")
    score = math.nan if shape == "ranks" else _score(columns[4 if shape == "trec" else 2], place)
    rows.seen.add((query, document))
    rows.ranked[query] += 1
    rows.query.append(query)
    rows.document.append(document)
    rows.rank.append(rank)
    rows.score.append(score)
    rows.tag.append(columns[5] if shape == "trec" else UNTAGGED)


def _score(value: str, place: Place) -> float:
    try:
        if "_" in value:
            raise ValueError
        score = float(np.float32(value))
    except ValueError:
        raise place.fault(repr(value), "a number", "score") from None
    if not math.isfinite(score):
        raise place.fault(value, "a finite number", "score")
    return score


def _evidence(rows: _Rows, notes: Counter[str]) -> pa.Table:
    rank, score = np.array(rows.rank, np.int64), np.array(rows.score, np.float32)
    rank = rank - (0 if (rank == 0).any() else 1)
    tags = sorted(set(rows.tag))
    scorer = None
    kept = score
    if len(tags) == 1 and not np.isnan(score).all():
        scorer = {"name": f"run:{tags[0]}", "checksum": "", "similarity": ""}
    else:
        kept = np.full(len(score), np.nan, np.float32)
        if len(tags) > 1:
            notes[f"tags in one run ({', '.join(tags[:4])}): their scores stay with the findings, `score` is empty"] = (
                len(tags)
            )
    return ev.make(
        pa.array(rows.query, pa.string()),
        pa.array(rows.document, pa.string()),
        0,
        score=pa.array(kept, from_pandas=True),
        source=pa.array([f"mined:{tag}" for tag in rows.tag], pa.string()),
        rank=pa.array(rank, pa.int32()),
        seen=pa.array(score, from_pandas=True),
        scorer=scorer,
    )


def _signed(table: pa.Table, sign: int) -> pa.Table:
    place = table.schema.get_field_index("sign")
    return table.set_column(place, table.schema.field(place), pa.array(np.full(len(table), sign, np.int8)))


def _lines(table: pa.Table, *, counted: bool, tag: str) -> Iterator[str]:
    anchors, documents = table["anchor"].to_pylist(), table["candidate"].to_pylist()
    scores = table["score"].cast(pa.string()).to_pylist()
    sizes = Counter(anchors)
    rank, before = 0, None
    for query, document, score in zip(anchors, documents, scores, strict=True):
        rank = rank + 1 if query == before else 1
        before = query
        yield f"{query} Q0 {document} {rank} {sizes[query] - rank + 1 if counted else score} {tag}\n"


FORMAT = Format(
    "trec-run",
    "TREC run: query Q0 document rank score tag; reads three columns too",
    HOLDS,
    (".run", ".trec", ".tsv", ".txt"),
    read,
    write,
)
