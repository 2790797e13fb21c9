"""What a mining run was made from, row by row, and what is different about the input now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from litotes.atomic import atomic_path
from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.data.texts import Texts
from litotes.search.space import Space

INPUT = "_input"  # readers of Parquet folders pass over names that begin so
_BYTES = 16
_ROWS = pa.schema([("id", pa.string()), ("digest", pa.binary(_BYTES))])
_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Record:
    """Documents and anchors of a run, each with a digest of all that a search reads of it.

    Of a document that is its vector, of an anchor its vector and the ids it may not find; without vectors, the texts.
    So two rows of equal digest give equal scores, whatever else about the collection has changed. Order is that of the
    corpus, and of the anchors.
    """

    documents: pa.Table
    anchors: pa.Table

    @classmethod
    def of(cls, collection: Collection, anchors: Anchors, space: Space | None) -> Record:
        """The record of a run. Cost: one pass over all vectors."""
        if space is None:
            texts = Texts(collection.queries["text"])
            asked = _joined(_digest(texts[int(row)].encode("utf-8", "surrogatepass")) for row in anchors.query)
            told = _joined(
                _digest(text.encode("utf-8", "surrogatepass")) for text in Texts(collection.document_column())
            )
        else:
            asked = _joined(_digest(space.queries[row].tobytes()) for row in anchors.query)
            told = _joined(map(_digest, _rows_of(space.corpus)))
        return cls(
            _table(collection.corpus["id"], told),
            _table(collection.queries["id"].take(pa.array(anchors.query)), _with_excluded(asked, anchors)),
        )

    def write(self, folder: Path) -> None:
        """Keep the record with the evidence in `folder`; each table is whole or absent."""
        for name, table in (("documents", self.documents), ("anchors", self.anchors)):
            with atomic_path(folder / INPUT / f"{name}.parquet") as temporary:
                pq.write_table(table, temporary, compression="zstd", use_dictionary=False)

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The record in `folder`, None where there is none."""
        files = [folder / INPUT / f"{name}.parquet" for name in ("documents", "anchors")]
        if not all(file.exists() for file in files):
            return None
        return cls(*(pq.read_table(file, partitioning=None).cast(_ROWS) for file in files))


@dataclass(frozen=True, eq=False)
class Changed:
    """How the input of a run differs from that of an earlier one.

    `same` bool [N]: documents that are what they were. `kept` bool [Q]: queries that were anchors and read as they did.
    `in_order`: the same documents stand in the same order, so that ties fall as they fell.
    `counts`: documents and anchors that are new, changed or gone.
    """

    same: np.ndarray
    kept: np.ndarray
    in_order: bool
    counts: dict[str, int]

    @classmethod
    def between(cls, old: Record, new: Record, anchors: Anchors) -> Changed:
        """The difference of two records, the newer one of these anchors."""
        before, same = _matched(old.documents, new.documents)
        was, unchanged = _matched(old.anchors, new.anchors)
        kept = np.zeros(len(anchors.collection.queries), bool)
        kept[anchors.query[unchanged]] = True
        counts = {}
        for what, place, alike, table in (
            ("documents", before, same, old.documents),
            ("anchors", was, unchanged, old.anchors),
        ):
            there = place >= 0
            counts[f"{what} added"] = int((~there).sum())
            counts[f"{what} changed"] = int((there & ~alike).sum())
            counts[f"{what} deleted"] = len(table) - int(there.sum())
        return cls(same, kept, bool((np.diff(before[same]) > 0).all()), counts)


def _matched(old: pa.Table, new: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """For each new row its old row by id (-1 = none), and whether the digests are equal."""
    place = pc.index_in(new["id"], value_set=old["id"].combine_chunks())
    before = pc.fill_null(place, -1).to_numpy().astype(np.int64)
    same = pc.fill_null(pc.equal(new["digest"], old["digest"].take(place)), False)
    return before, same.to_numpy()


def _with_excluded(digests: bytes, anchors: Anchors) -> bytes:
    """Digests of anchors, each extended by the ids that the anchor may not find, in the order of ids."""
    ids = anchors.collection.corpus["id"]
    made = []
    for low in range(0, len(anchors), _AT_ONCE):
        part = anchors.excluded.slice(low, min(low + _AT_ONCE, len(anchors)))
        names = ids.take(pa.array(part.items)).to_pylist()
        bounds = part.offsets.tolist()
        for i, (first, last) in enumerate(zip(bounds[:-1], bounds[1:], strict=True), low):
            listed = "\0".join(sorted(names[first:last])).encode()
            made.append(_digest(digests[i * _BYTES : (i + 1) * _BYTES] + listed))
    return b"".join(made)


def _rows_of(vectors: np.ndarray) -> Iterable[bytes]:
    for low in range(0, len(vectors), _AT_ONCE):
        yield from map(bytes, np.ascontiguousarray(vectors[low : low + _AT_ONCE]))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_BYTES).digest()


def _joined(digests: Iterable[bytes]) -> bytes:
    return b"".join(digests)


def _table(ids: pa.ChunkedArray, digests: bytes) -> pa.Table:
    column = pa.Array.from_buffers(pa.binary(_BYTES), len(ids), [None, pa.py_buffer(digests)])
    return pa.table([ids, column], schema=_ROWS)
