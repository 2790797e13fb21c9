"""Some examples of each kind, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from litotes.audit.negatives.findings import Finding
from litotes.audit.negatives.kinds import KINDS
from litotes.audit.negatives.source import Source

EACH = 5


@dataclass(frozen=True)
class Example:
    """A negative (or a row, then `negative` is None) with its query, its positives and what was measured."""

    kind: str
    where: str
    query: str
    positives: tuple[str, ...]
    negative: str | None
    score: float | None
    seen: float | None
    line: float | None


def examples_of(source: Source, found: Mapping[str, Finding], scores: np.ndarray | None) -> list[Example]:
    """Up to EACH of every kind, spread over the set; of suspects those farthest above their line come first."""
    made = []
    for name, kind in KINDS.items():
        if name not in found or not len(found[name]):
            continue
        one = found[name]
        if name == "suspect" and np.isfinite(one.seen).all():
            chosen = np.argsort(one.line - one.seen, kind="stable")[:EACH]
        else:
            chosen = np.unique(np.linspace(0, len(one) - 1, min(EACH, len(one))).astype(int))
        made += [_example(source, one, int(at), kind.counts == "rows", scores) for at in chosen]
    return made


def _example(source: Source, one: Finding, at: int, is_row: bool, scores: np.ndarray | None) -> Example:
    examples = source.examples
    place = int(one.places[at])
    row = place if is_row else int(examples.slot_row[place])
    anchor = int(examples.row_anchor[row])
    owner, positive = examples.anchor_positives()
    positives = positive[slice(*np.searchsorted(owner, [anchor, anchor + 1]))][:2]
    return Example(
        one.kind,
        examples.where(row),
        examples.queries.texts[int(examples.row_query[row])],
        tuple(examples.documents.texts[int(document)] for document in positives),
        None if is_row else examples.documents.texts[int(examples.slot_document[place])],
        None if is_row or scores is None else float(scores[place]),
        float(one.seen[at]) if np.isfinite(one.seen[at]) else None,
        float(one.line[at]) if np.isfinite(one.line[at]) else None,
    )
