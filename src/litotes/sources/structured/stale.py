"""StaleNegatives: documents on the query's topic that are about another event, or about another time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.space import Space
from litotes.sources.draws import numbers, streams
from litotes.sources.found import Found, places
from litotes.sources.mined.conditions import clock, column_of
from litotes.spelling import spell

_UNKNOWN = "same topic, but event or time unknown"


@dataclass(frozen=True)
class StaleNegatives:
    """Documents that were right for another event: same topic as the query, but of another event or out of its time.

    For "election result" of this week, last year's result is on topic, worded alike, and wrong. A document of the
    query's topic is

        stale      its event is known and is not the query's; or, with `window`, its time lies more than `window` days
                   before or after the query's, whatever its event: an event may last
        fresh      its event is the query's and, with `window`, its time lies within (equality is within)
        unknown    anything else: an event is missing that would decide, or, with `window`, a time of the two

    Only stale ones are found: fresh ones are positives nobody labelled, and of unknown ones nobody can tell; they are
    counted in the notes of the run. A query without a topic finds nothing; topics and events are compared as texts.
    Of more than `depth` stale documents as many are drawn evenly, by (seed, anchor id) and the set of document ids
    alone.

    Out:  Found of source "stale" with `rank` = place in the draw and `score` NaN. An anchor with fewer stale documents
          than `depth` gets all of them and is counted in `short`.
    Cost: O(documents log documents) once, O(documents of the topic) per anchor.

    Args:
        depth: documents per anchor, >= 1.
        window: days; > 0 and finite, or None: time is not looked at.
        seed: of the draw.
        topic, event, time: names of the columns of queries and corpus; `time` holds numbers (days) or dates.
    Raises:
        ValueError: an argument is out of range, or the collection lacks a column.
        BadInput: a time is neither a number nor a date.
    Source: Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372), its hard negatives of the same topic and
        the wrong event; the rule is our reading.

    Example:
        >>> str(StaleNegatives(depth=4, window=7))
        'stale(depth=4, window=7, seed=0, topic=topic, event=event, time=date)'
    """

    name: ClassVar[str] = "stale"
    name_in_recipes: ClassVar[str] = "stale"

    depth: int = 2
    window: float | None = None
    seed: int = 0
    topic: str = "topic"
    event: str = "event"
    time: str = "date"

    def __post_init__(self) -> None:
        if not self.depth >= 1:
            raise ValueError(f"StaleNegatives: depth must be >= 1, got {self.depth!r}")
        if self.window is not None and not (self.window > 0 and math.isfinite(self.window)):
            raise ValueError(f"StaleNegatives: window must be > 0 days and finite, or None, got {self.window!r}")
        for name in ("topic", "event", "time"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value):
                raise ValueError(f"StaleNegatives: {name} must be the name of a column, got {value!r}")

    def prepare(self, collection: Collection, space: Space | None = None) -> Callable[[Anchors], Found]:
        """Read the columns and group the documents by topic, once. `space` is not read."""
        topics, events = (self._codes(collection, name) for name in ("topic", "event"))
        times = None
        if self.window is not None:
            both = [column_of("StaleNegatives", "time", self.time, collection, side) for side in _SIDES]
            where = [f"{collection.name}/{side}" for side in _SIDES]
            times = tuple(clock(column, place, self.time) for column, place in zip(both, where, strict=True))
        by_id = np.empty(len(collection.corpus), np.int64)  # place of a document in the order of ids
        by_id[pc.sort_indices(collection.corpus["id"]).to_numpy()] = np.arange(len(collection.corpus))
        order = np.argsort(topics[1], kind="stable")
        return _Finder(self, topics, events, times, by_id, order, topics[1][order])

    def __str__(self) -> str:
        return spell(self)

    def _codes(self, collection: Collection, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the values in (queries, corpus), equal where the texts are, -1 for null."""
        both = [column_of("StaleNegatives", name, getattr(self, name), collection, side) for side in _SIDES]
        texts = pa.concat_arrays([column.cast(pa.string()).combine_chunks() for column in both])
        codes = texts.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes[: len(collection.queries)], codes[len(collection.queries) :]


_SIDES = ("queries", "corpus")


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds for slices of anchors. `notes`: how many pairs nobody can tell."""

    part: StaleNegatives
    topics: tuple[np.ndarray, np.ndarray]
    events: tuple[np.ndarray, np.ndarray]
    times: tuple[np.ndarray, ...] | None
    by_id: np.ndarray
    order: np.ndarray
    topic: np.ndarray
    notes: dict[str, str | float] = field(default_factory=dict)

    def __call__(self, anchors: Anchors) -> Found:
        part, query = self.part, anchors.query
        topic = self.topics[0][query]
        low, high = (np.searchsorted(self.topic, topic, side=side) for side in ("left", "right"))
        sizes = np.where(topic >= 0, high - low, 0)
        anchor = np.repeat(np.arange(len(query)), sizes)
        document = self.order[
            np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(low, sizes)
        ]

        code, width = anchor * len(self.by_id) + document, len(self.by_id)
        allowed = ~np.isin(code, anchors.excluded.rows().astype(np.int64) * width + anchors.excluded.items)
        anchor, document = anchor[allowed], document[allowed]
        stale, unknown = self._judged(query[anchor], document)
        self.notes[_UNKNOWN] = int(self.notes.get(_UNKNOWN, 0)) + int(unknown.sum())

        anchor, document = anchor[stale], document[stale]
        draw = numbers(streams(anchors, part.seed, part.name)[anchor], self.by_id[document])
        turn = np.lexsort([self.by_id[document], draw, anchor])
        anchor, document = anchor[turn], document[turn]
        rank = places(anchor)
        short = int((np.bincount(anchor, minlength=len(query)) < part.depth).sum())
        kept = rank < part.depth
        return Found(
            part.name,
            anchor[kept].astype(np.int32),
            document[kept].astype(np.int32),
            rank[kept].astype(np.int32),
            np.full(int(kept.sum()), np.nan, np.float32),
            short={part.name: short} if short else {},
        )

    def _judged(self, query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of pairs of one topic: which are stale, and of which nobody can tell."""
        asked, told = self.events[0][query], self.events[1][document]
        named = (asked >= 0) & (told >= 0)
        other, fresh = named & (asked != told), named & (asked == told)
        if self.times is None:
            return other, ~named
        assert self.part.window is not None
        apart = np.abs(self.times[1][document] - self.times[0][query])  # NaN where one is missing
        stale = ~np.isnan(apart) & (other | (apart > self.part.window))
        return stale, ~stale & ~(fresh & (apart <= self.part.window))
