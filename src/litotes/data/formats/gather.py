"""Gathering: rows of foreign files into one Exchange. Texts without ids get ids; a pair stands once."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats.fields import Place
from litotes.data.formats.interchange import Exchange
from litotes.errors import BadRows

BOTH = "negatives that another row or field gives as a positive of the same anchor (read as positives)"


def text_id(prefix: str, text: str) -> str:
    """The id of a text that came without one: prefix, "-", 80 bits of its BLAKE2b. `read_pairs` makes the same."""
    return f"{prefix}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"


def joined(title: str | None, text: str) -> str:
    """Title and text as an encoder reads them (`Collection.document_texts`)."""
    return f"{title} {text}".strip() if title else text.strip() if title == "" else text


class Given(NamedTuple):
    """A text as a row gives it: with an id, a text, or both. `sign`, `score` and `grade` are for candidates."""

    text: str | None = None
    id: str | None = None
    title: str | None = None
    sign: int = -1
    score: float | None = None
    grade: float | None = None
    field: str | None = None


@dataclass
class Texts:
    """Texts of one side in order of appearance, each with its id; a text may still be unknown (None)."""

    prefix: str
    what: str
    ids: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    titles: list[str | None] = field(default_factory=list)
    row_of_id: dict[str, int] = field(default_factory=dict)
    id_of_text: dict[str, str] = field(default_factory=dict)
    closed: bool = False

    def identify(self, given: Given, place: Place) -> str:
        """The id of what is given; changes nothing. Raises BadInput for an unknown id, or an id of another text."""
        whole = None if given.text is None else joined(given.title, given.text)
        if given.id is None:
            assert whole is not None
            return self.id_of_text.get(whole) or text_id(self.prefix, whole)
        row = self.row_of_id.get(given.id)
        if row is None and self.closed and whole is None:
            raise place.fault(f"the unknown id {given.id!r}", f"an id of the {self.what}", given.field)
        held = None if row is None else self.texts[row]
        if row is not None and held is not None and whole is not None and joined(self.titles[row], held) != whole:
            found = f"id {given.id!r} for the text {whole[:40]!r}, elsewhere for {held[:40]!r}"
            raise place.fault(found, "one text per id", given.field)
        return given.id

    def take(self, identity: str, given: Given) -> int:
        """The row of a text under its id, new or known."""
        row = self.row_of_id.setdefault(identity, len(self.ids))
        if row == len(self.ids):
            self.ids.append(identity)
            self.texts.append(None)
            self.titles.append(None)
        if given.text is not None and self.texts[row] is None:
            moved = not given.text.strip() and given.title
            self.texts[row] = given.title if moved else given.text
            self.titles[row] = "" if moved else given.title
            self.id_of_text.setdefault(joined(given.title, given.text), identity)
        return row

    def known(self, table: pa.Table, wholes: list[str]) -> None:
        """Take the texts of a collection; `wholes`: each as an encoder reads it. From now on bare ids must be known."""
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * len(table)
        self.ids, self.texts, self.titles = table["id"].to_pylist(), table["text"].to_pylist(), titles
        self.row_of_id = {identity: row for row, identity in enumerate(self.ids)}
        for identity, whole in zip(self.ids, wholes, strict=True):
            self.id_of_text.setdefault(whole, identity)
        self.closed = True

    def table(self, since: int = 0) -> pa.Table:
        """Rows of known text, from row `since` on: id, text and, where there is any, title."""
        ids, texts, titles = (pa.array(values[since:], pa.string()) for values in (self.ids, self.texts, self.titles))
        made = pa.table({"id": ids, "text": texts})
        if pc.any(pc.fill_null(pc.not_equal(titles, ""), False)).as_py():
            made = made.append_column("title", pc.fill_null(titles, ""))
        return made.filter(pc.is_valid(texts))


class Gatherer:
    """Rows in, one Exchange out.

    A candidate that comes as a positive in one row and as a negative in another of the same anchor is a positive (and
    counted). Two scores for one pair are a fault of the later row. A row is taken whole or not at all.

    Args:
        tool: who made the file ("flagembedding"): negatives get the source `mined:<tool>`, positives `given:<tool>`.
        bad: where faulty rows go.
        collection: texts that are known already; a text that stands there has its id from there.
        scorer: name of the model behind the scores; then the source is `teacher:<scorer>`.
    """

    def __init__(self, tool: str, bad: BadRows, *, collection: Collection | None = None, scorer: str | None = None):
        self.tool, self.bad, self.collection, self.scorer = tool, bad, collection, scorer
        self.notes: Counter[str] = Counter()
        self.queries, self.documents = Texts("q", "queries"), Texts("d", "corpus")
        if collection is not None:
            self.queries.known(collection.queries, collection.query_texts())
            self.documents.known(collection.corpus, collection.document_texts())
        self._seeded = len(self.queries.ids), len(self.documents.ids)
        self._place: dict[tuple[int, int], int] = {}
        self._query, self._document, self._sign = array("i"), array("i"), array("b")
        self._score, self._grade = array("f"), array("f")

    def document(self, given: Given, place: Place) -> None:
        """A document of a corpus, whether or not a row names it."""
        with self.bad:
            self.documents.take(self.documents.identify(given, place), given)

    def row(self, place: Place, query: Given, candidates: Sequence[Given]) -> None:
        """An anchor and some of its candidates. Raises BadInput, having changed nothing, where they cannot be right."""
        query_id = self.queries.identify(query, place)
        anchor = self.queries.row_of_id.get(query_id)
        ids: list[str] = []
        whole: dict[str, tuple[str, float | None]] = {}
        for given in candidates:
            identity = self.documents.identify(given, place)
            ids.append(identity)
            text = "" if given.text is None else joined(given.title, given.text)
            seen, score = whole.setdefault(identity, (text, given.score))
            if seen != text:
                found = f"id {identity!r} for two texts"
                raise place.fault(found, "one text per id", given.field)
            document = self.documents.row_of_id.get(identity)
            held = None if anchor is None or document is None else self._place.get((anchor, document))
            others = [score, None if held is None or np.isnan(self._score[held]) else self._score[held]]
            for other in others:
                if given.score is not None and other is not None and np.float32(other) != np.float32(given.score):
                    found = f"the scores {other:g} and {given.score:g} for one pair"
                    raise place.fault(found, "one score per pair", given.field)
        anchor = self.queries.take(query_id, query)
        for identity, given in zip(ids, candidates, strict=True):
            self._pair(anchor, self.documents.take(identity, given), given)

    def exchange(self, name: str) -> Exchange:
        """All that was gathered: the collection (the known one, with new texts behind) and evidence in stored order."""
        queries, documents = self.queries.table(self._seeded[0]), self.documents.table(self._seeded[1])
        if self.collection is None:
            collection = Collection(name, queries, documents)
        else:
            known = self.collection
            self.notes.update(
                {
                    "queries that the collection did not hold": len(queries),
                    "documents that the collection did not hold": len(documents),
                }
            )
            queries = pa.concat_tables([known.queries, queries], promote_options="default")
            documents = pa.concat_tables([known.corpus, documents], promote_options="default")
            collection = Collection(known.name, queries, documents, known.qrels, known.related)
        return Exchange(collection, self._evidence(), self.bad, +self.notes, lent=self.collection)

    def _pair(self, query: int, document: int, given: Given) -> None:
        at = self._place.setdefault((query, document), len(self._sign))
        score, grade = (np.nan if value is None else value for value in (given.score, given.grade))
        if at == len(self._sign):
            self._query.append(query)
            self._document.append(document)
            self._sign.append(given.sign)
            self._score.append(score)
            self._grade.append(grade)
            return
        if self._sign[at] != given.sign:
            self.notes[BOTH] += 1
            if given.sign > self._sign[at]:
                self._sign[at], self._grade[at] = given.sign, grade
        if given.score is not None:
            self._score[at] = score

    def _evidence(self) -> pa.Table:
        sign = np.frombuffer(self._sign, np.int8)
        score = np.frombuffer(self._score, np.float32)
        grade = np.frombuffer(self._grade, np.float32)
        scored = bool(len(score)) and not np.isnan(score).all()
        found = np.where(sign > 0, f"given:{self.tool}", f"mined:{self.tool}")
        if self.scorer is not None:
            found = np.where(np.isnan(score), found, f"teacher:{self.scorer}")
        name = self.scorer or f"{self.tool}:scores"
        table = ev.make(
            pa.array(self.queries.ids, pa.string()).take(pa.array(np.frombuffer(self._query, np.int32))),
            pa.array(self.documents.ids, pa.string()).take(pa.array(np.frombuffer(self._document, np.int32))),
            pa.array(sign),
            grade=pa.array(grade, from_pandas=True),
            score=pa.array(score, from_pandas=True),
            source=pa.array(found.tolist(), pa.string()),
            seen=pa.array(score, from_pandas=True),
            scorer={"name": name, "checksum": "", "similarity": ""} if scored else None,
        )
        return ev.order(table)
