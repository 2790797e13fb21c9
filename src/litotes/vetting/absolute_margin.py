"""AbsoluteMargin: stop believing in negatives that score within a fixed distance of a known positive, or above it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import check
from litotes.spelling import spell
from litotes.vetting.lines import Reference, check_margin, check_reference, doubt_above, line_per_row


@dataclass(frozen=True)
class AbsoluteMargin:
    """Take the weight away from negatives that do not score at least `margin` below their anchor's positives.

    With r the anchor's reference positive score, a negative of score s keeps its weight when

        s <= r - margin                              (equality keeps; compared in float32)

    which is the rule of `ops.keep_under`. The margin is in the unit of the score: 0.05 of a cosine is much, of a BM25
    score nothing. With margin 0, no negative may score above the positive. Left as they are: negatives of an anchor
    without positives, negatives without a score, and rows with a grade.

    In:   evidence; reads `anchor`, `sign`, `grade` and `score` (any scale, larger = more alike).
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: score seen, line.
    Cost: one hash of the anchors, O(rows) memory. All rows of an anchor must come in one call.

    Args:
        margin: depth of the line, >= 0 and finite.
        reference: the positive that draws the line if there are several: "min" (doubts most), "max" or "mean".
    Raises:
        ValueError: an argument is out of range, or `check` refuses the rows (a positive without a score).
    Source: NV-Retriever: Improving text embedding models with effective hard-negative mining (arXiv:2407.15831),
        TopK-MarginPos.
    """

    margin: float = 0.05
    reference: Reference = "min"

    def __post_init__(self) -> None:
        check_margin("AbsoluteMargin", self.margin, "absolute")
        check_reference("AbsoluteMargin", self.reference)

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        check(evidence, scored=True)
        line = line_per_row(evidence, evidence["score"], self.margin, "absolute", self.reference)
        return doubt_above(evidence, evidence["score"], line, str(self))

    def __str__(self) -> str:
        return spell(self)
