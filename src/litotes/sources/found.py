"""Found: what a source at disk scale gives back, and how several such findings become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from litotes.data.anchors import Anchors


@dataclass(frozen=True, eq=False)
class Found:
    """Candidates for a slice of anchors, one row per (finder, anchor, document).

    A finder gives an anchor no document twice, and none that the anchor excludes. Two finders may give the same pair:
    it becomes one row of evidence with two finders.

    Args:
        source: name of the finder as it will stand in `found`; a tuple where several found, and `by` says who.
        anchor: int32 [F], place of the anchor in the `Anchors` that were asked about.
        document: int32 [F], row of the corpus.
        rank: int32 [F], 0-based, counted without the excluded documents.
        score: float32 [F], what the finder saw; NaN where it saw nothing.
        by: int32 [F], index into a tuple of sources.
        of_space: the sources whose `score` is that of the space they searched, so that nobody needs to form it again.
        short: source -> number of anchors that got fewer candidates from it than were asked for.
    Raises:
        ValueError: the columns differ in length, or several sources come without `by`.
    """

    source: str | tuple[str, ...]
    anchor: np.ndarray
    document: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    by: np.ndarray | None = None
    of_space: tuple[str, ...] = ()
    short: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (self.anchor, self.document, self.rank, self.score, *(() if self.by is None else (self.by,)))
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"Found: columns must have one length, got {[len(column) for column in columns]}")
        if not isinstance(self.source, str) and self.by is None:
            raise ValueError(f"Found: by must say which of the sources {self.source} found each row, got None")

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def sources(self) -> tuple[str, ...]:
        """All finders, by the numbers in `finder`."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def finder(self) -> np.ndarray:
        """int32 [F]: index into `sources`."""
        return np.zeros(len(self), np.int32) if self.by is None else self.by

    def take(self, rows: np.ndarray, short: Mapping[str, int] | None = None) -> Found:
        """These rows only; `short` replaces the counts."""
        columns = (column[rows] for column in (self.anchor, self.document, self.rank, self.score, self.finder))
        anchor, document, rank, score, by = columns
        counts = self.short if short is None else short
        return Found(self.sources, anchor, document, rank, score, by, self.of_space, counts)

    @classmethod
    def joined(cls, parts: Iterable[Found]) -> Found:
        """All rows of several findings, in order; counts add up.

        A name that returns is the same finder, and its first word about a pair counts.
        """
        parts = list(parts)
        names = tuple(dict.fromkeys(name for part in parts for name in part.sources))
        place = {name: i for i, name in enumerate(names)}
        by = [np.array([place[name] for name in part.sources], np.int32)[part.finder] for part in parts]
        short: Counter[str] = Counter()
        for part in parts:
            short.update(part.short)
        anchor, document, rank = (
            _concatenated([getattr(part, name) for part in parts], np.int32) for name in ("anchor", "document", "rank")
        )
        score, who = _concatenated([part.score for part in parts], np.float32), _concatenated(by, np.int32)
        trusted = {name for part in parts for name in part.sources if name in part.of_space}
        doubtful = {name for part in parts for name in part.sources if name not in part.of_space}
        made = cls(names, anchor, document, rank, score, who, tuple(sorted(trusted - doubtful)), dict(short))
        if sum(len(part.sources) for part in parts) == len(names):
            return made
        code = made.anchor.astype(np.int64) * (int(made.document.max(initial=0)) + 1) + made.document
        _, first = np.unique(code * max(len(names), 1) + who, return_index=True)
        return made.take(np.sort(first))


class Source(Protocol):
    """A source at disk scale: a frozen dataclass that finds candidates, and never one that an anchor excludes."""

    def prepare(self, collection: Any, space: Any | None) -> Callable[[Anchors], Found]:
        """Build what is needed once; the callable finds for any slice of the collection's anchors.

        Raises:
            ValueError: the source compares vectors and `space` is None.
        """
        ...


def _concatenated(arrays: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([*arrays, np.empty(0, kind)]).astype(kind, copy=False)


def from_matrix(source: str, ids: np.ndarray, scores: np.ndarray, asked: int, *, of_space: bool = False) -> Found:
    """The findings in a matrix of ranked documents: ids int32 [A, k], -1 where there is none; scores float32 [A, k]."""
    anchor, rank = np.nonzero(ids >= 0)
    short = int((np.bincount(anchor, minlength=len(ids)) < asked).sum())
    return Found(
        source,
        anchor.astype(np.int32),
        ids[anchor, rank],
        rank.astype(np.int32),
        scores[anchor, rank],
        of_space=(source,) if of_space else (),
        short={source: short} if short else {},
    )


def places(row: np.ndarray) -> np.ndarray:
    """For ascending `row`: how many entries of the same row come before each: int64."""
    starts = np.r_[True, row[1:] != row[:-1]] if len(row) else np.zeros(0, bool)
    here = np.arange(len(row))
    return here - np.maximum.accumulate(np.where(starts, here, 0))
