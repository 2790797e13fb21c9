"""What each query may find: own positives, groups, time windows and allowed sets, as one condition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]
Times = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Mask:
    """Which of N documents each of n queries may find; every condition that is there must hold. Built by `Mask.of`.

    A search applies it while it scans, so that k findable documents are found wherever there are that many: nothing is
    fetched first and thrown away afterwards.

    Args:
        queries, documents: n and N.
        exclude: (offsets int64 [n + 1], items int32, sorted and unique in each row): what a query may not find.
        allow: the same form: a query finds only these.
        allowed: bool [N]: no query finds others.
        groups: (group of each query int64 [n], of each document int64 [N]): equal numbers keep apart, for example
            passages of the query's own page; a negative number is no group.
        times: (time of each document float64 [N], earliest [n], latest [n]): found only if earliest <= time <= latest.
            A document whose time is NaN is never found, and neither is any by a query with a NaN limit.
    """

    queries: int
    documents: int
    exclude: Rows | None = None
    allow: Rows | None = None
    allowed: np.ndarray | None = None
    groups: Rows | None = None
    times: Times | None = None

    @classmethod
    def of(
        cls,
        queries: int,
        documents: int,
        *,
        exclude: Rows | None = None,
        allow: Rows | None = None,
        allowed: np.ndarray | None = None,
        groups: Rows | None = None,
        times: Times | None = None,
    ) -> Mask:
        """The mask of `queries` queries over `documents` documents, checked and brought in form.

        In:   as the class takes them, but rows of `exclude` and `allow` may be in any order and repeat items, and all
              integers and numbers may be of any width.
        Raises:
            ValueError: a condition does not fit the queries, the documents, or itself (it is named).
        """
        for name, count in (("queries", queries), ("documents", documents)):
            if not (isinstance(count, (int, np.integer)) and count >= 0):
                raise ValueError(f"Mask: {name} must be a whole number >= 0, got {count!r}")
        if allowed is not None:
            allowed = np.asarray(allowed)
            if allowed.dtype != bool or allowed.shape != (documents,):
                raise ValueError(f"Mask: allowed must be bool [{documents}], got {allowed.dtype} {list(allowed.shape)}")
        if groups is not None:
            groups = (
                _vector(groups[0], queries, "groups of queries", np.int64),
                _vector(groups[1], documents, "groups of documents", np.int64),
            )
        if times is not None:
            times = (
                _vector(times[0], documents, "times of documents", np.float64),
                _vector(times[1], queries, "earliest times", np.float64),
                _vector(times[2], queries, "latest times", np.float64),
            )
        return cls(
            queries,
            documents,
            _rows(exclude, queries, documents, "exclude"),
            _rows(allow, queries, documents, "allow"),
            allowed,
            groups,
            times,
        )

    @classmethod
    def fitting(cls, owner: str, mask: Mask | None, queries: int, documents: int) -> Mask:
        """The mask itself, or one without any condition for None.

        Raises:
            ValueError: it is for another number of queries or documents (`owner` is named).
        """
        if mask is None:
            return cls(queries, documents)
        if (mask.queries, mask.documents) != (queries, documents):
            expected = f"a mask of {queries} queries over {documents} documents"
            raise ValueError(f"{owner}: expected {expected}, got one of {mask.queries} over {mask.documents}")
        return mask

    @property
    def open(self) -> bool:
        """True where every query may find every document."""
        return self.exclude is self.allow is self.allowed is self.groups is self.times is None

    def keeps(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Whether each pair may be found. Integer [P], [P] -> bool [P]."""
        kept = np.ones(len(queries), bool)
        if self.exclude is not None:
            kept &= ~_holds(self.exclude, queries, documents)
        if self.allow is not None:
            kept &= _holds(self.allow, queries, documents)
        if self.allowed is not None:
            kept &= self.allowed[documents]
        if self.groups is not None:
            group = self.groups[0][queries]
            kept &= (group < 0) | (group != self.groups[1][documents])
        if self.times is not None:
            time, earliest, latest = self.times
            kept &= (earliest[queries] <= time[documents]) & (time[documents] <= latest[queries])
        return kept

    def of_queries(self, rows: np.ndarray) -> Mask:
        """The mask of some of the queries, in the order given; repeats allowed."""
        return Mask(
            len(rows),
            self.documents,
            None if self.exclude is None else _taken(self.exclude, rows),
            None if self.allow is None else _taken(self.allow, rows),
            self.allowed,
            None if self.groups is None else (self.groups[0][rows], self.groups[1]),
            None if self.times is None else (self.times[0], self.times[1][rows], self.times[2][rows]),
        )

    def of_documents(self, low: int, high: int) -> Mask:
        """The mask over the documents [low, high) alone, counted from `low`: what a shard of a corpus needs to know."""
        return Mask(
            self.queries,
            high - low,
            None if self.exclude is None else _between(self.exclude, low, high),
            None if self.allow is None else _between(self.allow, low, high),
            None if self.allowed is None else self.allowed[low:high],
            None if self.groups is None else (self.groups[0], self.groups[1][low:high]),
            None if self.times is None else (self.times[0][low:high], *self.times[1:]),
        )

    def without(self, exclude: Rows) -> Mask:
        """The same mask with further documents excluded: rows of items in any order, one row a query.

        Raises:
            ValueError: `exclude` does not fit.
        """
        more = _rows(exclude, self.queries, self.documents, "exclude")
        if self.exclude is not None and more is not None:
            owner = np.concatenate(
                [np.repeat(np.arange(self.queries), np.diff(part[0])) for part in (self.exclude, more)]
            )
            items = np.concatenate([self.exclude[1], more[1]])
            order = np.argsort(owner, kind="stable")
            joined = _offsets(np.bincount(owner, minlength=self.queries)), items[order]
            more = _rows(joined, self.queries, self.documents, "exclude")
        return replace(self, exclude=more)

    def possible(self) -> np.ndarray | None:
        """At most so many documents can each query find, int64 [n]; None where no condition bounds it from above."""
        bounds = []
        if self.allow is not None:
            bounds.append(np.diff(self.allow[0]))
        if self.allowed is not None:
            bounds.append(np.full(self.queries, np.count_nonzero(self.allowed)))
        return np.minimum.reduce(bounds).astype(np.int64) if bounds else None


def _vector(values: np.ndarray, length: int, name: str, dtype: type) -> np.ndarray:
    values = np.asarray(values)
    kind = np.integer if dtype is np.int64 else np.number
    if values.shape != (length,) or not (np.issubdtype(values.dtype, kind) or not length):
        wanted = "whole numbers" if dtype is np.int64 else "numbers"
        raise ValueError(f"Mask: {name} must be {wanted} [{length}], got {values.dtype} {list(values.shape)}")
    return values.astype(dtype)


def _rows(rows: Rows | None, queries: int, documents: int, name: str) -> Rows | None:
    """Rows of items, each sorted and without repeats."""
    if rows is None:
        return None
    offsets, items = (np.asarray(part) for part in rows)
    if offsets.shape != (queries + 1,) or items.ndim != 1:
        shapes = f"{list(offsets.shape)} and {list(items.shape)}"
        raise ValueError(f"Mask: {name} needs offsets [{queries + 1}] and items [any], got {shapes}")
    if any(len(part) and not np.issubdtype(part.dtype, np.integer) for part in (offsets, items)):
        raise ValueError(f"Mask: {name} needs integers, got {offsets.dtype} offsets and {items.dtype} items")
    offsets = offsets.astype(np.int64)  # unsigned ones would never fall
    if offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
        raise ValueError(f"Mask: the offsets of {name} must rise from 0 to {len(items)}, the number of items")
    if len(items) and not (items.min() >= 0 and items.max() < documents):
        found = f"{items.min()} to {items.max()}"
        raise ValueError(f"Mask: the items of {name} must be document rows in [0, {documents}), got {found}")
    owner = np.repeat(np.arange(queries, dtype=np.int64), np.diff(offsets))
    pairs = np.unique(owner * max(documents, 1) + items.astype(np.int64))
    counts = np.bincount(pairs // max(documents, 1), minlength=queries)
    return _offsets(counts), (pairs % max(documents, 1)).astype(np.int32)


def _holds(rows: Rows, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Whether each document is among the items of its query: a binary search in all rows at once."""
    offsets, items = rows
    low, high = offsets[queries].astype(np.int64), offsets[np.asarray(queries) + 1].astype(np.int64)
    end = high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        less = np.zeros(len(low), bool)
        less[open_] = items[middle[open_]] < documents[open_]
        low, high = np.where(open_ & less, middle + 1, low), np.where(open_ & ~less, middle, high)
    inside = low < end
    found = np.zeros(len(low), bool)
    found[inside] = items[low[inside]] == documents[inside]
    return found


def _taken(rows: Rows, queries: np.ndarray) -> Rows:
    offsets, items = rows
    lengths = np.diff(offsets)[queries]
    made = _offsets(lengths)
    where = np.arange(made[-1]) + np.repeat(offsets[:-1][queries] - made[:-1], lengths)
    return made, items[where]


def _between(rows: Rows, low: int, high: int) -> Rows:
    offsets, items = rows
    inside = (items >= low) & (items < high)
    before = np.concatenate([[0], np.cumsum(inside)])
    return before[offsets], (items[inside] - low).astype(np.int32)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
