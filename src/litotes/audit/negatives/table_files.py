"""Sets that are no rows of texts: evidence, rankings and collections, read pair by pair."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from litotes import evidence as ev
from litotes.atomic import atomic_path
from litotes.audit.negatives.example_set import Gathering
from litotes.data.collection import JUDGEMENTS, Collection
from litotes.data.formats import Exchange, format_named
from litotes.data.formats.choose import evidence_of
from litotes.data.writers.folder import fresh_folder

PART = "audit"
_AT_ONCE = 1 << 16


class TableFiles:
    """A set whose format's reader makes pairs: one pair is one row here.

    Judged negatives (a grade) are people's word: they are reported, and only copies are taken out of a repaired set.

    Args:
        path: what is audited.
        name: its format.
        options: of the format's reader.
        collection: the texts that ids name.
        split: whose judgements are read, where there is no evidence.
    Raises:
        ValueError: there are no texts: the ids need a collection.
    """

    def __init__(self, path: Path, name: str, options: dict[str, Any], collection: Collection | None, split: str):
        self.path, self.name, self.split = path, name, split
        reads = format_named(name, "reader")
        known = {"collection": collection, "split": split, **options}
        given = {key: value for key, value in known.items() if key in reads.options("reader")}
        assert reads.reader is not None
        self.exchange: Exchange = reads.reader(path, **given)
        if self.exchange.collection is None:
            self.exchange = replace(self.exchange, collection=collection)
        if self.exchange.collection is None:
            raise ValueError(f"audit: {name} holds ids only: give the collection whose texts they name")
        self.lost: Counter[str] = Counter()
        self.table = evidence_of(self.exchange, split, self.lost)

    def read(self, gathering: Gathering) -> None:
        """Give every pair to the gathering, as rows of one slot each."""
        collection = self.exchange.collection
        assert collection is not None
        documents = [gathering.documents.put(text) for text in collection.document_texts()]
        asked, named = collection.query_rows(self.table["anchor"]), collection.document_rows(self.table["candidate"])
        texts = collection.queries["text"]
        number = {row: gathering.queries.put(texts[row].as_py()) for row in np.unique(asked).tolist()}
        sign = self.table["sign"].to_numpy()
        judged = ~self.table["grade"].is_null().to_numpy()
        # a negative that is believed no more is no negative of this set
        sign = np.where((sign < 0) & (self.table["weight"].to_numpy() == 0), 0, sign)
        for at in range(len(self.table)):
            slots = [(documents[named[at]], int(sign[at]), "candidate", bool(judged[at]))]
            gathering.row(at, self.path, None, number[int(asked[at])], slots)

    def check_target(self, target: Path) -> None:
        """Refuse a place for the repaired set that cannot hold its form. Raises ValueError."""
        if target.resolve() == self.path.resolve():
            raise ValueError(f"the repaired set needs another place than {self.path}")
        if self.path.is_dir() != (target.suffix == "") or (
            not self.path.is_dir() and target.suffix != self.path.suffix
        ):
            kind = "a folder" if self.path.is_dir() else f"a file that ends in {self.path.suffix}"
            raise ValueError(f"the repaired set must be {kind}, as {self.path.name} is, got {target}")

    def copy(self, target: Path) -> None:
        """The set as it is, byte for byte."""
        if self.path.is_dir():
            with fresh_folder(target) as folder:
                shutil.copytree(self.path, folder, dirs_exist_ok=True)
            return
        with atomic_path(target) as temporary:
            shutil.copyfile(self.path, temporary)

    def write(self, target: Path, out: np.ndarray) -> None:
        """The set without the pairs `out` (bool per pair): evidence doubts them, every other form leaves them away."""
        writes = format_named(self.name, "writer")
        assert writes.writer is not None
        if self.name == "evidence":
            table = ev.doubt(self.table, pa.array(out), belief=0.0, part=PART, judged=True)
            exchange = replace(self.exchange, evidence=table, lent=self.exchange.collection)
        elif self.exchange.evidence is not None:
            exchange = replace(self.exchange, evidence=self.exchange.evidence.filter(pa.array(~out)))
        else:
            collection = self.exchange.collection
            assert collection is not None
            judgements = collection.qrels[self.split].filter(pa.array(~out)).select(JUDGEMENTS.names)
            made = collection.with_qrels({**collection.qrels, self.split: judgements})
            exchange = replace(self.exchange, collection=made)
        options = {"split": self.split} if "split" in writes.options("writer") else {}
        writes.writer(exchange, target, **options)
