"""What the four sentence-transformers forms share: which column means what, in both generations of names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litotes.data.formats.containers import read_cell, rows_of
from litotes.data.formats.fields import Place, number, numbers, text
from litotes.data.formats.gather import Gatherer, Given
from litotes.errors import BadInput

TOOL = "sentence-transformers"
LABELS = ("label", "labels", "score", "scores", "positive_score", "negative_score")
"""Columns that hold no text: the names that the trainer takes for labels, and those of its miner of 2025."""


def inputs_of(columns: list[str], place: Place, least: int, most: int | None, what: str) -> list[str]:
    """The columns of texts, in order: their order is their meaning, their names are free."""
    inputs = [name for name in columns if name not in LABELS]
    if len(inputs) < least or (most is not None and len(inputs) > most):
        raise BadInput(f"the columns {columns}", what, file=place.file, line=place.line)
    return inputs


def checked_rows(path: Path, gatherer: Gatherer, split: str | None) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows that have the columns of the first row."""
    first: list[str] | None = None
    for line, row in rows_of(path, gatherer.bad, split):
        place = Place(path, line)
        first = first or list(row)
        if list(row) != first:
            gatherer.bad.add(place.fault(f"the columns {list(row)}", f"{first}, as in the first row"))
        else:
            yield place, row


def read_tuple(place: Place, row: dict[str, Any], gatherer: Gatherer, most: int | None, what: str) -> None:
    """One row of anchor, positive and negatives with or without scores: a triplet or an n-tuple."""
    inputs = inputs_of(list(row), place, 3, most, what)
    values = [text(row[name], name, place) for name in inputs]
    scores = _scores(row, len(inputs) - 1, place, gatherer)
    given = [
        Given(value, sign=-1 if i else 1, score=score, field=inputs[i + 1])
        for i, (value, score) in enumerate(zip(values[1:], scores, strict=True))
    ]
    gatherer.row(place, Given(values[0], field=inputs[0]), given)


def plain_number(value: Any, name: str, place: Place) -> float:
    """A number; CSV brings it as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise place.fault(repr(value), "a number", name) from None
    return number(value, name, place)


def _scores(row: dict[str, Any], candidates: int, place: Place, gatherer: Gatherer) -> list[float | None]:
    """A score per candidate, or None where the row has none. Margins (one number less) are differences, not scores."""
    if "positive_score" in row and "negative_score" in row and candidates == 2:
        return [plain_number(row[name], name, place) for name in ("positive_score", "negative_score")]
    nothing: list[float | None] = [None] * candidates
    name = next((name for name in LABELS[:4] if name in row), None)
    if name is None:
        return nothing
    value = read_cell(row[name], place.file)
    if not isinstance(value, list):
        if candidates != 2:
            raise place.fault("one number", f"a list of {candidates} scores, or of {candidates - 1} margins", name)
        value = [plain_number(value, name, place)]
    if len(value) == candidates - 1:
        numbers(value, name, place, candidates - 1)
        gatherer.notes["rows of margins (differences of scores, not read)"] += 1
        return nothing
    return list(numbers(value, name, place, candidates, "the positive's and one per negative"))
