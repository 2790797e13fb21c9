"""Anchors: the queries of a split for which negatives are sought, and what must never be found for them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

import numpy as np

from litotes.data.collection import Collection


def normalise(text: str) -> str:
    """The one definition of "the same text": NFKC, case folded, white space collapsed.

    NFKC comes once more behind the folding, which can leave a text unnormalised; so normalise(normalise(x)) is
    normalise(x).
    """
    if text.isascii():
        return " ".join(text.lower().split())  # what the line below gives, five times faster
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


@dataclass(frozen=True, eq=False)
class Csr:
    """A list of rows per anchor. `offsets` int64 [A + 1], `items` int32; the items of a row ascend."""

    offsets: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, item: np.ndarray, rows: int) -> Csr:
        """From (row, item) pairs in any order; a pair that is there twice counts once."""
        pairs = np.unique(row.astype(np.int64) << 32 | item.astype(np.int64))
        offsets = np.searchsorted(pairs >> 32, np.arange(rows + 1)).astype(np.int64)
        return cls(offsets, (pairs & 0xFFFFFFFF).astype(np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> np.ndarray:
        """The items of row i: int32."""
        return self.items[self.offsets[i] : self.offsets[i + 1]]

    def rows(self) -> np.ndarray:
        """The row of every item: int32, as long as `items`."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def slice(self, low: int, high: int) -> Csr:
        """Rows low (inclusive) to high (exclusive), counted from 0 again."""
        offsets = self.offsets[low : high + 1]
        return Csr(offsets - offsets[0], self.items[offsets[0] : offsets[-1]])


@dataclass(frozen=True, eq=False)
class Anchors:
    """The anchors of one split, ascending by id (as UTF-8 bytes), so that evidence comes out in its stored order.

    `query` int32 [A]: rows of the collection's queries that have at least one judgement in the split.
    `positives`: documents of grade > 0. `judged`: documents of grade 0, the certain negatives.
    `excluded`: positives and every document whose text is that of a positive (`normalise`): no source may find them.
    """

    collection: Collection
    split: str
    query: np.ndarray
    positives: Csr
    judged: Csr
    excluded: Csr

    @classmethod
    def of(cls, collection: Collection, split: str) -> Anchors:
        """All anchors of `split`. Raises ValueError for a split that the collection does not have."""
        query, document, grade = collection.judgements(split)
        rows = np.unique(query)
        ids = collection.queries["id"].take(rows).to_pylist()
        rows = rows[sorted(range(len(ids)), key=lambda i: ids[i].encode())].astype(np.int32)
        place = np.full(len(collection.queries), -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)

        anchor, positive = place[query], grade > 0
        positives = Csr.of(anchor[positive], document[positive], len(rows))
        judged = Csr.of(anchor[grade == 0], document[grade == 0], len(rows))
        return cls(collection, split, rows, positives, judged, _with_duplicates(positives, collection))

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, part: slice) -> Anchors:
        """A slice of the anchors, without a step."""
        low, high, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"Anchors: slices have no step, got {step}")
        high = max(low, high)
        lists = {name: getattr(self, name).slice(low, high) for name in ("positives", "judged", "excluded")}
        return replace(self, query=self.query[low:high], **lists)


def duplicate_groups(texts: list[str]) -> np.ndarray:
    """Group number of every text, int32: the row of the first text that is the same after `normalise`."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(normalise(text), row) for row, text in enumerate(texts)], np.int32)


def _with_duplicates(positives: Csr, collection: Collection) -> Csr:
    group = duplicate_groups(collection.document_texts())
    members = np.argsort(group, kind="stable").astype(np.int32)
    starts = np.searchsorted(group[members], group[positives.items])
    ends = np.searchsorted(group[members], group[positives.items], side="right")
    sizes = ends - starts
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    items = members[np.repeat(starts, sizes) + within]
    return Csr.of(np.repeat(positives.rows(), sizes), items, len(positives))
