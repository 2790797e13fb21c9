"""Reads rows as the formats do, and remembers each slot of a row by its field instead of joining rows."""

from __future__ import annotations

from collections.abc import Sequence

from litotes.audit.negatives.example_set import Gathering
from litotes.data.collection import Collection
from litotes.data.formats.fields import Place
from litotes.data.formats.gather import Gatherer, Given, joined
from litotes.errors import BadRows


class Recorder(Gatherer):
    """Takes what a format's row reader gives to a `Gatherer`, with the same checks of ids, and gathers slots.

    Args:
        bad: where faulty rows go.
        gathering: where rows go.
        collection: the documents that ids name, where the file has ids only.
    """

    def __init__(self, bad: BadRows, gathering: Gathering, collection: Collection | None = None):
        super().__init__("audit", bad)
        self.gathering = gathering
        self.at = 0  # the record that is being read, set by who reads
        self._number: dict[str, int] = {}
        self.ids: dict[int, str] = {}
        self.titles: dict[int, str] = {}
        if collection is not None:
            texts = zip(collection.corpus["id"].to_pylist(), collection.document_texts(), strict=True)
            for identity, text in texts:
                self._named(identity, gathering.documents.put(text))
        self.documents.closed = collection is not None

    def document(self, given: Given, place: Place) -> None:
        with self.bad:
            self._number_of(given, place)

    def row(self, place: Place, query: Given, candidates: Sequence[Given]) -> None:
        assert query.text is not None
        documents = [self._number_of(given, place) for given in candidates]
        number = self.gathering.queries.put(query.text)
        slots = [
            (document, given.sign, given.field or "", False)
            for document, given in zip(documents, candidates, strict=True)
        ]
        self.gathering.row(self.at, place.file, place.line, number, slots)

    def _number_of(self, given: Given, place: Place) -> int:
        if given.text is None:
            assert given.id is not None
            if given.id not in self._number:
                raise place.fault(f"the unknown id {given.id!r}", "an id of the corpus", given.field)
            return self._number[given.id]
        number = self.gathering.documents.put(joined(given.title, given.text))
        if given.id is not None:
            if self._number.get(given.id, number) != number:
                raise place.fault(f"id {given.id!r} for two texts", "one text per id", given.field)
            self._named(given.id, number)
        if given.title:
            self.titles.setdefault(number, given.title)
        return number

    def _named(self, identity: str, number: int) -> None:
        self._number[identity] = number
        self.ids.setdefault(number, identity)
