"""Mixture: several sources, each with its quota of every anchor's candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.space import Space
from litotes.sources.found import Found, Source, places
from litotes.spelling import spell


@dataclass(frozen=True)
class Mixture:
    """Fill `depth` places per anchor from several sources, each with its share, and keep who found what.

    Source i has the quota q_i, the places depth * share_i rounded so that they add up to depth (largest remainders
    first, ties to the earlier source). In the order of the parts, each gives its best q_i documents that no earlier
    part has given. Places that stay empty are then filled with what the parts have left over, again in their order.
    A document takes one place however many found it, and it keeps all its finders.

    Out:  Found with all findings of the chosen documents. `short`: for each source the anchors in which it could not
          fill its quota by itself, and under "mixture" the anchors with fewer than `depth` documents in the end.
    Cost: that of the parts, and a sort of what they found.

    Args:
        parts: two or more sources whose `name`s differ. Each should be at least as deep as its quota.
        shares: one per part, each in (0, 1], adding up to 1.
        depth: documents per anchor, >= 1.
    Raises:
        ValueError: an argument is out of range.
    """

    parts: Sequence[Source]
    shares: Sequence[float]
    depth: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "shares", tuple(self.shares))
        names = [getattr(part, "name", None) for part in self.parts]
        if len(names) < 2 or None in names or len(set(names)) < len(names):
            raise ValueError(f"Mixture: parts must be two or more plain sources of different names, got {names}")
        if len(self.shares) != len(self.parts) or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"Mixture: shares must be {len(self.parts)} numbers in (0, 1], got {list(self.shares)!r}")
        if not abs(sum(self.shares) - 1) <= 1e-6:
            raise ValueError(f"Mixture: shares must add up to 1, got {list(self.shares)!r}")
        if not self.depth >= 1:
            raise ValueError(f"Mixture: depth must be >= 1, got {self.depth!r}")

    @property
    def quotas(self) -> list[int]:
        """Places of each part."""
        exact = [share * self.depth for share in self.shares]
        whole = [int(number + 1e-9) for number in exact]
        by_rest = sorted(range(len(exact)), key=lambda i: (-round(exact[i] - whole[i], 9), i))
        for i in by_rest[: self.depth - sum(whole)]:
            whole[i] += 1
        return whole

    def prepare(self, collection: Collection, space: Space | None) -> Callable[[Anchors], Found]:
        """Prepare all parts. Raises ValueError where one of them needs a space and there is none."""
        finders = [part.prepare(collection, space) for part in self.parts]
        return _Finder(self, finders, len(collection.corpus))

    def __str__(self) -> str:
        return spell(self)

    def _share(self, found: Found, anchors: int, documents: int) -> Found:
        code = found.anchor.astype(np.int64) * documents + found.document
        chosen = np.empty(0, np.int64)
        short: dict[str, int] = {}
        names: list[Any] = [part.name for part in self.parts]  # type: ignore[attr-defined]
        owner = np.array([names.index(name) for name in found.sources], np.int64)[found.finder]
        for i, quota in enumerate(self.quotas):
            taken = _first(found, code, (owner == i) & ~np.isin(code, chosen), np.full(anchors, quota))
            missing = int((np.bincount(taken // documents, minlength=anchors) < quota).sum())
            if missing:
                short[names[i]] = missing
            chosen = np.concatenate([chosen, taken])
        for i in range(len(names)):
            room = self.depth - np.bincount(chosen // documents, minlength=anchors)
            more = _first(found, code, (owner == i) & ~np.isin(code, chosen), room)
            chosen = np.concatenate([chosen, more])
        missing = int((np.bincount(chosen // documents, minlength=anchors) < self.depth).sum())
        if missing:
            short["mixture"] = missing
        return found.take(np.flatnonzero(np.isin(code, chosen)), short)


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds for slices of anchors. `notes`: what the parts say about their searches."""

    whole: Mixture
    finders: list[Callable[[Anchors], Found]]
    documents: int

    def __call__(self, anchors: Anchors) -> Found:
        return self.whole._share(Found.joined(find(anchors) for find in self.finders), len(anchors), self.documents)

    @property
    def searches(self) -> dict[str, Any]:
        """How the exact searches of the parts were proved, by the spelling of the part."""
        return {name: report for find in self.finders for name, report in getattr(find, "searches", {}).items()}

    @property
    def notes(self) -> dict[str, str | float]:
        """ "<part> <note>" -> what it says."""
        parts = zip(self.whole.parts, self.finders, strict=True)
        return {f"{part} {name}": said for part, find in parts for name, said in getattr(find, "notes", {}).items()}


def _first(found: Found, code: np.ndarray, eligible: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Codes of the best-ranked eligible findings of one source, at most `room` per anchor."""
    rows = np.flatnonzero(eligible)
    rows = rows[np.lexsort([found.rank[rows], found.anchor[rows]])]
    anchor = found.anchor[rows]
    return code[rows[places(anchor) < room[anchor]]]
