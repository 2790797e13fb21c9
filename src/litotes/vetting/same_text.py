"""SameText: a copy of a positive, or of the query itself, is no negative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.anchors import normalise
from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.evidence.table import codes
from litotes.spelling import spell
from litotes.vetting.lines import check_collection, pairs_of


@dataclass(frozen=True)
class SameText:
    """Take the weight away from negatives whose text is that of a positive of their anchor, or of the query.

    "The same" means equal after `normalise` (NFKC, case folded, white space collapsed), or to the letter if `exact`. A
    document with a title is read as `title + " " + text`. Mining excludes copies of positives already; evidence from
    elsewhere has not been through it, and copies of the query nobody excludes: in symmetric tasks they are what a model
    ranks first. Rows with a grade are left alone.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`, without numbers.
    Cost: each text of the table is normalised once. All rows of an anchor must come in one call.

    Args:
        exact: compare the texts as they stand.
    Raises:
        ValueError: there is no collection.
    Source: none.
    """

    exact: bool = False

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        return self.prepare(collection)(evidence)

    def prepare(self, collection: Collection | None, cache: str | Path | None = None) -> Callable[[pa.Table], pa.Table]:
        """The same vetter over one collection, for many tables. `cache` is not used."""
        check_collection(collection, "SameText")
        assert collection is not None
        documents, queries = collection.document_texts(), collection.query_texts()

        def vet(evidence: pa.Table) -> pa.Table:
            check(evidence)
            query, document = pairs_of(evidence, collection, "SameText")
            known: dict[str, int] = {}
            text, asked = (_codes(r, t, known, self.exact) for r, t in ((document, documents), (query, queries)))
            anchor = codes(evidence["anchor"]).astype(np.int64)
            sign = evidence["sign"].to_numpy()
            pair = anchor * (len(known) + 1) + text
            copies = np.isin(pair, pair[sign > 0]) | (text == asked)
            return doubt(evidence, pa.array(copies & (sign < 0)), belief=0.0, part=str(self))

        return vet

    def __str__(self) -> str:
        return spell(self)


def _codes(rows: np.ndarray, texts: list[str], known: dict[str, int], exact: bool) -> np.ndarray:
    """int64 per row, equal where the texts are the same; new texts are added to `known`."""
    unique, place = np.unique(rows, return_inverse=True)
    numbers = [known.setdefault(texts[row] if exact else normalise(texts[row]), len(known)) for row in unique]
    return np.array(numbers, np.int64)[place]
