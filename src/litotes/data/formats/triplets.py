"""sentence-transformers triplets: anchor, positive, negative, one row for every positive with every negative."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.choose import Chosen, choose
from litotes.data.formats.containers import ENDINGS, write_rows
from litotes.data.formats.gather import Gatherer
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.errors import BadRows

HOLDS = frozenset({"texts", "positives", "negatives", "scores", "ragged"})
WHAT = "three columns of text (anchor, positive, negative) and at most scores"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    scorer: str | None = None,
    read_split: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """Rows of three texts; `scores` = [positive, negative] (6.x) or `positive_score` and `negative_score` (before).

    Rows with one anchor text are one anchor. A single number, or a list of one, is a margin and is not read.

    Args: as in `litotes.data.formats.n_tuples.read`.
    Raises:
        BadInput: other columns, or a row is bad: empty text, a number where text belongs, scores of another number.
    """
    path = Path(path)
    gatherer = Gatherer(st.TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    for place, row in st.checked_rows(path, gatherer, read_split):
        with gatherer.bad:
            st.read_tuple(place, row, gatherer, 3, WHAT)
    return gatherer.exchange(path.stem)


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
) -> Written:
    """Columns `anchor`, `positive`, `negative` and, with scores, `scores` = [positive, negative].

    An anchor without a believed negative has no triplet: `short` "drop" leaves it out and counts it, "refuse" raises.
    """
    if short not in ("drop", "refuse"):
        raise ValueError(f"triplets: short must be 'drop' or 'refuse', got {short!r}")
    chosen = choose(
        exchange, HOLDS, split=split, negatives=negatives, how=how, seed=seed, at_least=1, short=short, scores=scores
    )
    fields = [(name, pa.string()) for name in ("anchor", "positive", "negative")]
    schema = pa.schema([*fields, ("scores", pa.list_(pa.float32()))] if chosen.scored else fields)
    rows = write_rows(_rows(chosen), schema, Path(path))
    return Written(rows, chosen.lost, files=(Path(path),))


def _rows(chosen: Chosen) -> Iterator[dict[str, Any]]:
    for group in chosen.groups():
        for positive in group.positives:
            for negative in group.negatives:
                row: dict[str, Any] = {"anchor": group.query, "positive": positive.text, "negative": negative.text}
                yield row | {"scores": [positive.score, negative.score]} if chosen.scored else row


FORMAT = Format(
    "triplets",
    "sentence-transformers triplets: anchor, positive, negative [, scores]",
    HOLDS,
    ENDINGS,
    read,
    write,
)
