"""How the row of each format is read slot by slot, and how negatives are taken out of it, exchanged and added."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from litotes.data.formats import flagembedding, labelled_lists, labelled_pairs, nemo, tevatron, tevatron_ids
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.containers import read_cell
from litotes.data.formats.fields import Place
from litotes.data.formats.gather import Gatherer

_INDEX = re.compile(r"\[(\d+)\]$")


class Document(NamedTuple):
    """A text that enters a row, with its id and title where the set gave it such."""

    text: str
    id: str | None = None
    title: str | None = None

    @property
    def body(self) -> str:
        """The text without its title."""
        return self.text[len(self.title) :].strip() if self.title and self.text.startswith(self.title) else self.text


class Layout(ABC):
    """One format's rows.

    Args:
        flat: a row holds one negative at most.
        appends: negatives can be added to a row.
        bare: a row without any negative may stay.
        fixed: a row that loses a negative has to go.
    """

    name: str
    flat: bool = False
    appends: bool = False
    bare: bool = False
    fixed: bool = False

    @abstractmethod
    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        """Give the row to the recorder. Raises BadInput as the format's reader does."""

    @abstractmethod
    def edit(
        self, row: dict[str, Any], changes: Mapping[str, Document | None], added: Sequence[Document], file: Path
    ) -> dict[str, Any] | None:
        """The row with some fields exchanged (None: taken out) and negatives added; None: the row cannot stay."""

    def fillable(self, row: Mapping[str, Any]) -> bool:
        """False where a new negative would need a score that nobody has."""
        return True


class _Listed(Layout):
    """A row with a list of negatives, and perhaps lists that run beside it."""

    appends = True
    listed: str
    beside: tuple[str, ...] = ()

    @abstractmethod
    def entry(self, document: Document, row: Mapping[str, Any]) -> Any:
        """A document as an entry of the list."""

    def edit(
        self, row: dict[str, Any], changes: Mapping[str, Document | None], added: Sequence[Document], file: Path
    ) -> dict[str, Any] | None:
        place = {int(_INDEX.search(field)[1]): document for field, document in changes.items()}  # type: ignore[index]
        entries = list(row.get(self.listed) or [])
        kept = [i for i in range(len(entries)) if place.get(i, _KEEP) is not None]
        made = dict(row)
        there = [place.get(i) for i in kept]
        made[self.listed] = [
            entries[i] if document is None else self.entry(document, row)
            for i, document in zip(kept, there, strict=True)
        ] + [self.entry(document, row) for document in added]
        for name in self.beside:
            if row.get(name) is not None:
                made[name] = [row[name][i] for i in kept]
        if not made[self.listed] and entries and not self.bare:
            return None
        return made


_KEEP = object()


class FlagEmbedding(_Listed):
    name, listed, beside = "flagembedding", "neg", ("neg_scores",)

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        flagembedding.read_row(row, place, recorder)

    def entry(self, document: Document, row: Mapping[str, Any]) -> Any:
        return document.text

    def fillable(self, row: Mapping[str, Any]) -> bool:
        return row.get("neg_scores") is None


class Tevatron(_Listed):
    name, listed = "tevatron", "negative_passages"

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        tevatron.read_row(row, place, recorder)

    def entry(self, document: Document, row: Mapping[str, Any]) -> Any:
        made = {"title": document.title or "", "text": document.body}
        return made if document.id is None else {"docid": document.id, **made}


class TevatronIds(_Listed):
    name, listed = "tevatron-ids", "negative_document_ids"

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        tevatron_ids.read_row(row, place, recorder)

    def entry(self, document: Document, row: Mapping[str, Any]) -> Any:
        return document.id


class Nemo(_Listed):
    name, listed, bare = "nemo", "neg_doc", True

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        nemo.read_row(row, place, recorder)

    def entry(self, document: Document, row: Mapping[str, Any]) -> Any:
        plain = any(not isinstance(one, dict) for one in row["neg_doc"])
        return document.id if plain else {"id": document.id, "score": nemo.UNSCORED}


class LabelledLists(Layout):
    name, appends, bare = "labelled-lists", True, True

    def __init__(self, threshold: float | None = None):
        self.threshold = threshold

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        if self.threshold is not None and ("label" in row or "labels" in row):
            raise ValueError(f"labelled-lists: {place.file} has labels, so a threshold has no meaning")
        labelled_lists.read_row(row, place, recorder, self.threshold)

    def edit(
        self, row: dict[str, Any], changes: Mapping[str, Document | None], added: Sequence[Document], file: Path
    ) -> dict[str, Any] | None:
        inputs = [name for name in row if name not in st.LABELS]
        numbers = [name for name in row if name in st.LABELS]
        place = {int(_INDEX.search(field)[1]): document for field, document in changes.items()}  # type: ignore[index]
        lists = {name: list(read_cell(row[name], file)) for name in (inputs[1], *numbers)}
        kept = [i for i in range(len(lists[inputs[1]])) if place.get(i, _KEEP) is not None]
        made = dict(row)
        texts = [place[i].text if i in place else lists[inputs[1]][i] for i in kept]  # type: ignore[union-attr]
        made[inputs[1]] = texts + [document.text for document in added]
        for name in numbers:
            made[name] = [lists[name][i] for i in kept] + [type(lists[name][0])(0)] * len(added)
        return made

    def fillable(self, row: Mapping[str, Any]) -> bool:
        return not ("score" in row or "scores" in row)


class LabelledPairs(Layout):
    name, flat, bare, fixed = "labelled-pairs", True, True, True

    def __init__(self, threshold: float | None = None):
        self.threshold = threshold

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        labelled_pairs.check_threshold(row, self.threshold, place)
        labelled_pairs.read_row(row, place, recorder, self.threshold)

    def edit(
        self, row: dict[str, Any], changes: Mapping[str, Document | None], added: Sequence[Document], file: Path
    ) -> dict[str, Any] | None:
        return _columns(row, changes)

    def fillable(self, row: Mapping[str, Any]) -> bool:
        return not ("score" in row or "scores" in row)


class Tuples(Layout):
    """Triplets and n-tuples: as many negatives in every row, so a row that loses one has to go."""

    fixed = True

    def __init__(self, name: str):
        self.name, self.flat = name, name == "triplets"

    def read(self, row: Any, place: Place, recorder: Gatherer) -> None:
        most, what = (3, "three columns of text") if self.flat else (None, "at least three columns of text")
        st.read_tuple(place, row, recorder, most, f"{what} and at most scores")

    def edit(
        self, row: dict[str, Any], changes: Mapping[str, Document | None], added: Sequence[Document], file: Path
    ) -> dict[str, Any] | None:
        return _columns(row, changes)

    def fillable(self, row: Mapping[str, Any]) -> bool:
        return not any(name in st.LABELS for name in row)


def _columns(row: dict[str, Any], changes: Mapping[str, Document | None]) -> dict[str, Any] | None:
    made = dict(row)
    for name, document in changes.items():
        if document is None:
            return None
        made[name] = document.text
    return made


LAYOUTS = (
    "triplets",
    "n-tuples",
    "labelled-pairs",
    "labelled-lists",
    "flagembedding",
    "tevatron",
    "tevatron-ids",
    "nemo",
)


def layout_of(name: str, threshold: float | None = None) -> Layout:
    """The layout of a format by name, one of LAYOUTS."""
    if name in ("triplets", "n-tuples"):
        return Tuples(name)
    if name == "labelled-pairs":
        return LabelledPairs(threshold)
    if name == "labelled-lists":
        return LabelledLists(threshold)
    return {one.name: one for one in (FlagEmbedding, Tevatron, TevatronIds, Nemo)}[name]()
