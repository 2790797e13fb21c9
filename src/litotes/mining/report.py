"""What a mining run says about itself, and why a negative is believed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.search.report import SearchReport


@dataclass(frozen=True)
class Mining:
    """The outcome of `mine`.

    `evidence`: Evidence on disk, or a table where no place was given. `anchors`: all of the split, of which `resumed`
    were there already. `rows`, `positives`, `judged` (negatives that people judged), `candidates` (negatives that were
    found and not judged). `short`: source -> anchors that got fewer candidates from it than asked. `duplicates`:
    excluded documents that are copies of positives. `doubted`: spelling of a vetter -> rows it doubts. All counts
    include what was resumed; of a finished `.parquet` file `short` is no longer known, and empty. `seconds`: step
    (encode, search, score, vet, write) -> time spent in this run; search runs beside the last three.
    `memory`: bytes that imports and model took (`imports_and_model`), the `peak` of the process and its descendants
    (RssAnon + RssShmem, sampled) and the `budget` if there was one; empty where nobody can say.
    `changed`: of an update, how many documents and anchors were added, changed or deleted, how many anchors were
    searched anew or extended, and which sources were run again in full; else empty.
    Of this run alone, by the spelling of a source: `searches`, how exact searches were proved (a source that two
    mixtures share is told once), and `notes`, what is to be said about approximate ones (kind of index, measured
    recall). Neither is written, for both depend on what is resumed and on the machine.
    """

    evidence: Evidence | pa.Table
    anchors: int
    resumed: int = 0
    rows: int = 0
    positives: int = 0
    judged: int = 0
    candidates: int = 0
    duplicates: int = 0
    short: Mapping[str, int] = field(default_factory=dict)
    doubted: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)
    searches: Mapping[str, SearchReport] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One candidate of an anchor, for a person to read.

    `verdict`: "positive", "judged negative", "believed", "doubted" (weight 0) or "half believed" (between 0 and 1).
    `found`: one sentence part per finder; `doubts`: one per objection.
    """

    candidate: str
    text: str
    verdict: str
    score: float | None
    weight: float
    found: tuple[str, ...]
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        score = "no score" if self.score is None else f"{self.score:.4f}"
        head = f"{self.verdict:<15} {score:>9}  {self.candidate}  {self.text}"
        found = [f"    found by {finder}" for finder in self.found]
        return "\n".join([head, *found, *(f"    doubted by {doubt}" for doubt in self.doubts)])


def explain(evidence: Evidence | pa.Table | str | Path, anchor: str, collection: Collection) -> list[Row]:
    """All that is known about one anchor: its candidates in stored order, who found them and who doubts them.

    Out:  positives first, then by score; empty where the evidence does not speak of this anchor.
    Raises:
        BadInput: the collection does not know the anchor or a candidate.
    """
    collection.query_rows([anchor])
    if isinstance(evidence, (str, Path)):
        evidence = Evidence.open(evidence)
    if isinstance(evidence, Evidence):
        table = evidence.of_anchor(anchor)
    else:
        table = evidence.filter(pc.equal(evidence["anchor"], anchor))
    documents = collection.corpus["text"].take(pa.array(collection.document_rows(table["candidate"]))).to_pylist()
    return [
        Row(
            row["candidate"],
            text,
            _verdict(row),
            row["score"],
            row["weight"],
            tuple(map(_found, row["found"])),
            tuple(_doubt(doubt) for doubt in row["doubts"]),
        )
        for row, text in zip(table.to_pylist(), documents, strict=True)
    ]


def _verdict(row: dict) -> str:
    if row["sign"] > 0:
        return "positive"
    if row["sign"] == 0:
        return "silent"
    if row["grade"] is not None:
        return "judged negative"
    return {0.0: "doubted", 1.0: "believed"}.get(row["weight"], "half believed")


def _found(entry: dict) -> str:
    rank = "" if entry["rank"] is None else f" at rank {entry['rank'] + 1}"
    score = "" if entry["score"] is None else f" with {entry['score']:.4f}"
    return f"{entry['source']}{rank}{score}"


def _doubt(entry: dict) -> str:
    numbers = [] if entry["seen"] is None else [f"saw {entry['seen']:.4f}"]
    numbers += [] if entry["line"] is None else [f"line {entry['line']:.4f}"]
    numbers += [] if entry["belief"] == 0 else [f"believes it {entry['belief']:.2f}"]
    return entry["part"] + (": " + ", ".join(numbers) if numbers else "")
