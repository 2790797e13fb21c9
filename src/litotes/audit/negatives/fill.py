"""Better negatives from the set itself, for places that lose one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from litotes.audit.negatives.example_set import ExampleSet
from litotes.audit.negatives.judge import Judge, doubted
from litotes.audit.negatives.shingles import Closeness
from litotes.search.mask import Mask
from litotes.search.space import Space

DEPTH = 200
_ANCHORS = 1024


def candidates(
    examples: ExampleSet,
    anchors: np.ndarray,
    space: Space,
    judge: Judge,
    *,
    depth: int = DEPTH,
    near: float = 0.8,
    refused: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> dict[int, list[int]]:
    """For each anchor the documents of the set that could be its negatives, the hardest first.

    The `depth` nearest documents that no row of the anchor names yet, less those that the vetter doubts beside the
    anchor's positives (however low they stand), near copies of a positive or the query, and all but the first of
    several equal texts.

    Args:
        anchors: for whom, ascending int [n].
        refused: `same` numbers of texts that nobody shall get.
        allowed: bool per document: which may be given at all.
    Out:  anchor -> document numbers.
    Cost: one search of that depth for each anchor, and the judge's score of its candidates.
    """
    judge = replace(judge.prepared(examples), typical=-math.inf)  # what is doubted at all is not brought in
    found: dict[int, list[int]] = {}
    may = np.ones(len(examples.documents), bool) if allowed is None else allowed.copy()
    if refused is not None and len(refused):
        may &= ~np.isin(examples.documents.same, refused)
    if not may.any():
        return found
    order = np.argsort(examples.slot_anchor, kind="stable")
    sorted_anchor = examples.slot_anchor[order]
    owner, positive = examples.anchor_positives()
    to_positive = Closeness(examples.documents.texts, examples.documents.texts)
    to_query = Closeness(examples.documents.texts, examples.queries.texts)
    for low in range(0, len(anchors), _ANCHORS):
        block = anchors[low : low + _ANCHORS]
        starts = np.searchsorted(sorted_anchor, block)
        stops = np.searchsorted(sorted_anchor, block, side="right")
        named = [examples.slot_document[order[a:b]] for a, b in zip(starts, stops, strict=True)]
        offsets = np.cumsum([0, *(len(one) for one in named)])
        mask = Mask.of(
            len(block), len(may), exclude=(offsets, np.concatenate([*named, np.empty(0, np.int32)])), allowed=may
        )
        ids, _ = space.top_k(examples.anchor_query[block], min(depth, int(may.sum())), mask)
        proposed, whose = ids[ids >= 0], np.repeat(block, (ids >= 0).sum(axis=1))
        mine = np.isin(owner, block)
        pair_anchor = np.concatenate([whose, owner[mine]])
        pair_document = np.concatenate([proposed, positive[mine]])
        sign = np.where(np.arange(len(pair_anchor)) < len(whose), -1, 1)
        scores = judge.scores(examples.anchor_query[pair_anchor], pair_document)
        nobody = np.zeros(len(sign), bool)
        bad = doubted(judge, examples, pair_anchor, pair_document, sign, scores, nobody)[0][: len(whose)]
        for anchor, document in zip(whose[~bad].tolist(), proposed[~bad].tolist(), strict=True):
            found.setdefault(anchor, []).append(document)
        for place, anchor in enumerate(block.tolist()):
            has = set(examples.documents.same[named[place]].tolist())
            positives = positive[slice(*np.searchsorted(owner, [anchor, anchor + 1]))]
            proposals = found.get(anchor, [])
            found[anchor] = _different(examples, anchor, proposals, has, positives, to_positive, to_query, near)
    return found


def _different(
    examples: ExampleSet,
    anchor: int,
    documents: list[int],
    has: set[int],
    positives: np.ndarray,
    to_positive: Closeness,
    to_query: Closeness,
    near: float,
) -> list[int]:
    """Those that are no copy of the query, of a positive, of a text the anchor has, or of one another."""
    query = int(examples.anchor_query[anchor])
    seen = {int(examples.queries.same[query]), *has}
    kept = []
    for document in documents:
        same = int(examples.documents.same[document])
        if same in seen:
            continue
        seen.add(same)
        row = np.array([document])
        if to_query.above(row, np.array([query]), near)[0] > 0:
            continue
        if len(positives) and (to_positive.above(row.repeat(len(positives)), positives, near) > 0).any():
            continue
        kept.append(document)
    return kept
