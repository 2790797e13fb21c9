"""What the margin vetters share: the reference of an anchor's positives, the line under it, and their gates."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.evidence import doubt
from litotes.evidence.table import codes

Reference = Literal["min", "max", "mean"]
Strategy = Literal["absolute", "relative"]
REFERENCES = ("min", "max", "mean")
STRATEGIES = ("absolute", "relative")


def check_reference(owner: str, reference: str) -> None:
    """Refuse what is no reference."""
    if reference not in REFERENCES:
        raise ValueError(f"{owner}: reference must be 'min', 'max' or 'mean', got {reference!r}")


def check_margin(owner: str, margin: float, strategy: str) -> None:
    """Refuse a margin below 0, not finite, or (relative) above 1, and what is no strategy."""
    if strategy not in STRATEGIES:
        raise ValueError(f"{owner}: strategy must be 'absolute' or 'relative', got {strategy!r}")
    if strategy == "relative" and not 0.0 <= margin <= 1.0:  # written so that NaN is refused too
        raise ValueError(f"{owner}: margin must be in [0, 1], got {margin!r}")
    if not (margin >= 0.0 and math.isfinite(margin)):
        raise ValueError(f"{owner}: margin must be >= 0 and finite, got {margin!r}")


def line_per_row(
    evidence: pa.Table, score: pa.ChunkedArray, margin: float, strategy: str, reference: str
) -> pa.ChunkedArray:
    """The highest score a negative may have: float32 per row, null where the anchor has no positive with a score.

    The rule of `ops.keep_under`, in float32: r - margin, or r - |r| * margin, with r the `reference` of the scores of
    the anchor's positives.
    """
    positives = pa.table({"anchor": evidence["anchor"], "score": score}).filter(pc.equal(evidence["sign"], 1))
    drawn = positives.group_by("anchor").aggregate([("score", reference)]).combine_chunks()
    r = drawn[f"score_{reference}"].cast(pa.float32(), safe=False)  # a mean comes in float64
    depth = pa.scalar(margin, pa.float32())
    line = pc.subtract(r, depth if strategy == "absolute" else pc.multiply(pc.abs(r), depth))
    return line.take(pc.index_in(evidence["anchor"], value_set=drawn["anchor"].combine_chunks()))


def doubt_above(evidence: pa.Table, score: pa.ChunkedArray, line: pa.ChunkedArray, part: str) -> pa.Table:
    """Belief 0 for the negatives whose score is above their line; where one of the two is null there is no ground."""
    above = pc.and_(pc.equal(evidence["sign"], -1), pc.greater(score, line))
    return doubt(evidence, above, belief=0.0, part=part, seen=score, line=line)


def check_collection(collection: Any, owner: str) -> None:
    """Refuse to vet by texts or columns without a collection to read them from."""
    if collection is None:
        raise ValueError(f"{owner}: reads texts or columns, so it needs the collection that the evidence is about")


def pairs_of(evidence: pa.Table, collection: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the collection that an evidence table speaks of: (query int32 [R], document int32 [R]).

    Raises:
        ValueError: there is no collection.
        BadInput: the collection does not know an id.
    """
    check_collection(collection, owner)
    return collection.query_rows(evidence["anchor"]), collection.document_rows(evidence["candidate"])


def comparable(evidence: pa.Table) -> np.ndarray:
    """Bool per row: a second model must score it: positives, and ungraded negatives of anchors that have one."""
    sign, anchor = evidence["sign"].to_numpy(), codes(evidence["anchor"])
    has_positive = np.zeros(int(anchor.max(initial=-1)) + 1, bool)
    has_positive[anchor[sign > 0]] = True
    ungraded = evidence["grade"].is_null().to_numpy()
    return (sign > 0) | ((sign < 0) & ungraded & has_positive[anchor])


def at_rows(scores: np.ndarray, rows: np.ndarray, length: int) -> pa.ChunkedArray:
    """A float32 column with these scores at these rows, and null elsewhere."""
    column = np.full(length, np.nan, np.float32)
    column[rows] = scores
    return pa.chunked_array([pa.array(column, from_pandas=True)])
