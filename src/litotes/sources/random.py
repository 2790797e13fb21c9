"""Random: documents drawn evenly from all that an anchor does not exclude."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow.compute as pc

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.space import Space
from litotes.sources.draws import below, numbers, streams
from litotes.sources.found import Found
from litotes.spelling import spell


@dataclass(frozen=True)
class Random:
    """Draw `depth` documents per anchor, evenly and without replacement, from all that the anchor does not exclude.

    Random candidates are easy, and nearly always true negatives: the control arm of a mining experiment, and the
    padding where other sources fall short. They carry the source "random", so padding stays visible.
    The draw of an anchor depends on (seed, anchor id) and the set of document ids alone: not on the order of
    anchors or documents, nor on which slice of the anchors is asked about. Negatives in a batch are random ones too,
    and are nowhere stored: a batch brings them by itself.

    Out:  Found with `rank` = place in the draw and `score` NaN. An anchor with fewer documents left than `depth` gets
          all of them and is counted in `short`.
    Cost: O(depth) per anchor as a rule; O(documents) per anchor where more than a quarter of them is drawn.

    Args:
        depth: documents per anchor, >= 1.
        seed: a whole number.
    Raises:
        ValueError: depth is out of range.
    """

    name: ClassVar[str] = "random"

    depth: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.depth >= 1:
            raise ValueError(f"Random: depth must be >= 1, got {self.depth!r}")

    def prepare(self, collection: Collection, space: Space | None = None) -> Callable[[Anchors], Found]:
        """Order the documents by id once; the callable draws. `space` is not read."""
        order = pc.sort_indices(collection.corpus["id"]).to_numpy().astype(np.int32)

        def find(anchors: Anchors) -> Found:
            stream = streams(anchors, self.seed, "random")
            left = len(order) - np.diff(anchors.excluded.offsets)
            wanted = np.minimum(self.depth, left)
            many = np.flatnonzero((wanted > left // 4) & (wanted > 0))
            few = np.flatnonzero((wanted <= left // 4) & (wanted > 0))
            drawn = [_by_trial(few, wanted, stream, order, anchors), _by_order(many, wanted, stream, order, anchors)]
            anchor, document, rank = (np.concatenate(columns) for columns in zip(*drawn, strict=True))
            turn = np.lexsort([rank, anchor])
            short = int((left < self.depth).sum())
            return Found(
                self.name,
                anchor[turn].astype(np.int32),
                document[turn].astype(np.int32),
                rank[turn].astype(np.int32),
                np.full(len(turn), np.nan, np.float32),
                short={self.name: short} if short else {},
            )

        return find

    def __str__(self) -> str:
        return spell(self)


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def _by_trial(rows: np.ndarray, wanted: np.ndarray, stream: np.ndarray, order: np.ndarray, anchors: Anchors) -> Drawn:
    """The first `wanted` distinct documents of each anchor's stream that it does not exclude."""
    done: list[Drawn] = [_nothing()]
    tries = 2 * int(wanted[rows].max(initial=0)) + 16
    banned = _excluded(anchors, len(order))
    while len(rows):
        place = np.arange(tries)
        document = order[below(numbers(stream[rows][:, None], place[None, :]), len(order))]
        code = (rows[:, None] * len(order) + document).ravel()
        _, first = np.unique(code, return_index=True)
        new = np.zeros(len(code), bool)
        new[first] = True
        new = (new & ~np.isin(code, banned)).reshape(document.shape)
        rank = np.cumsum(new, axis=1) - 1
        enough = rank[:, -1] + 1 >= wanted[rows]
        taken = new & (rank < wanted[rows][:, None]) & enough[:, None]
        where, at = np.nonzero(taken)
        done.append((rows[where], document[where, at], rank[where, at]))
        rows, tries = rows[~enough], 2 * tries  # the stream starts again, so the draw does not depend on `tries`
    return _stacked(done)


def _by_order(rows: np.ndarray, wanted: np.ndarray, stream: np.ndarray, order: np.ndarray, anchors: Anchors) -> Drawn:
    """All documents in an order drawn for each anchor, cut at `wanted`: for draws that take a large part."""
    done: list[Drawn] = [_nothing()]
    for row in rows:
        key = numbers(stream[row], np.arange(len(order)))
        shuffled = order[np.argsort(key, kind="stable")]
        allowed = shuffled[~np.isin(shuffled, anchors.excluded.row(row))][: wanted[row]]
        done.append((np.full(len(allowed), row), allowed, np.arange(len(allowed))))
    return _stacked(done)


def _excluded(anchors: Anchors, documents: int) -> np.ndarray:
    return anchors.excluded.rows().astype(np.int64) * documents + anchors.excluded.items


def _nothing() -> Drawn:
    return (np.empty(0, np.int64),) * 3


def _stacked(parts: list[Drawn]) -> Drawn:
    anchor, document, rank = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return anchor, document, rank
