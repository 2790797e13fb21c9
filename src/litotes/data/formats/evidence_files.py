"""litotes' own evidence: one Parquet file, or a folder of parts."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from litotes.atomic import atomic_path
from litotes.data.collection import Collection
from litotes.data.formats.choose import evidence_of
from litotes.data.formats.interchange import ASPECTS, Exchange, Format, Written
from litotes.data.writers.folder import fresh_folder
from litotes.evidence import Evidence

HOLDS = frozenset(ASPECTS) - {"texts", "titles", "corpus"}

WITH_TEXTS = "(write the collection too)"


def read(path: str | Path, *, collection: Collection | None = None) -> Exchange:
    """Evidence as it lies on disk. `collection`: the texts that its ids name; it must know all of them."""
    made = Evidence.open(path)
    fingerprint = made.fingerprints.get("collection")
    notes: Counter[str] = Counter()
    if collection is not None and fingerprint is not None and fingerprint != collection.fingerprint():
        notes["collection that is not the one the evidence was made from (fingerprints differ)"] += 1
    return Exchange(collection, made.read(), notes=notes, lent=collection, fingerprints=made.fingerprints)


def write(exchange: Exchange, path: str | Path, *, split: str = "train") -> Written:
    """All rows, doubted ones too. Evidence holds ids only: texts that came from the source are counted as lost.

    A path that ends in `.parquet` is one file, any other a folder. Without evidence, the judgements of `split`.
    """
    path, lost = Path(path), Counter[str]()
    table = evidence_of(exchange, split, lost)
    held, lent = exchange.collection, exchange.lent
    prints = dict(exchange.fingerprints)
    if held is not None:
        new_queries = len(held.queries) - (len(lent.queries) if lent is not None else 0)
        new_documents = len(held.corpus) - (len(lent.corpus) if lent is not None else 0)
        lost[f"texts of queries {WITH_TEXTS}"] += new_queries
        lost[f"texts of documents {WITH_TEXTS}"] += new_documents
        if not new_queries + new_documents:
            prints.setdefault("collection", held.fingerprint())
    if path.suffix == ".parquet":
        with atomic_path(path) as temporary:
            made = temporary.with_name(temporary.name + ".parquet")  # the ending says that it is one file
            try:
                os.replace(Evidence.of(made, table, fingerprints=prints).path, temporary)
            finally:
                made.unlink(missing_ok=True)
    else:
        with fresh_folder(path) as place:
            Evidence.of(place, table, fingerprints=prints)
    return Written(len(table), +lost, files=(path,))


FORMAT = Format(
    "evidence", "litotes evidence: one .parquet file or a folder of parts", HOLDS, (".parquet", "/"), read, write
)
