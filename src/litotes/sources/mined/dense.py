"""Mined: the documents that a model ranks highest for an anchor, its positives aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.space import Space
from litotes.sources.found import Found, from_matrix
from litotes.sources.mined.window import check_window, window
from litotes.spelling import spell


@dataclass(frozen=True)
class Mined:
    """The rank window [skip, skip + depth) of exact dense search, excluded documents not counted.

    Hard negatives: what a model takes for an answer and nobody labelled as one. The first ranks hold most of the
    unlabelled answers; `skip` leaves them out blindly, a vetter with a reason. With `per_anchor`, that many are drawn
    evenly from the window and the rest is not given; the draw depends on (seed, anchor id, rank) alone.

    Out:  Found of source "dense": `rank` in [skip, skip + depth), `score` that of the space. An anchor for which the
          corpus holds fewer documents gets what is there and is counted in `short`.
    Cost: one exact search of depth skip + depth.

    Args:
        depth: width of the window, >= 1.
        skip: ranks left out at the top, >= 0.
        per_anchor: how many to keep of the window, in [1, depth], or None for all.
        seed: of the draw for `per_anchor`.
    Raises:
        ValueError: an argument is out of range, or `prepare` gets no space.
    Source: Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text Retrieval (arXiv:2007.00808); the
        window as in NV-Retriever (arXiv:2407.15831), section 3.
    """

    name: ClassVar[str] = "dense"
    name_in_recipes: ClassVar[str] = "dense"

    depth: int = 100
    skip: int = 0
    per_anchor: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_window(self)

    def prepare(self, collection: Collection, space: Space | None) -> Callable[[Anchors], Found]:
        """The callable searches `space`. Raises ValueError where there is none."""
        if space is None:
            raise ValueError("Mined: needs vectors, but there is no model and no space; use Bm25 or give a model")

        def find(anchors: Anchors) -> Found:
            exclude = anchors.excluded.offsets, anchors.excluded.items
            ids, scores = space.top_k(anchors.query, min(self.skip + self.depth, len(collection.corpus)), exclude)
            return window(from_matrix(self.name, ids, scores, 0, of_space=True), anchors, self)

        return find

    def __str__(self) -> str:
        return spell(self)
