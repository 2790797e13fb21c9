"""The rank window of a ranking source: which ranks it keeps, and how many of them."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from litotes.data.anchors import Anchors
from litotes.sources.draws import numbers, streams
from litotes.sources.found import Found


class Window(Protocol):
    """What a ranking source says about its window."""

    name: ClassVar[str]

    @property
    def depth(self) -> int: ...

    @property
    def skip(self) -> int: ...

    @property
    def per_anchor(self) -> int | None: ...

    @property
    def seed(self) -> int: ...


def check_window(part: Window) -> None:
    """Refuse a window that is none. Raises ValueError naming the part and the argument."""
    owner = type(part).__name__
    if not part.depth >= 1:
        raise ValueError(f"{owner}: depth must be >= 1, got {part.depth!r}")
    if not part.skip >= 0:
        raise ValueError(f"{owner}: skip must be >= 0, got {part.skip!r}")
    if part.per_anchor is not None and not 1 <= part.per_anchor <= part.depth:
        raise ValueError(f"{owner}: per_anchor must be in [1, depth = {part.depth}] or None, got {part.per_anchor!r}")


def window(found: Found, anchors: Anchors, part: Window) -> Found:
    """What `part` keeps of a search that ran to the end of its window, and how many anchors came out short.

    In:   findings in ascending order of anchor, then rank.
    Out:  likewise.
    """
    inside = np.flatnonzero(found.rank >= part.skip)
    asked = part.depth
    if part.per_anchor is not None:
        asked = part.per_anchor
        anchor = found.anchor[inside]
        draw = numbers(streams(anchors, part.seed, part.name)[anchor], found.rank[inside])
        turn = np.lexsort([draw, anchor])
        starts = np.searchsorted(anchor, anchor)  # `anchor` ascends, so it is the same before and after the turn
        inside = np.sort(inside[turn[np.arange(len(turn)) - starts < asked]])
    short = int((np.bincount(found.anchor[inside], minlength=len(anchors)) < asked).sum())
    return found.take(inside, {part.name: short} if short else {})
