"""vote: what several judges say of a pair becomes one sign, with the belief that their agreement deserves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from litotes.evidence import make
from litotes.spelling import spell

TOLERANCE = 1e-9  # 0.5 + 0.3 is a little less than 0.8 in floating point
NOBODY = "no votes"


class Votes(NamedTuple):
    """`sign` int8 [N] (+1, -1, 0 = undecided), `weight` float32 [N], `share` float64 [N] (NaN without votes), `reason`:
    per pair "yes", "no", "undecided" or "no votes"."""

    sign: np.ndarray
    weight: np.ndarray
    share: np.ndarray
    reason: list[str]


def vote(labels: np.ndarray, weights: np.ndarray | None = None, lo: float = 0.2, hi: float = 0.8) -> Votes:
    """Signs from the labels of J judges:  v = sum_j g_j y_j / sum_j g_j  over those who said something.

        v >= hi    +1, weight |2 v - 1|
        v <= lo    -1, weight |2 v - 1|
        between     0, weight 0: for a better judge to decide

    Both edges count (compared with a tolerance of 1e-9). A pair on which nobody of weight > 0 voted is 0.

    Args:
        labels: [N, J] in [0, 1], from certainly not to certainly; NaN = this judge said nothing.
        weights: [J] >= 0 and finite, how much each judge counts, at least one above 0; None = all the same.
        lo, hi: 0 <= lo < hi <= 1.
    Raises:
        ValueError: an argument is out of range; the first bad label is named with its place.
    Source: Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372), the coarse tier of its annotation by
        several models; thresholds and weight are our reading.

    Example:
        >>> vote([[1, 1, 0], [1, 0, 0]], [0.5, 0.3, 0.2]).reason
        ['yes', 'undecided']
    """
    _check_lines(lo, hi, "vote")
    labels = np.asarray(labels, np.float64)
    if labels.ndim != 2:
        raise ValueError(f"vote: labels must be [N, J], got {list(labels.shape)}")
    said = ~np.isnan(labels)
    bad = said & ~((labels >= 0) & (labels <= 1))
    if bad.any():
        row, judge = (int(place) for place in np.argwhere(bad)[0])
        raise ValueError(f"vote: labels must be in [0, 1] or NaN, got {labels[row, judge]} at [{row}, {judge}]")
    counts = np.ones(labels.shape[1]) if weights is None else np.asarray(weights, np.float64)
    heavy = weights is None or counts.any()
    if counts.shape != labels.shape[1:] or not (np.isfinite(counts) & (counts >= 0)).all() or not heavy:
        raise ValueError(f"vote: weights must be {labels.shape[1]} numbers >= 0, not all 0, got {weights!r}")

    total = said @ counts
    share = np.divide(np.where(said, labels, 0) @ counts, total, out=np.full(len(labels), np.nan), where=total > 0)
    yes, no = share >= hi - TOLERANCE, share <= lo + TOLERANCE
    weight = np.where(yes | no, np.abs(2 * share - 1), 0).clip(0, 1)
    reasons = np.select([yes, no, total > 0], ["yes", "no", "undecided"], NOBODY)
    return Votes((yes.astype(np.int8) - no.astype(np.int8)), weight.astype(np.float32), share, reasons.tolist())


@dataclass(frozen=True)
class Vote:
    """Evidence from the votes of several judges: cheap models that agree label a large set by themselves, and what they
    disagree on is left for a better one.

    A pair gets the sign and the belief of `vote`; belief becomes its `prior`, so it bounds all later weights. Undecided
    pairs stay in evidence with sign 0 and prior 0: they are known to be open, and their rows are what a finer judge
    should be asked about. As the votes may make positives, this is no vetter and lowers nobody's belief.

    In:   a table with `query`, `document`, `judge` (string) and `label` (number in [0, 1], null = said nothing), each
          (query, document, judge) once.
    Out:  evidence, a row per pair in order of first appearance; `found` has source "vote:yes", "vote:no",
          "vote:undecided" or "vote:no votes", and as what was seen the share v (null without votes).
    Cost: O(votes) time; pairs x judges numbers of memory.

    Args:
        low, high: 0 <= low < high <= 1.
    Raises:
        ValueError: an argument is out of range, a column is missing, somebody votes twice on a pair, a weight names a
            judge that is not there or is missing for one that is.
    Source: as `vote`.
    """

    low: float = 0.2
    high: float = 0.8

    def __post_init__(self) -> None:
        _check_lines(self.low, self.high, "Vote")

    def __call__(self, votes: pa.Table, weights: Mapping[str, float] | None = None) -> pa.Table:
        """Evidence from votes; `weights`: how much each judge counts, by name, None = all the same."""
        missing = [name for name in ("query", "document", "judge", "label") if name not in votes.column_names]
        if missing:
            raise ValueError(f"Vote: votes must have the columns query, document, judge, label; {missing} are missing")
        judges, judge = _coded(votes["judge"])
        counts = None
        if weights is not None:
            if set(weights) != set(judges):
                raise ValueError(f"Vote: weights must name the judges {sorted(judges)}, got {sorted(weights)}")
            counts = np.array([weights[name] for name in judges])
        documents, document = _coded(votes["document"])
        queries, query = _coded(votes["query"])
        key, first, pair = np.unique(query * max(len(documents), 1) + document, return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[pair]  # pairs in order of first appearance
        once = np.unique(place * max(len(judges), 1) + judge)
        if len(once) < len(place):
            raise ValueError(f"Vote: each judge may vote once on a pair, got {len(place) - len(once)} votes more")
        labels = np.full((len(key), len(judges)), np.nan)
        labels[place, judge] = votes["label"].cast(pa.float64()).fill_null(np.nan).to_numpy()
        made = vote(labels, counts, self.low, self.high)
        rows = np.sort(first)
        return make(
            pa.array(queries).take(pa.array(query[rows])),
            pa.array(documents).take(pa.array(document[rows])),
            made.sign,
            prior=made.weight,
            source=[f"vote:{reason}" for reason in made.reason],
            seen=pa.array(made.share, from_pandas=True),
        )

    def __str__(self) -> str:
        return spell(self)


def _coded(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Texts in order of first appearance, and the number of each row's."""
    texts = column.cast(pa.string()).combine_chunks()
    if texts.null_count:
        raise ValueError(f"Vote: ids and judges must be there, got {texts.null_count} nulls")
    encoded = texts.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _check_lines(low: float, high: float, owner: str) -> None:
    names = ("lo", "hi") if owner == "vote" else ("low", "high")
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"{owner}: {names[0]} and {names[1]} must be 0 <= {names[0]} < {names[1]} <= 1, got {low!r}, {high!r}"
        )
