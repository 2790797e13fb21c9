"""What a repaired set looks like: decided in whole before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from litotes.audit.negatives.findings import Finding
from litotes.audit.negatives.kinds import COPIES, KINDS
from litotes.audit.negatives.row_files import RowFiles
from litotes.audit.negatives.source import Source

NAMES = tuple(KINDS)


@dataclass(eq=False)
class Plan:
    """Changes of a set.

    Args:
        reason: per slot the number of the kind (in KINDS) that changes it, -1 = it stays. int8 [S].
        after: per slot the document that takes its place, -1 = none. int32 [S].
        row_reason: per row the number of the kind for which it is left out, -1 = it stays. int8 [R].
        row_slot: per row that is left out the slot that was at fault, -1 = the row itself. int64 [R].
        added: row -> documents that are added.
        counts: (kind, what was done) -> how often.
    """

    reason: np.ndarray
    after: np.ndarray
    row_reason: np.ndarray
    row_slot: np.ndarray
    added: dict[int, list[int]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def changes(self) -> int:
        """How many slots, rows and additions there are."""
        rows = self.row_reason >= 0
        return int((self.reason >= 0).sum()) + int(rows.sum()) + sum(map(len, self.added.values()))


def asked_for(found: Mapping[str, Finding], beyond: np.ndarray, source: Source, leave: Names[str] = ()) -> np.ndarray:
    """Per slot the number of the first kind that asks for a change, -1 = none: int8 [S].

    Args:
        beyond: uses of a text used everywhere that are beyond the line.
        leave: kinds that are only reported. Of judged negatives only copies are taken out.
    """
    examples = source.examples
    reason = np.full(len(examples.slot_sign), -1, np.int8)
    for number, (name, kind) in reversed(list(enumerate(KINDS.items()))):
        if name not in found or name in leave or kind.counts == "rows" or kind.remedy not in ("out", "exchange"):
            continue
        places = beyond if name == "everywhere" else found[name].places
        if name not in COPIES:
            places = places[~examples.slot_judged[places]]
        reason[places] = number
    return reason


def wanting(reason: np.ndarray, found: Mapping[str, Finding], source: Source, leave: Names[str] = ()) -> np.ndarray:
    """Anchors that could use another negative: ascending int64."""
    if not isinstance(source.files, RowFiles):
        return np.empty(0, np.int64)
    examples, fillable = source.examples, np.frombuffer(source.files.fillable, np.uint8).astype(bool)
    slots = np.flatnonzero(reason >= 0)
    rows = examples.slot_row[slots]
    if source.files.layout.appends and "short" in found and "short" not in leave:
        rows = np.concatenate([rows, found["short"].places])
    return np.unique(examples.row_anchor[rows[fillable[rows]]]).astype(np.int64) if len(rows) else np.empty(0, np.int64)


def plan(
    reason: np.ndarray,
    found: Mapping[str, Finding],
    source: Source,
    better: Mapping[int, list[int]],
    wanted: int,
    leave: Names[str] = (),
) -> Plan:
    """Every change, with what takes the place of what.

    A slot that has to go gets the next of its anchor's `better` documents. Without one it is taken out, and where its
    row cannot lose it (or would have none left) the whole row is left out. A slot that should only be exchanged stays
    without one. Short rows are filled up to `wanted` where the form can hold more.

    Args:
        reason: as `asked_for` gives it. better: as `candidates` gives it; each document is given once per anchor.
    """
    examples = source.examples
    made = Plan(
        reason.copy(),
        np.full(len(reason), -1, np.int32),
        np.full(len(examples), -1, np.int8),
        np.full(len(examples), -1, np.int64),
    )
    if "test-query" in found and "test-query" not in leave:
        made.row_reason[found["test-query"].places] = NAMES.index("test-query")
    gone = made.row_reason[examples.slot_row] >= 0 if len(reason) else np.zeros(0, bool)
    made.reason[gone] = -1
    if isinstance(source.files, RowFiles):
        _assign(made, found, source, source.files, better, wanted, leave)
    else:
        soft = np.array([kind.remedy == "exchange" for kind in KINDS.values()])
        made.reason[(made.reason >= 0) & soft[made.reason]] = -1
    _count(made, source)
    return made


def _assign(
    made: Plan,
    found: Mapping[str, Finding],
    source: Source,
    files: RowFiles,
    better: Mapping[int, list[int]],
    wanted: int,
    leave: Names[str],
) -> None:
    examples, layout = source.examples, files.layout
    waiting = {anchor: iter(documents) for anchor, documents in better.items()}
    soft = np.array([kind.remedy == "exchange" for kind in KINDS.values()])
    changed = np.flatnonzero(made.reason >= 0)
    for slot in changed[np.argsort(soft[made.reason[changed]], kind="stable")].tolist():  # what must go comes first
        row = int(examples.slot_row[slot])
        offered = waiting.get(int(examples.row_anchor[row])) if files.fillable[row] else None
        made.after[slot] = next(offered, -1) if offered is not None else -1
        if made.after[slot] < 0 and soft[made.reason[slot]]:
            made.reason[slot] = -1

    out = (made.reason >= 0) & (made.after < 0)
    size = np.bincount(examples.slot_row[examples.negatives], minlength=len(examples))
    left = size - np.bincount(examples.slot_row[out], minlength=len(examples))
    for slot in np.flatnonzero(out).tolist():
        row = int(examples.slot_row[slot])
        if made.row_reason[row] < 0 and (layout.fixed or (left[row] == 0 and not layout.bare)):
            made.row_reason[row], made.row_slot[row] = made.reason[slot], slot
    dropped = made.row_reason[examples.slot_row] >= 0 if len(out) else out
    made.reason[dropped], made.after[dropped] = -1, -1

    if layout.appends and "short" in found and "short" not in leave:
        for row in found["short"].places.tolist():
            offered = waiting.get(int(examples.row_anchor[row])) if files.fillable[row] else None
            if offered is None or made.row_reason[row] >= 0:
                continue
            more = [
                document for document in (next(offered, -1) for _ in range(wanted - int(left[row]))) if document >= 0
            ]
            if more:
                made.added[row] = more


def _count(made: Plan, source: Source) -> None:
    changed = np.flatnonzero(made.reason >= 0)
    for slot in changed.tolist():
        made.counts[NAMES[made.reason[slot]], "exchanged" if made.after[slot] >= 0 else "taken out"] += 1
    for row in np.flatnonzero(made.row_reason >= 0).tolist():
        made.counts[NAMES[made.row_reason[row]], "rows left out"] += 1
    for documents in made.added.values():
        made.counts["short", "added"] += len(documents)
    if source.bad.total:
        made.counts["bad rows", "rows left out"] += source.bad.total
