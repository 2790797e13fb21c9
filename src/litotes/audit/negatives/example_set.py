"""A set of training examples as numbers: rows, the slots in them, and the texts they point to."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from litotes.audit.negatives.shelf import Shelf


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """Rows of a query with positives and negatives. A slot is one place in a row that holds a candidate.

    Args:
        queries, documents: the texts, closed. Documents that no row names are among them where the set has a corpus.
        row_query: text of the row's query, int32 [R].
        row_at: which record of the file the row is, counted from 0 with the bad ones, int64 [R].
        row_line, row_file: where it stands; line 0 where there are no lines. int32 [R].
        files: the names of the files.
        slot_row, slot_document, slot_field: int32 [S]; slots of a row are neighbours, in the order of the row.
        slot_sign: int8 [S], 1 or -1.
        slot_judged: bool [S], somebody looked and gave the label.
        fields: names of places in a row ("neg[3]"), by number.
        flat: a row holds one negative at most, and the rows of a query belong together.
    """

    queries: Shelf
    documents: Shelf
    row_query: np.ndarray
    row_at: np.ndarray
    row_line: np.ndarray
    row_file: np.ndarray
    files: tuple[Path, ...]
    slot_row: np.ndarray
    slot_document: np.ndarray
    slot_field: np.ndarray
    slot_sign: np.ndarray
    slot_judged: np.ndarray
    fields: tuple[str, ...]
    flat: bool

    def __len__(self) -> int:
        return len(self.row_query)

    @cached_property
    def row_anchor(self) -> np.ndarray:
        """Anchor of each row: queries of the same text (`normalise`) are one anchor. int32 [R]."""
        return self._anchored[1].astype(np.int32)

    @cached_property
    def anchor_query(self) -> np.ndarray:
        """A query text of each anchor: int32 [A]."""
        return self.row_query[self._anchored[0]]

    @property
    def anchors(self) -> int:
        """How many different queries."""
        return len(self.anchor_query)

    @cached_property
    def _anchored(self) -> tuple[np.ndarray, np.ndarray]:
        if not len(self.row_query):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        _, first, anchor = np.unique(self.queries.same[self.row_query], return_index=True, return_inverse=True)
        return first, anchor

    @cached_property
    def slot_anchor(self) -> np.ndarray:
        """Anchor of each slot: int32 [S]."""
        return self.row_anchor[self.slot_row] if len(self.slot_row) else np.empty(0, np.int32)

    @cached_property
    def slot_same(self) -> np.ndarray:
        """Number of the normalised text of each slot: int32 [S]."""
        return self.documents.same[self.slot_document] if len(self.slot_document) else np.empty(0, np.int32)

    @cached_property
    def negatives(self) -> np.ndarray:
        """The slots that hold negatives: int64."""
        return np.flatnonzero(self.slot_sign < 0)

    @cached_property
    def positives(self) -> np.ndarray:
        """The slots that hold positives: int64."""
        return np.flatnonzero(self.slot_sign > 0)

    def anchor_positives(self) -> tuple[np.ndarray, np.ndarray]:
        """Every (anchor, document) once that some row gives as a positive, by anchor: int32, int32."""
        rows = self.positives
        key = np.unique(self.slot_anchor[rows].astype(np.int64) << 32 | self.slot_document[rows])
        return (key >> 32).astype(np.int32), (key & 0xFFFFFFFF).astype(np.int32)

    def where(self, row: int) -> str:
        """File and line of a row, as error messages say it."""
        line = int(self.row_line[row])
        name = self.files[int(self.row_file[row])].name
        return f"{name}:{line}" if line else f"{name}: row {int(self.row_at[row]) + 1}"


class Gathering:
    """Rows as they are read; `finish` makes the set.

    Args:
        folder: where texts go.
        known: numbers of normalised texts, shared by sets that are compared.
    """

    def __init__(self, folder: Path, known: dict[bytes, int] | None = None):
        known = {} if known is None else known
        folder.mkdir(parents=True, exist_ok=True)
        self.queries, self.documents = Shelf(folder / "queries.arrow", known), Shelf(folder / "documents.arrow", known)
        self._files: dict[Path, int] = {}
        self._fields: dict[str, int] = {}
        self._row_query, self._row_line, self._row_file = array("i"), array("i"), array("i")
        self._row_at = array("q")
        self._slot_row, self._slot_document, self._slot_field = array("i"), array("i"), array("i")
        self._slot_sign, self._slot_judged = array("b"), array("b")

    def row(
        self,
        at: int,
        file: Path,
        line: int | None,
        query: int,
        slots: Sequence[tuple[int, int, str, bool]],
    ) -> None:
        """A row: number of its query and (document, sign, field, judged) of its slots; a sign of 0 is passed over."""
        row = len(self._row_query)
        self._row_query.append(query)
        self._row_line.append(line or 0)
        self._row_file.append(self._files.setdefault(file, len(self._files)))
        self._row_at.append(at)
        for document, sign, field, judged in slots:
            if sign:
                self._slot_row.append(row)
                self._slot_document.append(document)
                self._slot_sign.append(sign)
                self._slot_field.append(self._fields.setdefault(field, len(self._fields)))
                self._slot_judged.append(judged)

    def finish(self, *, flat: bool) -> ExampleSet:
        """The set; the shelves are closed."""
        self.queries.close()
        self.documents.close()
        return ExampleSet(
            self.queries,
            self.documents,
            _array(self._row_query, np.int32),
            _array(self._row_at, np.int64),
            _array(self._row_line, np.int32),
            _array(self._row_file, np.int32),
            tuple(self._files),
            _array(self._slot_row, np.int32),
            _array(self._slot_document, np.int32),
            _array(self._slot_field, np.int32),
            _array(self._slot_sign, np.int8),
            _array(self._slot_judged, np.int8).astype(bool),
            tuple(self._fields),
            flat,
        )


def _array(values: array, kind: type) -> np.ndarray:
    return np.frombuffer(values, kind).copy() if len(values) else np.empty(0, kind)
