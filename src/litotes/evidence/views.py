"""What can be made of evidence: unions, order, selections, summaries, texts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.errors import BadInput
from litotes.evidence import table as t


def order(evidence: pa.Table) -> pa.Table:
    """The stored order: by anchor (as UTF-8 bytes), positives first, best score first (none last), then candidate."""
    if not t.misplaced(evidence).any():
        return evidence
    keys = [("anchor", "ascending"), ("sign", "descending"), ("score", "descending"), ("candidate", "ascending")]
    return evidence.take(pc.sort_indices(evidence, sort_keys=keys))


def add(evidence: pa.Table, more: pa.Table) -> pa.Table:
    """The union of two tables by (anchor, candidate), in stored order. Being found again never lowers belief.

    For a pair that both hold: finders join (the same source again replaces its entry). A judged sign wins over an
    unjudged one, then +1 over -1 over 0; prior and doubts are those held under the winning sign: prior the highest,
    doubts joined, the newer of one spelling. A missing score is filled from the other side. So add(x, x) is order(x),
    and adding three tables gives the same in either grouping.

    Raises:
        ValueError: the two have different scorers, one pair has two different scores, or two different grades.
    """
    scorers = [scorer for scorer in (t.scorer_of(evidence), t.scorer_of(more)) if scorer]
    if len(scorers) == 2 and scorers[0] != scorers[1]:
        raise ValueError(f"add: scores of two scorers, {scorers[0]} and {scorers[1]}; rescore one of the tables first")
    both = t.with_scorer(
        pa.concat_tables([evidence.cast(t.SCHEMA), more.cast(t.SCHEMA)]), scorers[0] if scorers else None
    )
    _, first, group = np.unique(t.pair_codes(both), return_index=True, return_inverse=True)
    if len(first) == len(both):
        return order(both)

    groups = len(first)
    grade, score = both["grade"].to_numpy(), both["score"].to_numpy()
    _one_value(both, group, groups, grade, "grade")
    _one_value(both, group, groups, score, "score")
    standing = np.array([1, 0, 2], np.int32)[both["sign"].to_numpy() + 1]  # of the signs -1, 0, +1
    claim = standing + 10 * ~np.isnan(grade)
    best = np.full(groups, -1, np.int32)
    np.maximum.at(best, group, claim)
    wins = claim == best[group]
    prior = np.zeros(groups, np.float32)
    np.maximum.at(prior, group, np.where(wins, both["prior"].to_numpy(), 0))

    found = _latest(t.found_entries(both), group, "source")
    doubts = t.doubt_entries(both)
    doubts = _latest(doubts.filter(pa.array(wins[doubts["row"].to_numpy()])), group, "part")
    doubts = doubts.sort_by([("row", "ascending"), ("part", "ascending")])
    weight = t.lowest(prior, doubts["row"].to_numpy(), doubts["belief"].to_numpy())

    take = pa.array(first)
    columns = {
        "anchor": both["anchor"].take(take),
        "candidate": both["candidate"].take(take),
        "sign": pa.array(np.array([0, -1, 1], np.int8)[best % 10]),
        "grade": _filled(grade, group, groups),
        "prior": pa.array(prior),
        "weight": pa.array(weight),
        "score": _filled(score, group, groups),
        "found": _list_column(found, groups, t.FOUND),
        "doubts": _list_column(doubts, groups, t.DOUBTS),
    }
    return order(pa.table([columns[name] for name in t.SCHEMA.names], t.SCHEMA.with_metadata(both.schema.metadata)))


def select(evidence: pa.Table, n: int, how: Literal["top", "random"] = "top", seed: int = 0) -> pa.Table:
    """All positives, and of every anchor the n believed negatives (sign -1, weight above 0) that `how` chooses.

    Args:
        n: negatives an anchor may keep, >= 0. An anchor with fewer keeps what it has; `describe` counts those.
        how: "top" takes the highest scores (no score last, ties by candidate id); "random" draws evenly, and the draw
            depends on seed, anchor id and candidate id only, not on the order of rows or on other anchors.
    Out: rows in stored order, columns unchanged.
    """
    if n < 0:
        raise ValueError(f"select: n must be >= 0, got {n!r}")
    if how not in ("top", "random"):
        raise ValueError(f"select: how must be 'top' or 'random', got {how!r}")
    evidence = order(evidence)
    anchor = t.codes(evidence["anchor"])
    field = (evidence["sign"].to_numpy() < 0) & (evidence["weight"].to_numpy() > 0)
    rows = np.flatnonzero(field)
    if how == "random":
        draw = _draws(evidence.take(pa.array(rows)), seed)
        rows = rows[np.lexsort([draw, anchor[rows]])]
    starts = np.r_[True, np.diff(anchor[rows]) != 0] if len(rows) else np.zeros(0, bool)
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
    chosen = evidence["sign"].to_numpy() > 0
    chosen[rows[np.arange(len(rows)) - begin < n]] = True
    return evidence.filter(pa.array(chosen))


@dataclass(frozen=True)
class Summary:
    """What a set of evidence holds. `believed_per_anchor`: number of believed negatives -> number of anchors."""

    anchors: int = 0
    rows: int = 0
    positives: int = 0
    negatives: int = 0
    believed: int = 0
    judged: int = 0
    unscored: int = 0
    without_positive: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    believed_per_anchor: Counter[int] = field(default_factory=Counter)

    def short(self, n: int) -> int:
        """Anchors with fewer than n believed negatives."""
        return sum(count for negatives, count in self.believed_per_anchor.items() if negatives < n)


def describe(tables: pa.Table | Iterable[pa.Table]) -> Summary:
    """Count what evidence holds; `tables` is one table, or several of whole anchors. O(anchors of one table) memory."""
    totals: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    per_anchor: Counter[int] = Counter()
    for table in [tables] if isinstance(tables, pa.Table) else tables:
        sign, weight = table["sign"].to_numpy(), table["weight"].to_numpy()
        believed = (sign < 0) & (weight > 0)
        anchor = t.codes(table["anchor"])
        anchors = int(anchor.max(initial=-1)) + 1
        positives = np.bincount(anchor[sign > 0], minlength=anchors)
        totals.update(
            anchors=anchors,
            rows=len(table),
            positives=int((sign > 0).sum()),
            negatives=int((sign < 0).sum()),
            believed=int(believed.sum()),
            judged=len(table) - table["grade"].null_count,
            unscored=table["score"].null_count,
            without_positive=int((positives == 0).sum()),
        )
        sources.update(_counted(t.found_entries(table)["source"]))
        parts.update(_counted(t.doubt_entries(table)["part"]))
        per_anchor.update(Counter(np.bincount(anchor[believed], minlength=anchors).tolist()))
    return Summary(**totals, sources=sources, parts=parts, believed_per_anchor=per_anchor)


def with_texts(evidence: pa.Table, collection: Any) -> pa.Table:
    """Evidence with two more columns, `anchor_text` and `candidate_text`, from a Collection.

    Raises:
        BadInput: the collection does not know an id.
    """
    queries = collection.queries["text"].take(pa.array(collection.query_rows(evidence["anchor"])))
    documents = pa.array(collection.document_texts()).take(pa.array(collection.document_rows(evidence["candidate"])))
    return evidence.append_column("anchor_text", queries).append_column("candidate_text", documents)


def _draws(evidence: pa.Table, seed: int) -> np.ndarray:
    """A uint64 per row from (seed, anchor, candidate) alone."""
    mixed = np.full(len(evidence), np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    for name in ("anchor", "candidate"):
        encoded = evidence[name].combine_chunks().dictionary_encode()
        hashes = [
            int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")
            for value in encoded.dictionary.to_pylist()
        ]
        each = np.array(hashes, np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
        mixed = _splitmix(mixed ^ each)
    return mixed


def _splitmix(x: np.ndarray) -> np.ndarray:
    """One round of splitmix64: neighbouring inputs come out unrelated."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column.combine_chunks()).to_pylist()}


def _one_value(both: pa.Table, group: np.ndarray, groups: int, values: np.ndarray, what: str) -> None:
    low, high = np.full(groups, np.inf, np.float32), np.full(groups, -np.inf, np.float32)
    there = ~np.isnan(values)
    np.minimum.at(low, group[there], values[there])
    np.maximum.at(high, group[there], values[there])
    if (low < high).any():
        row = int(np.flatnonzero(group == np.flatnonzero(low < high)[0])[0])
        pair = f"({both['anchor'][row].as_py()!r}, {both['candidate'][row].as_py()!r})"
        raise BadInput(f"two different {what}s for the pair {pair}", f"one {what} per pair", field=what)


def _filled(values: np.ndarray, group: np.ndarray, groups: int) -> pa.Array:
    out = np.full(groups, np.nan, np.float32)
    there = ~np.isnan(values)
    out[group[there]] = values[there]
    return pa.array(out, from_pandas=True)


def _latest(entries: pa.Table, group: np.ndarray, name: str) -> pa.Table:
    """Entries re-parented to their groups, one per (group, name): placed where it first stood, with its last values."""
    parent = group[entries["row"].to_numpy()]
    label = t.codes(entries[name])
    # reading entries from the last row backwards makes np.unique's "first" the newest; places come from the front
    key = parent * (int(label.max(initial=0)) + 1) + label
    _, place = np.unique(key, return_index=True)
    _, newest = np.unique(key[::-1], return_index=True)
    newest = len(key) - 1 - newest
    turn = np.lexsort([place, parent[place]])
    taken = entries.take(pa.array(newest[turn]))
    return taken.set_column(0, "row", pa.array(parent[place][turn]))


def _list_column(entries: pa.Table, groups: int, kind: pa.DataType) -> pa.ListArray:
    values = [entries[field.name].combine_chunks() for field in kind.value_type]
    return t.lists(entries["row"].to_numpy(), values, groups, kind)
