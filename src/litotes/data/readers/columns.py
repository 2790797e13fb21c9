"""Which column of a file of pairs means what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from litotes.errors import BadInput

ANCHOR_NAMES = ("anchor", "query", "question", "query_text", "sentence1", "text1", "premise", "hypothesis")
POSITIVE_NAMES = (
    "positive", "pos", "answer", "response", "document", "passage", "context", "text", "sentence2", "text2",
    "entailment",
)  # fmt: skip
ANCHOR_ID_NAMES = ("anchor_id", "query_id", "query-id", "qid")
POSITIVE_ID_NAMES = ("positive_id", "document_id", "corpus_id", "corpus-id", "passage_id", "docid", "pid")
GRADE_NAMES = ("grade", "label")


@dataclass(frozen=True)
class Columns:
    """Which column of a file means what."""

    anchor: str
    positive: str
    anchor_id: str | None
    positive_id: str | None
    grade: str | None

    @classmethod
    def of(cls, names: list[str], path: Path, anchor: str | None, positive: str | None, notes: Counter[str]) -> Columns:
        first = _found(names, anchor, ANCHOR_NAMES, path, "anchor")
        second = _found([name for name in names if name != first], positive, POSITIVE_NAMES, path, "positive")
        rest = {"anchor_id": ANCHOR_ID_NAMES, "positive_id": POSITIVE_ID_NAMES, "grade": GRADE_NAMES}
        others: dict[str, str | None] = {
            key: next((name for name in known if name in names), None) for key, known in rest.items()
        }
        made = cls(first, second, **others)
        for name in names:
            if name not in (first, second, *others.values()):
                notes[f"pairs: column {name!r} not read"] += 1
        return made


def _found(names: list[str], asked: str | None, known: tuple[str, ...], path: Path, what: str) -> str:
    if asked is not None:
        if asked not in names:
            raise BadInput(f"the columns {names}", f"the column {asked!r} asked for as {what}", file=path)
        return asked
    for name in known:
        for there in names:
            if there.casefold() == name:
                return there
    raise BadInput(f"the columns {names}", f"a column for the {what}: {', '.join(known)}, or its name given", file=path)
