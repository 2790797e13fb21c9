"""TrainingRows: what one training example is made of, before it meets others in a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from litotes.assemble import Lookup
from litotes.data.anchors import Csr, duplicate_groups
from litotes.data.collection import Collection
from litotes.evidence import Evidence, select


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows of a training set, over all evidence of a collection.

    With per="anchor" (the default) there is one row per anchor, and every epoch draws one of its positives, evenly:
    an anchor with a hundred positives does not outweigh one with a single one. With per="pair" there is one row per
    (anchor, positive), with per="triple" one per (anchor, positive, negative): then a batcher can choose among the
    pairs of an anchor by their gaps. A draw depends on seed, epoch and anchor id only.

    A row has up to n believed negatives, those of `litotes.evidence.select`. A row with fewer, even with none, stays
    and is counted: its field are the other candidates of the batch. An anchor without a believed positive has no row,
    nor has a pair without a negative if per="triple".

    `collection`: where the texts come from. `lookup`: all evidence, doubted rows too, for the pairs that meet.
    `anchor` int32 [R]: row of the query. `positives`, `negatives`: rows of documents, a list per training row;
    negatives best first. `anchor_code` int64 [Q], `candidate_code` int64 [N]: codes of the lookup, -1 where evidence
    is silent.
    `counts`: anchors, rows, positives, negatives, short (fewer than n), bare (no negatives), without_positive.
    """

    collection: Collection
    lookup: Lookup
    anchor: np.ndarray
    positives: Csr
    negatives: Csr
    anchor_code: np.ndarray
    candidate_code: np.ndarray
    n: int
    seed: int
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        evidence: pa.Table | Evidence,
        collection: Collection,
        *,
        n: int = 1,
        how: Literal["top", "random"] = "top",
        per: Literal["anchor", "pair", "triple"] = "anchor",
        seed: int = 0,
    ) -> TrainingRows:
        """Rows from evidence: give all of it, not a selection, or doubts about pairs that meet by chance are lost.

        Args:
            evidence: a table, or evidence on disk, which is streamed twice.
            n: negatives per row, >= 0. how: which ones ("top": highest scores, "random": an even draw by seed).
            per: what a row is, see above.
            seed: of the draws.
        Raises:
            ValueError: an argument is out of range, or no anchor has a believed positive.
            BadInput: evidence names an id that the collection does not have.
        """
        if per not in ("anchor", "pair", "triple"):
            raise ValueError(f"TrainingRows: per must be 'anchor', 'pair' or 'triple', got {per!r}")
        if not (isinstance(n, int) and n >= 0):
            raise ValueError(f"TrainingRows: n must be a whole number >= 0, got {n!r}")
        kept, known, asked = [], pa.array([], pa.string()), pa.array([], pa.string())
        for table in _tables(evidence):
            kept.append(select(table, n, how, seed).select(["anchor", "candidate", "sign", "weight"]))
            known = pa.concat_arrays([known, table["candidate"].combine_chunks()]).unique()
            asked = pa.concat_arrays([asked, table["anchor"].combine_chunks()]).unique()

        anchor_code = np.full(len(collection.queries), -1, np.int64)
        candidate_code = np.full(len(collection.corpus), -1, np.int64)
        queries, documents = collection.query_rows(asked), collection.document_rows(known)
        same_anchors = (asked, duplicate_groups(collection.queries["text"].take(pa.array(queries)).to_pylist()))
        texts = collection.document_texts()
        same = (known, duplicate_groups([texts[row] for row in documents]))
        lookup = Lookup.of(_tables(evidence), same=same, same_anchors=same_anchors)
        anchor_code[queries] = lookup.anchor_codes(asked)
        candidate_code[documents] = lookup.candidate_codes(known)

        anchor, positives, negatives, counts = _rows(kept, collection, n, len(asked), per)
        return cls(collection, lookup, anchor, positives, negatives, anchor_code, candidate_code, n, seed, counts)

    def __len__(self) -> int:
        return len(self.anchor)

    def renewed(self, evidence: pa.Table | Evidence, how: Literal["top", "random"] = "top") -> TrainingRows:
        """The same rows in the same order, with the same positives, under other evidence: what it believes of
        negatives, and of the pairs that meet by chance. A row of whose anchor it says nothing has no negatives.

        Raises:
            ValueError, BadInput: as `of`.
        """
        made = TrainingRows.of(evidence, self.collection, n=self.n, how=how, seed=self.seed)
        place = np.full(len(self.collection.queries), len(made), np.int64)
        place[made.anchor] = np.arange(len(made))
        there = made.negatives
        sizes = np.r_[np.diff(there.offsets), 0][place[self.anchor]]
        starts = np.r_[there.offsets[:-1], 0][place[self.anchor]]
        offsets = np.r_[0, np.cumsum(sizes)].astype(np.int64)
        taken = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        negatives = Csr(offsets, there.items[taken])
        changed = {"negatives": len(taken), "short": int((sizes < self.n).sum()), "bare": int((sizes == 0).sum())}
        return replace(
            made,
            anchor=self.anchor,
            positives=self.positives,
            negatives=negatives,
            counts={**self.counts, **changed},
        )

    def gaps(self) -> np.ndarray:
        """What a teacher sees between the first positive and the first negative of every row: float32 [R], the scores
        of evidence, s_p - s_n. NaN where one of them has no score or the row no negative.
        """
        code = self.anchor_code[self.anchor]
        has = np.diff(self.negatives.offsets) > 0
        negative = self.candidate_code[self.negatives.items[np.where(has, self.negatives.offsets[:-1], 0)]]
        positive = self.candidate_code[self.positives.items[self.positives.offsets[:-1]]]
        return self.lookup.scores(code, positive) - self.lookup.scores(code, np.where(has, negative, -1))

    def draw(self, row: int, epoch: int) -> int:
        """The document that is the positive of a row in an epoch."""
        choices = self.positives.row(row)
        if len(choices) == 1:
            return int(choices[0])
        name = self.collection.queries["id"][int(self.anchor[row])].as_py()
        digest = hashlib.blake2b(f"{self.seed}\0{epoch}\0{name}".encode(), digest_size=8).digest()
        return int(choices[int.from_bytes(digest, "little") % len(choices)])

    def dataset(self, rows: np.ndarray | None = None) -> Any:
        """A `datasets.Dataset` with one column, `row`, for a trainer whose collator is an `EvidenceCollator` of these
        rows. `rows`: some of them (one part to train on, another to evaluate on); None = all."""
        from datasets import Dataset

        chosen = np.arange(len(self)) if rows is None else np.asarray(rows)
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise ValueError(
                f"TrainingRows.dataset: rows must be in [0, {len(self) - 1}], got {chosen.min()}..{chosen.max()}"
            )
        return Dataset.from_dict({"row": chosen.astype(np.int64)})

    def checksum(self) -> str:
        """SHA-256 of all that a training run sees of rows, evidence and texts: hexadecimal."""
        digest = hashlib.sha256(self.collection.fingerprint().encode())
        digest.update(f"{self.n} {self.seed}".encode())
        lookup = self.lookup
        arrays = [
            self.anchor,
            self.positives.offsets,
            self.positives.items,
            self.negatives.offsets,
            self.negatives.items,
        ]
        arrays += [lookup.anchor_code, lookup.candidate_code, lookup.offsets, lookup.candidate, lookup.sign]
        arrays += [lookup.weight, lookup.score, self.anchor_code, self.candidate_code]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def query_texts(self) -> list[str]:
        """Text of every query of the collection."""
        return self.collection.query_texts()

    @cached_property
    def document_texts(self) -> list[str]:
        """Text of every document of the collection."""
        return self.collection.document_texts()


def _tables(evidence: pa.Table | Evidence) -> Iterable[pa.Table]:
    return [evidence] if isinstance(evidence, pa.Table) else evidence.tables()


def _rows(
    kept: list[pa.Table], collection: Collection, n: int, anchors: int, per: str
) -> tuple[np.ndarray, Csr, Csr, dict[str, int]]:
    """Training rows from selected evidence, in its order (by anchor, positives first, best negatives first)."""
    chosen = pa.concat_tables(kept).combine_chunks() if kept else None
    query = np.empty(0, np.int32) if chosen is None else collection.query_rows(chosen["anchor"])
    document = np.empty(0, np.int32) if chosen is None else collection.document_rows(chosen["candidate"])
    sign = np.empty(0, np.int8) if chosen is None else chosen["sign"].to_numpy()
    weight = np.empty(0, np.float32) if chosen is None else chosen["weight"].to_numpy()

    positive, negative = (sign > 0) & (weight > 0), sign < 0
    order = np.unique(query[positive], return_index=True)  # rows ascend by place in evidence, not by row of the query
    anchor = order[0][np.argsort(order[1])]
    if not len(anchor):
        raise ValueError(f"TrainingRows: none of the {anchors} anchors has a believed positive")
    place = np.full(len(collection.queries), -1, np.int64)
    place[anchor] = np.arange(len(anchor))
    positives = _lists(place[query[positive]], document[positive], len(anchor))
    mine = negative & (place[query] >= 0)
    negatives = _lists(place[query[mine]], document[mine], len(anchor))
    if per != "anchor":
        source = positives.rows()
        spread = np.concatenate([negatives.row(i) for i in source]) if len(source) else negatives.items
        sizes = np.diff(negatives.offsets)[source]
        negatives = Csr(np.r_[0, np.cumsum(sizes)].astype(np.int64), spread)
        positives, anchor = Csr(np.arange(len(source) + 1), positives.items), anchor[source]
    held, without = np.diff(negatives.offsets), anchors - len(np.unique(anchor))
    if per == "triple":
        source = negatives.rows()
        if not len(source):
            raise ValueError("TrainingRows: per='triple' needs negatives, and no believed pair has one")
        single = np.arange(len(source) + 1)
        negatives = Csr(single, negatives.items)
        positives, anchor = Csr(single, positives.items[source]), anchor[source]
    counts = {
        "anchors": anchors,
        "rows": len(anchor),
        "positives": len(positives.items),
        "negatives": len(negatives.items),
        "short": int((held < n).sum()),
        "bare": int((held == 0).sum()),
        "without_positive": without,
    }
    return anchor.astype(np.int32), positives, negatives, counts


def _lists(row: np.ndarray, item: np.ndarray, rows: int) -> Csr:
    """Lists that keep the order of their items."""
    order = np.argsort(row, kind="stable")
    return Csr(np.searchsorted(row[order], np.arange(rows + 1)).astype(np.int64), item[order].astype(np.int32))
