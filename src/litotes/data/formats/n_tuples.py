"""sentence-transformers n-tuples: anchor, positive, negative_1 ... negative_n, as many negatives in every row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.choose import Chosen, choose
from litotes.data.formats.containers import ENDINGS, write_rows
from litotes.data.formats.gather import Gatherer
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.errors import BadRows
from litotes.evidence.table import codes

HOLDS = frozenset({"texts", "positives", "negatives", "scores"})
WHAT = "at least three columns of text (anchor, positive, negative ...) and at most scores"


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    scorer: str | None = None,
    read_split: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """Rows of anchor, positive and negatives; `scores` or `score` with a number for each candidate.

    Rows with one anchor text are one anchor; a list with one number less than candidates holds margins and is not read.

    Args:
        collection: texts that are known already: a text that stands there has its id from there.
        scorer: name of the model behind the scores, for the metadata and the sources (`teacher:<scorer>`).
        read_split: of a saved dataset with several splits, the one to read.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: other columns, or a row is bad: empty text, a number where text belongs, scores of another number.
    """
    path = Path(path)
    gatherer = Gatherer(st.TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    for place, row in st.checked_rows(path, gatherer, read_split):
        with gatherer.bad:
            st.read_tuple(place, row, gatherer, None, WHAT)
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
    """Columns `anchor`, `positive`, `negative_1` ... `negative_n` and, with scores, `scores` (positive first).

    Args:
        negatives: n, at least 1. It has no default: the trainer needs the same number in every row.
        short: an anchor with fewer than n believed negatives is left out and counted ("drop", what
            `mine_hard_negatives` does in silence), filled by going round its negatives again ("repeat"; the rows that
            hold repeats stand in the notes), or an error ("refuse").
    Raises:
        ValueError: `negatives` is missing or below 1, or what `choose` raises.
    """
    if short not in ("drop", "refuse", "repeat"):
        raise ValueError(f"n-tuples: short must be 'drop', 'refuse' or 'repeat', got {short!r}")
    if negatives is None or negatives < 1:
        raise ValueError(f"n-tuples: negatives must be >= 1, the same number in every row, got {negatives!r}")
    chosen = choose(
        exchange,
        HOLDS,
        split=split,
        negatives=negatives,
        how=how,
        seed=seed,
        at_least=negatives,
        short=short,
        scores=scores,
    )
    names = ["anchor", "positive", *(f"negative_{i + 1}" for i in range(negatives))]
    fields = [(name, pa.string()) for name in names]
    schema = pa.schema([*fields, ("scores", pa.list_(pa.float32()))] if chosen.scored else fields)
    rows = write_rows(_rows(chosen, names), schema, Path(path))
    written = Written(rows, chosen.lost, files=(Path(path),))
    if repeating := _repeating(chosen.table, negatives):
        written.notes["rows that hold a negative more than once"] += repeating
    return written


def _rows(chosen: Chosen, names: list[str]) -> Iterator[dict[str, Any]]:
    width = len(names) - 2
    for group in chosen.groups():
        negatives = [group.negatives[i % len(group.negatives)] for i in range(width)]
        for positive in group.positives:
            row: dict[str, Any] = dict(
                zip(names, [group.query, positive.text, *(n.text for n in negatives)], strict=True)
            )
            if chosen.scored:
                row["scores"] = [positive.score, *(n.score for n in negatives)]
            yield row


def _repeating(table: pa.Table, width: int) -> int:
    anchor, sign = codes(table["anchor"]), table["sign"].to_numpy()
    up, down = (np.bincount(anchor[side], minlength=int(anchor.max(initial=-1)) + 1) for side in (sign > 0, sign < 0))
    return int(up[down < width].sum())


FORMAT = Format(
    "n-tuples",
    "sentence-transformers n-tuples: anchor, positive, negative_1 ... negative_n [, scores]",
    HOLDS,
    ENDINGS,
    read,
    write,
)
