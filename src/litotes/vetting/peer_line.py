"""PeerLine: margins under the positive as other miners compute them, where that differs from ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.spelling import spell
from litotes.vetting.lines import line_per_row


@dataclass(frozen=True)
class PeerLine:
    """Take the weight away from negatives above the line that another miner would draw under the lowest positive.

    With r the anchor's lowest positive score, a negative of score s is doubted, in float32, when

        s + margin > r         rule "sum": sentence-transformers' absolute margin
        s > r * margin         rule "factor": NeMo's "perc", where margin 0.95 is our relative margin of 0.05

    "sum" differs from AbsoluteMargin by the rounding of s + margin. "factor" lies above a negative r: then it keeps
    negatives that score higher than the positive. Use RelativeMargin or AbsoluteMargin, unless the point is to repeat
    what those miners do. Left as they are: negatives of an anchor without positives or without a score, graded rows.

    In:   evidence; reads `anchor`, `sign`, `grade` and `score`.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: score seen, line.
    Cost: O(rows). All rows of an anchor must come in one call.

    Args:
        rule: "sum" or "factor".
        margin: finite.
    Raises:
        ValueError: an argument is out of range, or `check` refuses the rows (a positive without a score).
    Source: none; reproduces behaviour.
    """

    rule: Literal["sum", "factor"]
    margin: float

    def __post_init__(self) -> None:
        if self.rule not in ("sum", "factor"):
            raise ValueError(f"PeerLine: rule must be 'sum' or 'factor', got {self.rule!r}")
        if not math.isfinite(self.margin):
            raise ValueError(f"PeerLine: margin must be finite, got {self.margin!r}")

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        check(evidence, scored=True)
        margin = pa.scalar(np.float32(self.margin), pa.float32())
        score, lowest = evidence["score"], line_per_row(evidence, evidence["score"], 0.0, "absolute", "min")
        if self.rule == "sum":
            above, line = pc.greater(pc.add(score, margin), lowest), pc.subtract(lowest, margin)
        else:
            line = pc.multiply(lowest, margin)
            above = pc.greater(score, line)
        rows = pc.and_(pc.equal(evidence["sign"], -1), above)
        return doubt(evidence, rows, belief=0.0, part=str(self), seen=score, line=line)

    def __str__(self) -> str:
        return spell(self)
