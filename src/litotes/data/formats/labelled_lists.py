"""sentence-transformers labelled lists: a query, a list of documents and a list of labels or scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.choose import Candidate, Chosen, choose
from litotes.data.formats.containers import ENDINGS, read_cell, write_rows
from litotes.data.formats.fields import Place, numbers, text, texts
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Written
from litotes.errors import BadRows

HOLDS = frozenset({"texts", "positives", "negatives", "ragged", "bare"})
WHAT = "a column of text, a column of lists of text and a column labels or scores"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    scorer: str | None = None,
    threshold: float | None = None,
    read_split: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """Rows of a query, documents and `labels`, `scores`, or both.

    A label above 0 is a positive; one that is not 1 is its grade. Scores without labels are read as a miner writes
    them: the first document is the positive, the rest are negatives; with `threshold`, a score at or above it is
    positive. Rows with one query text are one anchor, so the rows that `mine_hard_negatives` makes, each with one
    positive and without its siblings, join again.

    Args: as in `litotes.data.formats.labelled_pairs.read`.
    Raises:
        BadInput: other columns, a text where the list belongs, lists of unequal length, empty text.
    """
    path = Path(path)
    gatherer = Gatherer(st.TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    for place, row in st.checked_rows(path, gatherer, read_split):
        if threshold is not None and ("label" in row or "labels" in row):
            raise ValueError(f"labelled-lists: {path} has labels, so a threshold has no meaning")
        with gatherer.bad:
            read_row(row, place, gatherer, threshold)
    return gatherer.exchange(path.stem)


def write(
    exchange: Exchange,
    path: str | Path,
    *,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    scores: bool = False,
) -> Written:
    """Columns `query`, `docs`, `labels`: one row per anchor with all its positives first, then its negatives.

    (The library's own miner writes one row per positive.) A label is the grade of a positive that has one above 0, else
    1, and 0 for negatives; labels are whole numbers where they all are. Judged relevance of exactly 0 or 1 reads back
    as an unjudged label and is counted.

    Args:
        scores: write `scores` instead of `labels` (a list-wise regression target); what is positive is lost then, but
            for the first document.
    """
    holds = HOLDS | {"scores"} if scores else HOLDS | {"grades"}
    chosen = choose(
        exchange, holds, split=split, negatives=negatives, how=how, seed=seed, positives=0, scores=scores
    )  # fmt: skip
    sign, grade = chosen.table["sign"].to_numpy(), chosen.table["grade"].to_numpy()
    label = ("scores", pa.list_(pa.float32()))
    if scores:
        chosen.lost["labels (which candidates are positive)"] += len(chosen.table)
    else:
        kept = (sign > 0) & (grade > 0) & (grade != 1)
        chosen.lost["grades that read back as unjudged labels"] += int((~kept & (grade == grade)).sum())
        whole = bool((grade[kept] == grade[kept].astype("int64")).all())
        label = ("labels", pa.list_(pa.int64() if whole else pa.float32()))
    schema = pa.schema([("query", pa.string()), ("docs", pa.list_(pa.string())), label])
    rows = write_rows(_rows(chosen, label[0], pa.types.is_integer(label[1].value_type)), schema, Path(path))
    return Written(rows, +chosen.lost, files=(Path(path),))


def read_row(row: dict[str, Any], place: Place, gatherer: Gatherer, threshold: float | None) -> None:
    inputs = st.inputs_of(list(row), place, 2, 2, WHAT)
    query = text(row[inputs[0]], inputs[0], place)
    documents = texts(read_cell(row[inputs[1]], place.file), inputs[1], place)
    if not documents:
        raise place.fault("an empty list", "at least one text", inputs[1])
    label = next((name for name in ("label", "labels") if name in row), None)
    rating = next((name for name in ("score", "scores") if name in row), None)
    if label is None and rating is None:
        raise place.fault(f"the columns {list(row)}", WHAT)
    scores: list[Any] = [None] * len(documents)
    if rating is not None:
        scores = numbers(read_cell(row[rating], place.file), rating, place, len(documents))
    if label is not None:
        labels = numbers(read_cell(row[label], place.file), label, place, len(documents))
    elif threshold is not None:
        labels = [float(score >= threshold) for score in scores]
    else:
        labels = [1.0] + [0.0] * (len(documents) - 1)
    given = [
        Given(
            document,
            sign=1 if value > 0 else -1,
            score=score,
            grade=value if value > 0 and value != 1 else None,
            field=f"{inputs[1]}[{i}]",
        )
        for i, (document, value, score) in enumerate(zip(documents, labels, scores, strict=True))
    ]
    gatherer.row(place, Given(query, field=inputs[0]), given)


def _rows(chosen: Chosen, name: str, whole: bool) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        candidates = [*group.positives, *group.negatives]
        labels: list[Any] = [_label(one) for one in group.positives] + [0.0] * len(group.negatives)
        if name == "scores":
            labels = [one.score for one in candidates]
        elif whole:
            labels = [int(value) for value in labels]
        yield {"query": group.query, "docs": [one.text for one in candidates], name: labels}


def _label(positive: Candidate) -> float:
    return positive.grade if positive.grade is not None and positive.grade > 0 else 1.0


FORMAT = Format(
    "labelled-lists",
    "sentence-transformers labelled lists: query, docs, labels or scores",
    HOLDS | {"grades"},
    ENDINGS,
    read,
    write,
)
