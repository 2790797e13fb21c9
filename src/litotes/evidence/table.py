"""Evidence as an Arrow table: the schema, its invariants, and the one door for belief."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.errors import BadInput

VERSION = 1
FOUND = pa.list_(pa.struct([("source", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]))
DOUBTS = pa.list_(
    pa.struct([("part", pa.string()), ("belief", pa.float32()), ("seen", pa.float32()), ("line", pa.float32())])
)
SCHEMA = pa.schema(
    [
        ("anchor", pa.string()),
        ("candidate", pa.string()),
        ("sign", pa.int8()),
        ("grade", pa.float32()),
        ("prior", pa.float32()),
        ("weight", pa.float32()),
        ("score", pa.float32()),
        ("found", FOUND),
        ("doubts", DOUBTS),
    ]
)
_NULLABLE = ("grade", "score")
_KEY = b"litotes"


def empty() -> pa.Table:
    """Evidence without a row."""
    return _stamped(SCHEMA.empty_table(), None)


def make(
    anchor: Any,
    candidate: Any,
    sign: Any,
    *,
    grade: Any = None,
    prior: Any = 1.0,
    score: Any = None,
    source: Any,
    rank: Any = None,
    seen: Any = None,
    scorer: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Evidence rows, one per (anchor, candidate), each found by one source.

    Args:
        anchor, candidate: outside ids, sequences of one length.
        sign, grade, prior, score: one value for all rows or one per row; `score` is that of `scorer`.
        source, rank, seen: the finder, its 0-based rank of the candidate, and what it saw (its own score).
        scorer: {"name", "checksum", "similarity"} of the one scorer behind `score`.
    Raises:
        ValueError: lengths differ, a value is out of its range, or scores come without a scorer.
    """
    if isinstance(anchor, str):
        raise ValueError(f"make: anchor must be a sequence of ids, got the text {anchor!r}")
    rows = len(anchor)
    values = {"anchor": anchor, "candidate": candidate, "sign": sign, "grade": grade, "prior": prior, "score": score}
    columns = {name: _broadcast(value, rows, SCHEMA.field(name).type, name) for name, value in values.items()}
    columns["weight"] = columns["prior"]
    entry = {"source": source, "rank": rank, "score": seen}
    kinds = {field.name: field.type for field in FOUND.value_type}
    parts = [_broadcast(value, rows, kinds[name], name) for name, value in entry.items()]
    structs = pa.StructArray.from_arrays(parts, fields=list(FOUND.value_type))
    columns["found"] = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), structs, type=FOUND)
    nothing = pa.array(np.zeros(rows + 1, np.int32))
    structs = pa.StructArray.from_arrays(
        [pa.array([], f.type) for f in DOUBTS.value_type], fields=list(DOUBTS.value_type)
    )
    columns["doubts"] = pa.ListArray.from_arrays(nothing, structs, type=DOUBTS)
    table = _stamped(pa.table([columns[name] for name in SCHEMA.names], SCHEMA), scorer)
    if not scorer and columns["score"].null_count < rows:
        raise ValueError("make: score needs scorer, the name and checksum of the model that scored")
    check(table)
    return table


def check(evidence: pa.Table, scored: bool = False) -> None:
    """Refuse what is no evidence of schema version 1.

    Args:
        scored: also refuse positives without a score.
    Raises:
        ValueError: columns or types differ, a null outside grade and score, a number that is NaN or infinite, a sign
            that is not -1, 0 or 1, a prior, belief or weight outside [0, 1], a weight that is not the lowest of prior
            and beliefs (the next doubt would overwrite it). The column and the first row are named.
    """
    if evidence.schema.names != SCHEMA.names or evidence.schema.types != SCHEMA.types:
        there, expected = (", ".join(f"{f.name}: {f.type}" for f in schema) for schema in (evidence.schema, SCHEMA))
        raise ValueError(
            f"this is no evidence of schema version {VERSION}: found the columns {there}; expected {expected}"
        )
    for name in SCHEMA.names:
        if name not in _NULLABLE and evidence[name].null_count:
            _refuse(evidence, name, pc.is_null(evidence[name]), "null", "a value")
    for name in ("grade", "prior", "weight", "score"):
        wild = pc.fill_null(pc.invert(pc.is_finite(evidence[name])), False)
        _refuse(evidence, name, wild, "{}", "a finite number")
    for name in ("prior", "weight"):
        outside = pc.or_(pc.less(evidence[name], 0), pc.greater(evidence[name], 1))
        _refuse(evidence, name, outside, "{}", "a number in [0, 1]")
    _refuse(
        evidence, "sign", pc.or_(pc.less(evidence["sign"], -1), pc.greater(evidence["sign"], 1)), "{}", "-1, 0 or 1"
    )
    _check_doubts(evidence)
    if scored:
        bare = pc.and_(pc.equal(evidence["sign"], 1), pc.is_null(evidence["score"]))
        _refuse(
            evidence,
            "score",
            bare,
            "a positive without a score",
            "positives scored by the scorer of the negatives: rescore first",
        )


def check_keys(evidence: pa.Table) -> None:
    """Refuse a table in which a pair (anchor, candidate) stands twice. Raises BadInput with the pair."""
    code = pair_codes(evidence)
    ascending = np.sort(code)
    if (ascending[1:] == ascending[:-1]).any():
        _, first = np.unique(code, return_index=True)
        row = int(np.setdiff1d(np.arange(len(code)), first)[0])
        pair = f"({evidence['anchor'][row].as_py()!r}, {evidence['candidate'][row].as_py()!r})"
        raise BadInput(f"the pair {pair} a second time", "each (anchor, candidate) once", line=row + 1)


def misplaced(evidence: pa.Table) -> np.ndarray:
    """Bool per row: the row must not stand behind the one before it in stored order (a pair twice included)."""
    above, below = evidence.slice(0, max(len(evidence) - 1, 0)), evidence.slice(1)
    score = [np.nan_to_num(side["score"].to_numpy(), nan=-np.inf) for side in (above, below)]  # none comes last
    sign = [side["sign"].to_numpy() for side in (above, below)]
    same = pc.equal(above["anchor"], below["anchor"]).to_numpy()
    level = same & (sign[0] == sign[1])
    wrong = np.zeros(len(evidence), bool)
    wrong[1:] = pc.greater(above["anchor"], below["anchor"]).to_numpy()
    wrong[1:] |= (same & (sign[0] < sign[1])) | (level & (score[0] < score[1]))
    rows = pa.array(np.flatnonzero(level & (score[0] == score[1])))
    tied = pc.greater_equal(above["candidate"].take(rows), below["candidate"].take(rows))
    wrong[rows.to_numpy() + 1] |= tied.to_numpy()
    return wrong


def check_order(evidence: pa.Table) -> None:
    """Refuse a table that is not in stored order. Raises BadInput with the first row that comes too late."""
    wrong = misplaced(evidence)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        pair = f"({evidence['anchor'][row].as_py()!r}, {evidence['candidate'][row].as_py()!r})"
        expected = "rows by anchor, sign (falling), score (falling) and candidate"
        raise BadInput(f"the pair {pair} behind one that comes after it", expected, line=row + 1)


def doubt(
    evidence: pa.Table, rows: Any, belief: Any, part: str, seen: Any = None, line: Any = None, *, judged: bool = False
) -> pa.Table:
    """Evidence in which `part` believes `rows` (bool, null = no) only as far as `belief`, in [0, 1].

    Adds the entry (part, belief, seen, line) to `doubts` or replaces the one of that spelling; `weight` follows.
    `belief`, `seen`, `line`: a number or one per row (NaN in `seen` and `line` = null). Rows with a grade are left
    alone unless `judged`.

    Raises:
        ValueError: a belief outside [0, 1], or not one value per row.
    """
    columns = {"rows": rows, "belief": belief, "seen": seen, "line": line}
    for name, value in columns.items():
        if isinstance(value, (np.ndarray, list)):
            columns[name] = value = pa.array(value)
        if isinstance(value, (pa.Array, pa.ChunkedArray)) and len(value) != len(evidence):
            raise ValueError(
                f"doubt: {name} must have one value per row ({len(evidence)}), got {len(value)} from {part}"
            )
    rows = pc.fill_null(columns["rows"].cast(pa.bool_()), False)
    row = pa.array(np.flatnonzero(rows if judged else pc.and_(rows, pc.is_null(evidence["grade"]))), pa.int64())
    new = {"row": row, "part": pa.repeat(pa.scalar(part), len(row))}
    for name in ("belief", "seen", "line"):
        value = columns[name]
        each = isinstance(value, (pa.Array, pa.ChunkedArray))
        value = value.take(row) if each else pa.repeat(pa.scalar(value, pa.float32()), len(row))
        new[name] = value.cast(pa.float32(), safe=False)
    each = isinstance(columns["belief"], (pa.Array, pa.ChunkedArray))
    beliefs = pc.unique(new["belief"]).to_numpy(zero_copy_only=False) if each else [belief]
    if not all(b is not None and 0 <= b <= 1 for b in beliefs):  # NaN fails too
        raise ValueError(f"doubt: belief must be in [0, 1], got {belief!r} from {part}")
    for name in ("seen", "line"):
        new[name] = pc.if_else(pc.is_nan(new[name]), None, new[name])
    old = doubt_entries(evidence)
    replaced = pc.and_(pc.equal(old["part"], part), pc.is_in(old["row"], value_set=row))
    return _with_doubts(evidence, pa.concat_tables([old.filter(pc.invert(replaced)), pa.table(new, schema=old.schema)]))


def undoubt(evidence: pa.Table, part: str) -> pa.Table:
    """Evidence without the doubts of `part`."""
    return _with_doubts(evidence, doubt_entries(evidence).filter(pc.field("part") != part))


def reason(evidence: pa.Table) -> pa.Array:
    """View: per row the part that believes it least (ties: first spelling), null where nobody doubts."""
    entries = (
        doubt_entries(evidence).sort_by([(name, "ascending") for name in ("row", "belief", "part")]).combine_chunks()
    )
    row, first = np.unique(entries["row"], return_index=True)
    found = pc.index_in(pa.array(np.arange(len(evidence))), value_set=pa.array(row))
    return entries["part"].combine_chunks().take(pa.array(first, pa.int64())).take(found)


def source(evidence: pa.Table) -> pa.Array:
    """View: per row who found the pair first, null where nobody said."""
    found = _flat(evidence["found"])
    row, first = np.unique(found["row"], return_index=True)
    place = pc.index_in(pa.array(np.arange(len(evidence))), value_set=pa.array(row))
    return found["source"].combine_chunks().take(pa.array(first, pa.int64())).take(place)


def rescore(evidence: pa.Table, scores: Any, scorer: Mapping[str, Any]) -> pa.Table:
    """Evidence whose every score, positives included, is that of `scorer`: float32, one per row (NaN = none)."""
    values = pa.array(np.asarray(scores, np.float32), from_pandas=True)
    if len(values) != len(evidence):
        raise ValueError(f"rescore: expected {len(evidence)} scores, one per row, got {len(values)}")
    columns = [values if name == "score" else evidence[name] for name in SCHEMA.names]
    made = _stamped(pa.table(columns, SCHEMA), scorer)
    check(made)
    return made


def scorer_of(evidence: pa.Table) -> dict[str, Any] | None:
    """The scorer behind `score`: {"name", "checksum", "similarity"}, or None where nothing was scored."""
    return _stamp(evidence.schema).get("scorer")


def with_scorer(evidence: pa.Table, scorer: Mapping[str, Any] | None) -> pa.Table:
    """The same rows, with this scorer named in the metadata."""
    return _stamped(evidence, scorer)


def doubt_entries(evidence: pa.Table) -> pa.Table:
    """All doubts, flat, each with the number of its row: row, part, belief, seen, line."""
    return _flat(evidence["doubts"])


def found_entries(evidence: pa.Table) -> pa.Table:
    """All findings, flat, each with the number of its row: row, source, rank, score."""
    return _flat(evidence["found"])


def pair_codes(evidence: pa.Table) -> np.ndarray:
    """int64 per row, equal where the pair (anchor, candidate) is equal; it means nothing outside this table."""
    anchor = codes(evidence["anchor"])
    candidate = codes(evidence["candidate"])
    return anchor.astype(np.int64) * (int(candidate.max(initial=0)) + 1) + candidate


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int32 per row, equal where the string is equal, in order of first appearance."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False)


def lists(row: np.ndarray, entries: list[pa.Array], rows: int, kind: pa.DataType) -> pa.ListArray:
    """A list column from entries whose `row` ascends; one Arrow array per field of the struct."""
    offsets = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32)
    structs = pa.StructArray.from_arrays(entries, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)


def lowest(prior: np.ndarray, row: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """Weight: the lowest of prior and all beliefs about a row: float32."""
    weight = prior.astype(np.float32)
    np.minimum.at(weight, row, belief)
    return weight


def _flat(column: pa.ChunkedArray) -> pa.Table:
    combined = column.combine_chunks()
    names = ["row", *(field.name for field in combined.type.value_type)]
    return pa.table([pc.list_parent_indices(combined), *combined.flatten().flatten()], names)


def _with_doubts(evidence: pa.Table, entries: pa.Table) -> pa.Table:
    """Evidence with these doubts (in a row by spelling) and weight = the lowest of prior and beliefs."""
    entries = entries.sort_by([("row", "ascending"), ("part", "ascending")])
    row = entries["row"].to_numpy()
    weight = lowest(evidence["prior"].to_numpy(), row, entries["belief"].to_numpy())
    values = [entries[field.name].combine_chunks() for field in DOUBTS.value_type]
    made = {"weight": pa.array(weight), "doubts": lists(row, values, len(evidence), DOUBTS)}
    return pa.table(
        [made.get(name, evidence[name]) for name in SCHEMA.names], SCHEMA.with_metadata(evidence.schema.metadata)
    )


def _check_doubts(evidence: pa.Table) -> None:
    entries = doubt_entries(evidence)
    belief = entries["belief"].to_numpy()
    outside = ~((belief >= 0) & (belief <= 1))  # NaN and null are outside too
    if outside.any() or entries["part"].null_count:
        first = int(np.flatnonzero(outside | entries["part"].is_null().to_numpy())[0])
        found = f"the doubt (part {entries['part'][first].as_py()!r}, belief {entries['belief'][first].as_py()})"
        row = entries["row"][first].as_py()
        raise BadInput(found, "a part and a belief in [0, 1]", line=row + 1, field="doubts")
    lowered = lowest(evidence["prior"].to_numpy(), entries["row"].to_numpy(), belief)
    other = pa.array(lowered != evidence["weight"].to_numpy())
    _refuse(evidence, "weight", other, "{}", "the lowest of prior and the beliefs in doubts")


def _stamp(schema: pa.Schema) -> dict[str, Any]:
    raw = (schema.metadata or {}).get(_KEY)
    return json.loads(raw) if raw else {}


def _stamped(table: pa.Table, scorer: Mapping[str, Any] | None) -> pa.Table:
    stamp = {"version": VERSION, "scorer": dict(scorer) if scorer else None}
    return table.replace_schema_metadata({_KEY: json.dumps(stamp, sort_keys=True)})


def _broadcast(value: Any, rows: int, kind: pa.DataType, name: str) -> pa.Array:
    if isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
    if isinstance(value, (pa.Array, np.ndarray, list, tuple)):
        if len(value) != rows:
            raise ValueError(f"make: {name} must be one value or {rows}, got {len(value)}")
        array = value if isinstance(value, pa.Array) else pa.array(value, from_pandas=True)
        return array.cast(kind, safe=not pa.types.is_floating(kind))
    return pa.repeat(pa.scalar(value, kind), rows)


def _refuse(evidence: pa.Table, column: str, bad: Any, found: str, expected: str) -> None:
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise BadInput(found.format(evidence[column][row].as_py()), expected, line=row + 1, field=column)
