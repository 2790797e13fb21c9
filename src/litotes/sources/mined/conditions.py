"""What a ranking source may find: other groups than the query's, a window of time, a part of the corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.errors import BadInput
from litotes.search.mask import Mask

_DAY = 86400.0


class Conditional(Protocol):
    """What a ranking source says about the documents it may find.

    apart: a column of queries and corpus: documents that share its value with the query are not found.
    time: a column of both that holds numbers or dates (ISO 8601; counted in days).
    before: only documents at least so much earlier than the query, time <= time of the query - before; negative = up to
        so much later. after: only documents at least so much later. -30 and 0 make a window: after=-30, before=0.
    only: "column=value": only documents with this value.
    """

    @property
    def apart(self) -> str | None: ...

    @property
    def time(self) -> str | None: ...

    @property
    def before(self) -> float | None: ...

    @property
    def after(self) -> float | None: ...

    @property
    def only(self) -> str | None: ...


def check_conditions(part: Conditional) -> None:
    """Refuse conditions that say nothing. Raises ValueError naming the part and the argument."""
    owner = type(part).__name__
    for name in ("apart", "time"):
        value = getattr(part, name)
        if value is not None and not (isinstance(value, str) and value):
            raise ValueError(f"{owner}: {name} must be the name of a column, or None, got {value!r}")
    for name in ("before", "after"):
        value = getattr(part, name)
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"{owner}: {name} must be a finite number, or None, got {value!r}")
    if (part.time is None) != (part.before is None and part.after is None):
        got = f"time={part.time!r}, before={part.before!r}, after={part.after!r}"
        raise ValueError(f"{owner}: time needs before or after, and they need time, got {got}")
    if part.before is not None and part.after is not None and part.after > -part.before:
        got = f"before={part.before!r}, after={part.after!r}"
        raise ValueError(f"{owner}: before and after must leave a window, after <= -before, got {got}")
    if part.only is not None and not (isinstance(part.only, str) and part.only.partition("=")[0] and "=" in part.only):
        raise ValueError(f"{owner}: only must be 'column=value', or None, got {part.only!r}")


def masks(part: Conditional, collection: Collection) -> Callable[[Anchors], Mask]:
    """Reads the columns once; the callable gives the mask of a slice of anchors, their own positives excluded.

    A query or document without a value (null) in `apart` is in no group. A document without a time is never found once
    `time` is asked for, nor is any by a query without one; a document without a value in the column of `only` neither.

    Raises:
        ValueError: a column is not there (those that are there are named), or no document has the value of `only`.
        BadInput: a value of `time` is neither a number nor a date (table, row and column are named).
    """
    owner, documents = type(part).__name__, len(collection.corpus)
    allowed = groups = times = None
    if part.apart is not None:
        both = [column_of(owner, "apart", part.apart, collection, side) for side in ("queries", "corpus")]
        joined = pa.concat_arrays([_texts(column) for column in both])
        codes = joined.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        groups = np.split(codes, [len(collection.queries)])
    if part.time is not None:
        both = [column_of(owner, "time", part.time, collection, side) for side in ("queries", "corpus")]
        of_query, of_document = (
            clock(column, f"{collection.name}/{side}", part.time)
            for column, side in zip(both, ("queries", "corpus"), strict=True)
        )
        latest = np.full(len(of_query), np.inf) if part.before is None else of_query - part.before
        earliest = np.full(len(of_query), -np.inf) if part.after is None else of_query + part.after
        times = of_document, np.where(np.isnan(of_query), np.nan, earliest), latest
    if part.only is not None:
        name, _, value = part.only.partition("=")
        texts = _texts(column_of(owner, "only", name, collection, "corpus"))
        allowed = pc.fill_null(pc.equal(texts, value), False).to_numpy(zero_copy_only=False)
        if not allowed.any():
            seen = pc.value_counts(texts.drop_null()).to_pylist()[:5]
            there = ", ".join(repr(one["values"]) for one in seen) or "nothing"
            raise ValueError(f"{owner}: only={part.only!r}: no document has this value; there are {there}")

    def mask(anchors: Anchors) -> Mask:
        rows = anchors.query
        return Mask.of(
            len(anchors),
            documents,
            exclude=(anchors.excluded.offsets, anchors.excluded.items),
            allowed=allowed,
            groups=None if groups is None else (groups[0][rows], groups[1]),
            times=None if times is None else (times[0], times[1][rows], times[2][rows]),
        )

    return mask


def column_of(owner: str, argument: str, name: str, collection: Collection, side: str) -> Any:
    """A column of the queries or the corpus. Raises ValueError naming the part and the columns that are there."""
    table = getattr(collection, side)
    if name not in table.column_names:
        there = ", ".join(table.column_names)
        raise ValueError(f"{owner}: {argument} names {name!r}; the columns of {collection.name}/{side} are {there}")
    return table[name]


def _texts(column: Any) -> Any:
    return column.cast(pa.string()).combine_chunks()


def clock(column: Any, table: str, name: str) -> np.ndarray:
    """Numbers as they are, days and times in days since 1970 (UTC), null as NaN: float64."""
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _filled(column.cast(pa.timestamp("us")).cast(pa.int64())) / (_DAY * 1e6)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _filled(column)
    values = column.cast(pa.string()).to_pylist()
    return np.array([np.nan if one is None else _read(one, table, row, name) for row, one in enumerate(values, 1)])


def _filled(column: Any) -> np.ndarray:
    return np.array(column.cast(pa.float64()).fill_null(math.nan).to_numpy(), np.float64)


def _read(text: str, table: str, row: int, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BadInput(repr(text), "a number or a date as in 2024-05-31", file=table, line=row, field=name) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() / _DAY
