"""What can be wrong with the negatives of a set: one list of kinds, with what each means and what repair does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Remedy = Literal["out", "exchange", "fill", "row out", "report"]
"""out: taken out, exchanged where the set itself has a better one. exchange: only ever exchanged, else it stays. fill:
negatives are added. row out: the whole row goes. report: nothing is changed."""


@dataclass(frozen=True)
class Kind:
    """One defect.

    Args:
        name: as options and the list of changes spell it.
        title: a few words for tables.
        meaning: one sentence for the page.
        remedy: what `repair` does about it.
        counts: what is counted: "negatives" or "rows".
    """

    name: str
    title: str
    meaning: str
    remedy: Remedy
    counts: Literal["negatives", "rows"] = "negatives"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("query", "Equal to the query", "The negative is the query itself (case and spacing aside).", "out"),
        Kind("near-query", "Nearly the query", "The negative shares most of its text with the query.", "out"),
        Kind("positive", "Equal to a positive", "The negative is a positive of the same row, word for word.", "out"),
        Kind(
            "near-positive",
            "Nearly a positive",
            "The negative shares most of its text with a positive of its query.",
            "out",
        ),
        Kind(
            "positive-elsewhere",
            "Positive in another row",
            "Another row gives the same text as a positive of the same query.",
            "out",
        ),
        Kind("repeated", "Twice in one row", "The row holds the same negative before.", "out"),
        Kind(
            "suspect",
            "Perhaps false",
            "The judging model ranks it too near to the positives of its query. A suspicion, not a finding.",
            "out",
        ),
        Kind(
            "everywhere",
            "Used everywhere",
            "One text is a negative of a large share of all queries.",
            "exchange",
        ),
        Kind(
            "filler",
            "Random filler",
            "It is no more like its query than a text drawn at random from the set.",
            "exchange",
        ),
        Kind("short", "Rows short of negatives", "The row has fewer different negatives than wanted.", "fill", "rows"),
        Kind(
            "test-query",
            "Test queries in training",
            "The query of the row is a query of the test set, or nearly one.",
            "row out",
            "rows",
        ),
        Kind(
            "test-text",
            "Test answers as negatives",
            "The negative is a relevant text of the test set. In a shared corpus that is usual; it is only counted.",
            "report",
        ),
    )
}
"""All kinds; where a negative has several, the first in this order is the reason given for a change."""

COPIES = ("query", "near-query", "positive", "near-positive", "positive-elsewhere")
"""Kinds of text that a negative must not be, whatever a model thinks."""

CERTAIN = ("positive", "positive-elsewhere")
"""Kinds that are false negatives by what the set says itself."""
