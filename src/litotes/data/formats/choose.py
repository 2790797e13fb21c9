"""Choosing: which rows of an Exchange a target gets, what that leaves out, and the rows anchor by anchor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats.gather import text_id
from litotes.data.formats.interchange import Exchange, How, Short
from litotes.evidence.table import codes

BLOCK = 1 << 13
EVERY = 1 << 62


class Candidate(NamedTuple):
    """One candidate. `text` is what an encoder reads (title and text), `body` the text without the title."""

    id: str
    text: str
    body: str
    title: str
    score: float | None
    grade: float | None


class Group(NamedTuple):
    """One anchor with its candidates, each side in stored order (best score first)."""

    anchor: str
    query: str
    positives: list[Candidate]
    negatives: list[Candidate]


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows to write, in stored order, and what was left out on the way. `scored`: their scores are to be written."""

    table: pa.Table
    collection: Collection | None
    lost: Counter[str]
    scored: bool

    def groups(self) -> Iterator[Group]:
        """Every anchor with its candidates; about BLOCK rows of text are in memory at a time."""
        size = len(self.table)
        starts = np.flatnonzero(_starts(self.table["anchor"]))
        queries = documents = bodies = titles = asked = named = None
        if self.collection is not None:
            asked = self.collection.query_rows(self.table["anchor"])
            named = self.collection.document_rows(self.table["candidate"])
            queries = self.collection.queries["text"]
            documents = pa.array(self.collection.document_texts(), pa.string())
            bodies = self.collection.corpus["text"]
            titles = self.collection.corpus["title"] if "title" in self.collection.corpus.column_names else None
        low = 0
        while low < size:
            later = int(np.searchsorted(starts, low + BLOCK))
            high = int(starts[later]) if later < len(starts) else size
            block = self.table.slice(low, high - low)
            columns = [block[name].to_pylist() for name in ("anchor", "candidate", "sign", "grade")]
            texts = [
                [None] * len(block)
                if values is None or rows is None
                else values.take(pa.array(rows[low:high])).to_pylist()
                for values, rows in ((queries, asked), (documents, named), (bodies, named), (titles, named))
            ]
            yield from _grouped([*columns, _short_floats(block["score"]), *texts])
            low = high


def choose(
    exchange: Exchange,
    holds: frozenset[str],
    *,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    positives: int = 1,
    at_least: int = 0,
    short: Short = "drop",
    scores: bool | None = None,
) -> Chosen:
    """Positives that are believed and up to `negatives` believed negatives of every anchor.

    Left out and counted: pairs of sign 0, doubted pairs (weight 0), negatives beyond the number asked for, and, where
    the target knows texts only, candidates whose text the anchor has already (a positive stays before a negative).

    Args:
        holds: what the target can hold; everything else that a written row says is counted as lost.
        split: whose judgements become the rows, where there is a collection and no evidence.
        negatives, how, seed: as in `litotes.evidence.select`; None takes all.
        positives: positives an anchor needs to be written at all.
        at_least: negatives an anchor needs; `short` says what happens to one with fewer: "drop" leaves it out,
            "refuse" raises, "keep" writes it, "repeat" writes it if it has any at all.
        scores: write scores: True (refused where one is missing), False, or None: if every row has one.
    Raises:
        ValueError: there is nothing to write from, texts are missing, or `short` or `scores` refuse.
    """
    if short not in ("drop", "refuse", "keep", "repeat"):
        raise ValueError(f"convert: short must be 'drop', 'refuse', 'keep' or 'repeat', got {short!r}")
    lost: Counter[str] = Counter()
    table = ev.order(evidence_of(exchange, split, lost))
    if "texts" in holds and exchange.collection is None:
        raise ValueError(
            "convert: the target holds texts and the evidence has ids only: give the collection they belong to"
        )
    collection = exchange.collection if "texts" in holds or "corpus" in holds else None

    sign, weight = table["sign"].to_numpy(), table["weight"].to_numpy()
    lost["pairs of sign 0 (nothing is known of them)"] += int((sign == 0).sum())
    lost["doubted negatives (weight 0)"] += int(((sign < 0) & (weight == 0)).sum())
    lost["doubted positives (weight 0)"] += int(((sign > 0) & (weight == 0)).sum())
    table = table.filter(pa.array((sign != 0) & (weight > 0)))
    if "ids" not in holds and collection is not None:
        table = _each_text_once(table, collection, lost)
    if negatives is not None:
        before = len(table)
        table = ev.select(table, negatives, how, seed)
        lost[f"believed negatives beyond the {negatives} asked for"] += before - len(table)
    table = _enough(table, positives, at_least, short, lost)

    missing = table["score"].null_count
    if scores and missing:
        raise ValueError(
            f"convert: scores were asked for, and {missing} of {len(table)} rows have none: score them first"
        )
    scored = scores is not False and not missing and len(table) > 0
    if not scored or "scores" not in holds:
        lost["scores"] += len(table) - missing
    _count_aspects(table, holds, lost)
    if collection is not None:
        _count_texts(table, collection, holds, exchange.lent is not None, lost)
    return Chosen(table, collection, +lost, scored)


def evidence_of(exchange: Exchange, split: str, lost: Counter[str]) -> pa.Table:
    """The evidence of an Exchange; without any, the judgements of `split`: grade above 0 is +1, 0 is -1, below is 0."""
    if exchange.evidence is not None:
        return exchange.evidence
    if exchange.collection is None:
        raise ValueError("convert: the source held neither evidence nor judgements")
    judgements = exchange.collection.qrels
    if split not in judgements:
        raise ValueError(f"convert: the source has no split {split!r}; it has {list(judgements)}")
    lost["judgements of other splits"] += sum(len(table) for name, table in judgements.items() if name != split)
    if exchange.collection.related is not None and exchange.lent is None:
        lost["rows of related"] += len(exchange.collection.related)
    table = judgements[split]
    grade = table["grade"].to_numpy()
    sign = np.where(grade > 0, 1, np.where(grade == 0, -1, 0)).astype(np.int8)
    return ev.make(table["query"], table["document"], pa.array(sign), grade=table["grade"], source="qrels")


def _enough(table: pa.Table, positives: int, at_least: int, short: Short, lost: Counter[str]) -> pa.Table:
    anchor, sign = codes(table["anchor"]), table["sign"].to_numpy()
    anchors = int(anchor.max(initial=-1)) + 1
    up, down = (np.bincount(anchor[side], minlength=anchors) for side in (sign > 0, sign < 0))
    poor = up < positives
    lost["anchors without a believed positive"] += int(poor.sum())
    scarce = ~poor & (down < at_least)
    if short == "refuse" and scarce.any():
        first = table["anchor"][int(np.flatnonzero(scarce[anchor])[0])].as_py()
        raise ValueError(
            f"convert: {int(scarce.sum())} of {anchors} anchors have fewer than {at_least} believed negatives, "
            f"the first is {first!r}; mine more, ask for fewer, or choose another `short`"
        )
    if short == "keep":
        scarce[:] = False
    elif short == "repeat":
        scarce &= down == 0
    lost[f"anchors with fewer than {1 if short == 'repeat' else at_least} believed negatives"] += int(scarce.sum())
    left_out = (poor | scarce)[anchor]
    lost["pairs of anchors that were left out"] += int(left_out.sum())
    return table.filter(pa.array(~left_out))


def _each_text_once(table: pa.Table, collection: Collection, lost: Counter[str]) -> pa.Table:
    """Without the candidates whose text an anchor has already; stored order puts positives first."""
    texts = (
        pa.array(collection.document_texts(), pa.string()).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    )
    text = texts[collection.document_rows(table["candidate"])].astype(np.int64)
    key = codes(table["anchor"]).astype(np.int64) << 32 | text
    _, first = np.unique(key, return_index=True)
    again = np.ones(len(table), bool)
    again[first] = False
    lost["candidates with the text of another candidate of their anchor"] += int(again.sum())
    return table.filter(pa.array(~again))


def _count_aspects(table: pa.Table, holds: frozenset[str], lost: Counter[str]) -> None:
    if "grades" not in holds:
        lost["grades"] += len(table) - table["grade"].null_count
    if "weights" not in holds:
        lost["weights between 0 and 1"] += int((table["weight"].to_numpy() < 1).sum())
    if "reasons" not in holds:
        lost["pairs with reasons for doubt"] += _filled(table["doubts"])
    if "sources" not in holds:
        lost["pairs with sources"] += _filled(table["found"])


def _count_texts(
    table: pa.Table, collection: Collection, holds: frozenset[str], lent: bool, lost: Counter[str]
) -> None:
    asked = np.unique(collection.query_rows(table["anchor"]))
    named = np.unique(collection.document_rows(table["candidate"]))
    if not lent and "corpus" not in holds:
        lost["queries that no row names"] += len(collection.queries) - len(asked)
        lost["documents that no row names"] += len(collection.corpus) - len(named)
    if "titles" not in holds and "title" in collection.corpus.column_names:
        title = pc.fill_null(collection.corpus["title"].take(pa.array(named)), "")
        lost["titles that became the head of the text"] += int(pc.sum(pc.not_equal(title, "")).as_py() or 0)
    if "ids" not in holds:
        query_texts = collection.queries["text"].take(pa.array(asked)).to_pylist()
        lost["anchors with the text of another anchor"] += len(query_texts) - len(set(query_texts))
        texts = pa.array(collection.document_texts(), pa.string()).take(pa.array(named)).to_pylist()
        lost["ids of queries"] += _not_made_of_text(
            "q", collection.queries["id"].take(pa.array(asked)).to_pylist(), query_texts
        )
        lost["ids of documents"] += _not_made_of_text(
            "d", collection.corpus["id"].take(pa.array(named)).to_pylist(), texts
        )


def _not_made_of_text(prefix: str, ids: list[str], texts: list[str]) -> int:
    return sum(identity != text_id(prefix, text) for identity, text in zip(ids, texts, strict=True))


def _filled(column: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0)


def _starts(column: pa.ChunkedArray) -> np.ndarray:
    anchor = codes(column)
    return np.r_[True, np.diff(anchor) != 0] if len(anchor) else np.zeros(0, bool)


def _short_floats(column: pa.ChunkedArray) -> list[float | None]:
    """float32 as the shortest decimals that read back to the same float32."""
    return [None if value is None else float(value) for value in column.cast(pa.string()).to_pylist()]


def _grouped(columns: list[list[Any]]) -> Iterator[Group]:
    """Groups of neighbouring rows; columns: anchor, candidate, sign, grade, score, query, text, body, title."""
    group: Group | None = None
    for anchor, candidate, sign, grade, score, query, text, body, title in zip(*columns, strict=True):
        if group is None or group.anchor != anchor:
            if group is not None:
                yield group
            group = Group(anchor, query, [], [])
        side = group.positives if sign > 0 else group.negatives
        side.append(Candidate(candidate, text, body, title or "", score, grade))
    if group is not None:
        yield group
