"""How hard each negative is, told by texts of the set that were drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.findings import Finding, finding
from litotes.audit.negatives.share import Estimate, grouped_ratio
from litotes.search.space import Space

SAMPLE = 512
LEAST_TEXTS = 50
_BLOCK = 1024
_MIDDLE = 0.5


@dataclass(frozen=True, eq=False)
class Hardness:
    """Each slot against `drawn` random texts of the set, under its own query.

    Args:
        chance: share of random texts that are at least as alike to the query: (1 + those) / (1 + drawn). float32 [S].
        mean, spread: of the scores of random texts, per anchor. float32 [A].
        drawn: how many texts.
    """

    chance: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    drawn: int

    def standing(self, anchor: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Standard deviations above the mean of random texts under the same query: float32 [n]."""
        return (scores - self.mean[anchor]) / self.spread[anchor]


def hardness(examples: ExampleSet, space: Space, scores: np.ndarray, seed: int = 0) -> Hardness | None:
    """Where each slot stands among SAMPLE texts drawn from those that rows name; None with fewer than LEAST_TEXTS.

    The sample is one for all queries. Products are in float32: a rank among random texts is an estimate anyway.

    Args:
        space: query and document texts by number.
        scores: of every slot, in that space: float32 [S].
    """
    texts = np.unique(examples.slot_document)
    if len(texts) < LEAST_TEXTS:
        return None
    drawn = np.sort(np.random.default_rng(seed).choice(texts, min(SAMPLE, len(texts)), replace=False))
    sample = np.ascontiguousarray(space.corpus[drawn])
    chance = np.ones(len(scores), np.float32)
    mean, spread = np.empty(examples.anchors, np.float32), np.empty(examples.anchors, np.float32)
    order = np.argsort(examples.slot_anchor, kind="stable")
    anchor = examples.slot_anchor[order]
    for low in range(0, examples.anchors, _BLOCK):
        high = min(low + _BLOCK, examples.anchors)
        rows = examples.anchor_query[low:high]
        random = _scores(space, rows, drawn, sample)
        mean[low:high], spread[low:high] = random.mean(axis=1), np.maximum(random.std(axis=1), 1e-6)
        span = slice(*np.searchsorted(anchor, [low, high]))
        for at in np.array_split(np.arange(span.start, span.stop), max(1, (span.stop - span.start) // 65536)):
            slot, mine = order[at], anchor[at] - low
            above = (random[mine] >= scores[slot][:, None]).sum(axis=1)
            chance[slot] = (1 + above) / (1 + len(drawn))
    return Hardness(chance, mean, spread, len(drawn))


def fillers(examples: ExampleSet, made: Hardness, alpha: float) -> Finding:
    """Negatives that are not shown to be harder than a random text: chance > alpha. Seen is the chance."""
    slots = examples.negatives
    chance = made.chance[slots]
    found = chance > np.float32(alpha)
    return finding("filler", slots[found], chance[found], alpha)


def filler_share(examples: ExampleSet, made: Hardness, seed: int = 0) -> Estimate | None:
    """The largest share of negatives that may have been drawn at random, with its interval.

    A random negative has a uniform chance, so half of all random ones lie above 1/2; a hard one hardly ever does:

        share <= #{chance > 1/2} / (n / 2)

    Source: A direct approach to false discovery rates (Storey 2002), the estimate of the null share at lambda = 1/2.
    """
    slots = examples.negatives
    if not len(slots):
        return None
    above = (made.chance[slots] > _MIDDLE).astype(float)
    return grouped_ratio(examples.slot_anchor[slots], above, np.full(len(slots), 1 - _MIDDLE), seed=seed)


def steps(examples: ExampleSet, made: Hardness) -> list[tuple[str, int]]:
    """How many negatives are harder than which share of random texts."""
    chance = made.chance[examples.negatives]
    edges = (0.0, 0.01, 0.1, 0.5, 1.0)
    names = ("harder than 99 %", "90 to 99 %", "50 to 90 %", "less than 50 %")
    return [
        (name, int(((chance > low) & (chance <= high)).sum()))
        for name, low, high in zip(names, edges, edges[1:], strict=False)
    ]


def _scores(space: Space, rows: np.ndarray, drawn: np.ndarray, sample: np.ndarray) -> np.ndarray:
    queries = np.ascontiguousarray(space.queries[rows])
    product = queries @ sample.T
    if space.similarity == "dot":
        return product
    if space.similarity == "l2":
        left, right = space.query_norms[rows] ** 2, space.corpus_norms[drawn] ** 2
        return (2 * product - left[:, None] - right).astype(np.float32)
    lengths = space.query_norms[rows][:, None] * space.corpus_norms[drawn]
    return (product / np.maximum(lengths, 1e-12)).astype(np.float32)
