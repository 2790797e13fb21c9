"""What every format reads into and writes from, and how a format says what it can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.errors import BadRows

ASPECTS = (
    "texts",  # the words themselves, not only ids
    "titles",  # a title apart from the text
    "ids",  # outside ids of anchors and candidates
    "corpus",  # documents that no row names
    "positives",  # which candidates are positive
    "negatives",  # candidates that nobody judged
    "grades",  # judged relevance
    "scores",
    "weights",  # belief between 0 and 1
    "reasons",  # who doubts and why
    "sources",  # who found the pair
    "doubted",  # negatives that are believed no more (weight 0)
    "ragged",  # anchors with different numbers of negatives
    "bare",  # anchors without any negative
)
"""What a format may be able to hold."""

Short = Literal["drop", "refuse", "keep", "repeat"]
How = Literal["top", "random"]


@dataclass(frozen=True, eq=False)
class Exchange:
    """Data between two formats: texts and judgements, signed evidence, or both.

    Args:
        collection: the texts that the ids of `evidence` name, and judgements where the source had such.
        evidence: a table of `litotes.evidence.SCHEMA`; None where the source was a collection.
        bad: the rows that the reader skipped.
        notes: what the reader met and took another way than it stands there, with counts.
        lent: the collection that was given for its texts and is no part of what is converted; `collection` is this one,
            with the texts of the source behind that it did not hold.
        fingerprints: what the evidence was made from (`litotes.evidence.Evidence`).
    """

    collection: Collection | None = None
    evidence: pa.Table | None = None
    bad: BadRows = field(default_factory=BadRows)
    notes: Counter[str] = field(default_factory=Counter)
    lent: Collection | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What a writer did.

    Args:
        rows: rows (lines, list entries) of the main file.
        lost: what the target could not hold or was asked to leave out, reason -> count.
        notes: remarks and what the reader met, with counts.
        files: what was written.
        bad: the rows that the reader skipped.
    """

    rows: int
    lost: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    files: tuple[Path, ...] = ()
    bad: BadRows = field(default_factory=BadRows)

    def summary(self) -> str:
        """Several lines for a person: what was written, what was lost, what was skipped."""
        lines = [f"wrote {self.rows:,} rows to {', '.join(map(str, self.files))}"]
        lines += [f"  lost: {count:,} {reason}" for reason, count in self.lost.most_common()]
        lines += [f"  note: {count:,} {note}" for note, count in self.notes.most_common()]
        return "\n".join([*lines, *filter(None, [self.bad.summary()])])


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        name: its short name (`--to flagembedding`).
        summary: one line for `litotes formats`.
        holds: which of ASPECTS it can hold.
        extensions: endings of its files; "/" stands for a folder.
        reader: `read(path, *, ...) -> Exchange`, or None.
        writer: `write(exchange, path, *, ...) -> Written`, or None.
    """

    name: str
    summary: str
    holds: frozenset[str]
    extensions: tuple[str, ...]
    reader: Callable[..., Exchange] | None = None
    writer: Callable[..., Written] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(self.holds - set(ASPECTS))
        if unknown:
            raise ValueError(f"Format {self.name!r}: holds must be among {ASPECTS}, got {unknown}")

    def options(self, side: Literal["reader", "writer"]) -> frozenset[str]:
        """The names of the options that its reader or its writer takes."""
        import inspect

        function: Callable[..., Any] | None = getattr(self, side)
        if function is None:
            return frozenset()
        parameters = inspect.signature(function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
