"""What the formats of collections share: evidence as judgements, and a reader's result as an Exchange."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import JUDGEMENTS, Collection
from litotes.data.formats.interchange import Exchange
from litotes.data.readers.gate import ReadCollection

HOLDS = frozenset({"texts", "titles", "ids", "corpus", "positives", "grades", "bare"})


def exchange_of(read: ReadCollection) -> Exchange:
    """A collection that was read, as an Exchange."""
    return Exchange(read.collection, None, read.bad, read.notes)


def judged(exchange: Exchange, split: str) -> tuple[Collection, Counter[str]]:
    """The collection to write, and what a collection cannot say.

    Without evidence, the collection as it is. With evidence, `split` gains a judgement for every believed positive
    (its grade, else 1) and for every other pair that has a grade; what the collection says of a pair already stays. All
    else is counted: negatives that nobody judged, doubts, scores, finders.

    Raises:
        ValueError: there are no texts.
    """
    lost: Counter[str] = Counter()
    collection, table = exchange.collection, exchange.evidence
    if collection is None:
        raise ValueError(
            "convert: the target holds texts and the evidence has ids only: give the collection they belong to"
        )
    if table is None:
        return collection, lost
    sign, weight, grade = (table[name].to_numpy() for name in ("sign", "weight", "grade"))
    unjudged = np.isnan(grade)
    lost["negatives that nobody judged"] += int((unjudged & (sign < 0)).sum())
    lost["pairs of sign 0 (nothing is known of them)"] += int((unjudged & (sign == 0)).sum())
    lost["doubted positives (weight 0)"] += int((unjudged & (sign > 0) & (weight == 0)).sum())
    kept = ~unjudged | ((sign > 0) & (weight > 0))
    table = table.filter(pa.array(kept))
    lost["scores"] += len(table) - table["score"].null_count
    lost["weights between 0 and 1"] += int((table["weight"].to_numpy() < 1).sum())
    lost["pairs with reasons for doubt"] += int((pc.list_value_length(table["doubts"]).to_numpy() > 0).sum())
    lost["pairs with sources"] += int((pc.list_value_length(table["found"]).to_numpy() > 0).sum())
    signed = pc.if_else(pc.greater(table["sign"], 0), 1.0, 0.0)
    columns = [table["anchor"], table["candidate"], pc.coalesce(table["grade"], signed.cast(pa.float32()))]
    made = pa.table(columns, schema=JUDGEMENTS)
    lost["positives whose grade is not above 0"] += int(
        ((table["sign"].to_numpy() > 0) & (made["grade"].to_numpy() <= 0)).sum()
    )
    if split in collection.qrels:
        made = _union(collection, collection.qrels[split].select(JUDGEMENTS.names), made, lost)
    return collection.with_qrels({**collection.qrels, split: made}), +lost


def _union(collection: Collection, held: pa.Table, more: pa.Table, lost: Counter[str]) -> pa.Table:
    keys = [
        collection.query_rows(table["query"]).astype(np.int64) << 32 | collection.document_rows(table["document"])
        for table in (held, more)
    ]
    place = {key: row for row, key in enumerate(keys[0].tolist())}
    there = np.array([place.get(key, -1) for key in keys[1].tolist()], np.int64)
    old = held["grade"].to_numpy()[there[there >= 0]]
    lost["judgements that the collection has otherwise"] += int((old != more["grade"].to_numpy()[there >= 0]).sum())
    return pa.concat_tables([held, more.filter(pa.array(there < 0))])
