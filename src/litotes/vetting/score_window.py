"""ScoreWindow: believe only in negatives whose score lies between two fixed bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.spelling import spell


@dataclass(frozen=True)
class ScoreWindow:
    """Take the weight away from negatives that score above `high` (likely answers) or below `low` (too easy).

        low <= s <= high                             (both bounds keep; compared in float32)

    The bounds are in the unit of the score and the same for all anchors, so they need tuning for every model; a margin
    under the positive does not. Left as they are: negatives without a score, and rows with a grade. Positives are not
    read.

    In:   evidence; reads `sign`, `grade` and `score`.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: the score seen, and
          as line the bound that it broke.
    Cost: O(rows).

    Args:
        low: lowest score a negative may have, finite, or None.
        high: highest score a negative may have, finite, >= low, or None. One of the two must be given.
    Raises:
        ValueError: no bound, a bound that is not finite, or low above high.
    Source: NV-Retriever: Improving text embedding models with effective hard-negative mining (arXiv:2407.15831),
        TopK-Abs, for `high`.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("ScoreWindow: low or high must be given, got None and None")
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and not math.isfinite(bound):
                raise ValueError(f"ScoreWindow: {name} must be finite or None, got {bound!r}")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"ScoreWindow: low must be <= high, got low={self.low!r} and high={self.high!r}")

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        check(evidence)
        score, nowhere = evidence["score"], pa.scalar(None, pa.float32())
        low = nowhere if self.low is None else pa.scalar(self.low, pa.float32())
        high = nowhere if self.high is None else pa.scalar(self.high, pa.float32())
        above = pc.fill_null(pc.greater(score, high), False)
        below = pc.fill_null(pc.less(score, low), False)
        outside = pc.and_(pc.equal(evidence["sign"], -1), pc.or_(above, below))
        line = pc.if_else(above, high, low)
        return doubt(evidence, outside, belief=0.0, part=str(self), seen=score, line=line)

    def __str__(self) -> str:
        return spell(self)
