"""SameGroup: a document of the positive's group, or of the query's own, is no safe negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.evidence.table import codes
from litotes.spelling import spell
from litotes.vetting.lines import pairs_of


@dataclass(frozen=True)
class SameGroup:
    """Take the weight away from negatives that share a group with a positive of their anchor, or with the query.

    Passages of one page, products of one listing, answers of one thread: what lies beside the known answer often
    answers too, and no score says so. The group of a document is its value in the corpus column `column`; that of a
    query its value in the same column of the queries, where they have one. Equality is exact. A document, positive or
    query without a group (null) gives no ground. Rows with a grade are left alone.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`, without numbers.
    Cost: O(rows log rows). All rows of an anchor must come in one call.

    Args:
        column: name of the column.
    Raises:
        ValueError: the name is empty, there is no collection, or its corpus has no such column.
    Source: none; the rule of `same document` masks, as in retrieval training with cross-rank negatives.
    """

    column: str = "group"

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError(f"SameGroup: column must be the name of a column, got {self.column!r}")

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        check(evidence)
        query, document = pairs_of(evidence, collection, "SameGroup")
        assert collection is not None
        if self.column not in collection.corpus.column_names:
            raise ValueError(
                f"SameGroup: the corpus of {collection.name!r} has no column {self.column!r}; "
                f"it has {collection.corpus.column_names}"
            )
        groups = collection.corpus[self.column].take(pa.array(document)).cast(pa.string()).combine_chunks()
        nobody = pa.nulls(len(evidence), pa.string())
        of_query = nobody
        if self.column in collection.queries.column_names:
            of_query = collection.queries[self.column].take(pa.array(query)).cast(pa.string()).combine_chunks()
        both = pa.concat_arrays([groups, of_query]).dictionary_encode().indices.fill_null(-1)
        group, wanted = np.split(both.to_numpy(zero_copy_only=False).astype(np.int64), 2)

        anchor = codes(evidence["anchor"]).astype(np.int64)
        sign = evidence["sign"].to_numpy()
        pair = anchor * (int(group.max(initial=0)) + 1) + group
        positives = pair[(sign > 0) & (group >= 0)]
        shared = (group >= 0) & (np.isin(pair, positives) | (group == wanted))
        return doubt(evidence, pa.array(shared & (sign < 0)), belief=0.0, part=str(self))

    def __str__(self) -> str:
        return spell(self)
