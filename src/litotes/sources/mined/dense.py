"""Mined: the documents that a model ranks highest for an anchor, its positives aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.approximate import ApproximateIndex
from litotes.search.mask import Mask
from litotes.search.report import Reports, SearchReport
from litotes.search.space import Space
from litotes.sources.found import Found, from_matrix
from litotes.sources.mined.conditions import check_conditions, masks
from litotes.sources.mined.window import check_window, window
from litotes.spelling import spell

SEARCHES = ("exact", "auto", "hnsw", "ivf", "ivfpq")


@dataclass(frozen=True)
class Mined:
    """The rank window [skip, skip + depth) of dense search among the documents that an anchor may find.

    Hard negatives: what a model takes for an answer and nobody labelled as one. The first ranks hold most of the
    unlabelled answers; `skip` leaves them out blindly, a vetter with a reason. With `per_anchor`, that many are drawn
    evenly from the window and the rest is not given; the draw depends on (seed, anchor id, rank) alone.

    Never found are an anchor's positives and their exact copies, nor what `apart`, `time` and `only` rule out; ranks
    are counted without them. `search` says how: "exact" (certified), or by an index of FAISS whose effort is raised
    until it finds 95 % of the exact window for a sample of the queries; its recall on another sample stands in the
    notes of the run. Scores are the same either way. The index is kept in the folder that the space names (a run's
    cache, else its working folder; never where somebody's own vectors lie), so that a run that goes on finds the same;
    without one it is built by one thread, which always builds the same.

    Out:  Found of source "dense": `rank` in [skip, skip + depth), `score` that of the space. An anchor for which the
          corpus holds fewer documents gets what is there and is counted in `short`.
    Cost: one search of depth skip + depth.

    Args:
        depth: width of the window, >= 1.
        skip: ranks left out at the top, >= 0.
        per_anchor: how many to keep of the window, in [1, depth], or None for all.
        seed: of the draw for `per_anchor`, of training and samples of an index.
        search: "exact", "auto" (by size and memory: `search.approximate.choose`), "hnsw", "ivf" or "ivfpq".
        apart: a column of queries and corpus, as "group": documents with the query's own value are not found.
        time: a column of both with numbers or dates, as "date"; dates count in days.
        before: only documents at least so much earlier than the query: time <= query's - before. 0 = not later.
        after: only documents at least so much later: time >= query's + after. after=-30, before=0 is a window.
        only: "column=value": only documents with that value, as "language=en".
    Raises:
        ValueError: an argument is out of range, or `prepare` gets no space, or the collection lacks a column.
        BadInput: a time is neither a number nor a date.
    Source: Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text Retrieval (arXiv:2007.00808); the
        window as in NV-Retriever (arXiv:2407.15831), section 3.
    """

    name: ClassVar[str] = "dense"
    name_in_recipes: ClassVar[str] = "dense"

    depth: int = 100
    skip: int = 0
    per_anchor: int | None = None
    seed: int = 0
    search: Literal["exact", "auto", "hnsw", "ivf", "ivfpq"] = "exact"
    apart: str | None = None
    time: str | None = None
    before: float | None = None
    after: float | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        check_window(self)
        check_conditions(self)
        if self.search not in SEARCHES:
            raise ValueError(f"Mined: search must be {', '.join(map(repr, SEARCHES))}, got {self.search!r}")

    def prepare(self, collection: Collection, space: Space | None) -> Callable[[Anchors], Found]:
        """The callable searches `space`; its `notes` say how well. Raises ValueError where there is no space."""
        if space is None:
            raise ValueError("Mined: needs vectors, but there is no model and no space; use Bm25 or give a model")
        mask, depth = masks(self, collection), min(self.skip + self.depth, max(len(collection.corpus), 1))
        if self.search == "exact":
            seen = Reports()
            return _Finder(self, mask, lambda rows, given: space.top_k(rows, depth, given, report=seen), seen)
        index = ApproximateIndex.build(
            space.corpus,
            space.similarity,
            kind=self.search,
            seed=self.seed,
            threads=1 if space.folder is None else None,
            folder=space.folder,
            corpus_norms=space.corpus_norms,
        )
        notes: dict[str, str | float] = {"search": index.kind}
        if len(space.queries):
            index = index.tuned(space.queries, depth, seed=self.seed + 1)
            notes |= {"effort": index.effort, "recall": str(index.recall(space.queries, depth, seed=self.seed))}

        def approximate(rows: np.ndarray, given: Mask) -> tuple[np.ndarray, np.ndarray]:
            answer = index.search(np.asarray(space.queries[rows]), depth, given)
            finder.notes["queries searched exactly"] = (
                int(finder.notes.get("queries searched exactly", 0)) + answer.exact
            )
            return answer.ids, answer.scores

        finder = _Finder(self, mask, approximate, Reports(), notes)
        return finder

    def __str__(self) -> str:
        return spell(self)


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds for slices of anchors. `notes`: what a report should say about an approximate search."""

    part: Mined
    mask: Callable[[Anchors], Mask]
    search: Callable[[np.ndarray, Mask], tuple[np.ndarray, np.ndarray]]
    seen: Reports
    notes: dict[str, str | float] = field(default_factory=dict)

    def __call__(self, anchors: Anchors) -> Found:
        ids, scores = self.search(anchors.query, self.mask(anchors))
        return window(from_matrix(self.part.name, ids, scores, 0, of_space=True), anchors, self.part)

    @property
    def searches(self) -> dict[str, SearchReport]:
        """How the exact searches so far were proved, by the spelling of the source."""
        return {} if self.seen.joined is None else {str(self.part): self.seen.joined}
