"""RelativeMargin: stop believing in negatives that score nearly as high as a known positive."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import check
from litotes.spelling import spell
from litotes.vetting.lines import Reference, check_margin, check_reference, doubt_above, line_per_row


@dataclass(frozen=True)
class RelativeMargin:
    """Take the weight away from negatives that score above a line drawn under their anchor's positives.

    A candidate that a good model ranks beside the known answer is often an answer nobody labelled. With r the
    anchor's reference positive score, a negative of score s keeps its weight when

        s <= r - |r| * margin                        (equality keeps; compared in float32)

    so the line lies below r whatever the sign of r (the rule of `ops.keep_under`). Left as they are: negatives of an
    anchor without positives, negatives without a score (no ground for doubt), and rows with a grade (people know).

    In:   evidence; reads `anchor`, `sign`, `grade` and `score` (any scale, larger = more alike).
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: score seen, line.
    Cost: one hash of the anchors, O(rows) memory. All rows of an anchor must come in one call.

    Args:
        margin: depth of the line as a fraction of |r|, in [0, 1].
        reference: the positive that draws the line if there are several: "min" (doubts most), "max" or "mean".
    Raises:
        ValueError: an argument is out of range, or `check` refuses the rows (a positive without a score).
    Source: NV-Retriever: Improving text embedding models with effective hard-negative mining (arXiv:2407.15831),
        TopK-PercPos; written `r * (1 - margin)` there, which is the same wherever r >= 0.
    """

    margin: float = 0.05
    reference: Reference = "min"

    def __post_init__(self) -> None:
        check_margin("RelativeMargin", self.margin, "relative")
        check_reference("RelativeMargin", self.reference)

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        check(evidence, scored=True)
        line = line_per_row(evidence, evidence["score"], self.margin, "relative", self.reference)
        return doubt_above(evidence, evidence["score"], line, str(self))

    def __str__(self) -> str:
        return spell(self)
