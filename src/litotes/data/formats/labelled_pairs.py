"""sentence-transformers labelled pairs: two texts and a label of 0 or 1, or a score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.choose import Chosen, choose
from litotes.data.formats.containers import ENDINGS, write_rows
from litotes.data.formats.fields import Place, text
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Written
from litotes.errors import BadRows

HOLDS = frozenset({"texts", "positives", "negatives", "ragged", "bare"})
WHAT = "two columns of text and a column label or score"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    scorer: str | None = None,
    threshold: float | None = None,
    read_split: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """Rows of two texts and `label` (0 or 1), `score`, or both.

    A file with scores and no labels does not say what is positive: `threshold` does (a score at or above it is
    positive). A negative is one that somebody mined, not one that somebody judged: it has no grade.

    Args: as in `litotes.data.formats.n_tuples.read`, and
        threshold: where positives begin; only for files without labels.
    Raises:
        BadInput: other columns, a label that is not 0 or 1, a score that is no finite number, empty text; scores alone
            and no threshold.
    """
    path = Path(path)
    gatherer = Gatherer(st.TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    for place, row in st.checked_rows(path, gatherer, read_split):
        check_threshold(row, threshold, place)
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
    """Columns `text1`, `text2`, `label`; one row per pair, anchors without a negative or a positive included.

    Args:
        scores: write `score` instead of `label`, as a regression target. The trainer takes one of the two and would
            read the other as a text, so what is positive is lost then.
    """
    chosen = choose(
        exchange, HOLDS | {"scores"} if scores else HOLDS, split=split, negatives=negatives, how=how, seed=seed,
        positives=0, scores=scores,
    )  # fmt: skip
    if scores:
        chosen.lost["labels (which candidates are positive)"] += len(chosen.table)
    label = ("score", pa.float32()) if scores else ("label", pa.int64())
    schema = pa.schema([("text1", pa.string()), ("text2", pa.string()), label])
    rows = write_rows(_rows(chosen, scores), schema, Path(path))
    return Written(rows, chosen.lost, files=(Path(path),))


def read_row(row: dict[str, Any], place: Place, gatherer: Gatherer, threshold: float | None) -> None:
    inputs = st.inputs_of(list(row), place, 2, 2, WHAT)
    anchor, candidate = (text(row[name], name, place) for name in inputs)
    label = next((name for name in ("label", "labels") if name in row), None)
    rating = next((name for name in ("score", "scores") if name in row), None)
    if label is None and rating is None:
        raise place.fault(f"the columns {list(row)}", WHAT)
    score = None if rating is None else st.plain_number(row[rating], rating, place)
    if label is None:
        assert score is not None and threshold is not None
        sign = 1 if score >= threshold else -1
    else:
        value = float(row[label]) if isinstance(row[label], bool) else st.plain_number(row[label], label, place)
        if value not in (0.0, 1.0):
            raise place.fault(f"{value:g}", "0 or 1", label)
        sign = 1 if value else -1
    gatherer.row(place, Given(anchor, field=inputs[0]), [Given(candidate, sign=sign, score=score, field=inputs[1])])


def check_threshold(row: dict[str, Any], threshold: float | None, place: Place) -> None:
    labelled = "label" in row or "labels" in row
    if not labelled and ("score" in row or "scores" in row) and threshold is None:
        raise place.fault("scores without labels", "a label, or a threshold that says where positives begin", "score")
    if labelled and threshold is not None:
        raise ValueError(f"labelled-pairs: {place.file} has labels, so a threshold has no meaning")


def _rows(chosen: Chosen, scores: bool) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        for sign, side in ((1, group.positives), (0, group.negatives)):
            for one in side:
                yield {"text1": group.query, "text2": one.text} | ({"score": one.score} if scores else {"label": sign})


FORMAT = Format(
    "labelled-pairs",
    "sentence-transformers labelled pairs: text1, text2, label (0, 1) or score",
    HOLDS,
    ENDINGS,
    read,
    write,
)
