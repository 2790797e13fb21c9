"""Writes the repaired set and the list of its changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from litotes.audit.negatives.findings import Finding
from litotes.audit.negatives.layouts import Document
from litotes.audit.negatives.repair import NAMES, Plan
from litotes.audit.negatives.row_files import RowFiles
from litotes.audit.negatives.source import Source
from litotes.data.formats.containers import text_file
from litotes.data.formats.fields import Place


def rewrite(source: Source, made: Plan, found: Mapping[str, Finding], target: Path, changes: Path) -> bool:
    """Write both; True where the set is the old one byte for byte.

    The list is JSON lines, one per change: `row` (from 1, as in the file), `where` (file and line), `query`, `change`
    (exchanged, taken out, added, row left out), `why` (a name in KINDS, or "bad row"), `seen` and `line` (what was
    measured, and against what), `like` (the text it is like), `before` and `after`.
    """
    with text_file(changes) as file:
        if not made.changes and not source.bad.total:
            source.files.copy(target)
            return True
        _Rewriting(source, made, found, file).write(target)
    return False


class _Rewriting:
    def __init__(self, source: Source, made: Plan, found: Mapping[str, Finding], file: TextIO):
        self.source, self.made, self.found, self.file = source, made, found, file
        self.examples = source.examples
        self.starts = np.searchsorted(self.examples.slot_row, np.arange(len(self.examples) + 1))

    def write(self, target: Path) -> None:
        files = self.source.files
        if isinstance(files, RowFiles):
            files.write(target, self._change)
            return
        out = self.made.row_reason >= 0
        for slot in np.flatnonzero(self.made.reason >= 0).tolist():
            out[self.examples.slot_row[slot]] = True
        whole = np.zeros(len(files.table), bool)
        whole[self.examples.row_at[out]] = True
        for row in np.flatnonzero(out).tolist():
            if self.made.row_reason[row] >= 0:
                self._row_out(row)
            for slot in self._slots(row):
                if self.made.reason[slot] >= 0:
                    self._slot(row, slot)
        files.write(target, whole)

    def _change(self, at: int, row: dict[str, Any], place: Place) -> dict[str, Any] | None:
        number = int(np.searchsorted(self.examples.row_at, at))
        if number == len(self.examples) or self.examples.row_at[number] != at:
            self._say({"row": at + 1, "where": _where(place), "change": "row left out", "why": "bad row"})
            return None
        if self.made.row_reason[number] >= 0:
            self._row_out(number)
            return None
        edits: dict[str, Document | None] = {}
        for slot in self._slots(number):
            if self.made.reason[slot] >= 0:
                self._slot(number, slot)
                after = int(self.made.after[slot])
                edits[self.examples.fields[self.examples.slot_field[slot]]] = (
                    None if after < 0 else self._document(after)
                )
        added = self.made.added.get(number, [])
        for document in added:
            self._say(self._head(number) | {"change": "added", "why": "short", "after": self._text(document)})
        if not edits and not added:
            return row
        assert isinstance(self.source.files, RowFiles)
        documents = [self._document(document) for document in added]
        return self.source.files.layout.edit(row, edits, documents, place.file)

    def _slots(self, row: int) -> range:
        return range(int(self.starts[row]), int(self.starts[row + 1]))

    def _slot(self, row: int, slot: int) -> None:
        after = int(self.made.after[slot])
        change = "exchanged" if after >= 0 else "taken out"
        said = self._head(row) | {"change": change, **self._why(NAMES[self.made.reason[slot]], slot)}
        said["before"] = self._text(int(self.examples.slot_document[slot]))
        if after >= 0:
            said["after"] = self._text(after)
        self._say(said)

    def _row_out(self, row: int) -> None:
        slot, name = int(self.made.row_slot[row]), NAMES[self.made.row_reason[row]]
        said = self._head(row) | {"change": "row left out", **self._why(name, slot if slot >= 0 else row)}
        if slot >= 0:
            said["before"] = self._text(int(self.examples.slot_document[slot]))
        self._say(said)

    def _why(self, name: str, place: int) -> dict[str, Any]:
        """The kind and what was measured there."""
        said: dict[str, Any] = {"why": name}
        one = self.found[name]
        at = int(np.searchsorted(one.places, place))
        if at == len(one) or one.places[at] != place:
            return said
        for key, values in (("seen", one.seen), ("line", one.line)):
            if np.isfinite(values[at]):
                said[key] = round(float(values[at]), 4)
        if one.other[at] >= 0:
            texts = self.examples.queries.texts if name == "near-query" else self.examples.documents.texts
            said["like"] = texts[int(one.other[at])]
        return said

    def _head(self, row: int) -> dict[str, Any]:
        query = self.examples.queries.texts[int(self.examples.row_query[row])]
        return {"row": int(self.examples.row_at[row]) + 1, "where": self.examples.where(row), "query": query}

    def _text(self, document: int) -> str:
        return self.examples.documents.texts[document]

    def _document(self, document: int) -> Document:
        return Document(self._text(document), self.source.ids.get(document), self.source.titles.get(document))

    def _say(self, change: dict[str, Any]) -> None:
        self.file.write(json.dumps(change, ensure_ascii=False) + "\n")


def _where(place: Place) -> str:
    return f"{place.file.name}:{place.line}" if place.line else place.file.name
