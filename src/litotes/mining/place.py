"""Where evidence goes: what is there already, what may be gone on with, and how a finished run takes its place."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from litotes.atomic import read_json, remove_leftovers, write_json
from litotes.data.anchors import Anchors
from litotes.evidence import Evidence
from litotes.evidence.layers import layers
from litotes.mining.changed import INPUT

COUNTS = "mining.json"
_PARTS = f"{INPUT}/parts.json"
_MANIFEST = "manifest.json"
AddPiece = Callable[[pa.Table, dict[str, Any]], None]


class Place:
    """The folder or file that a mining run writes, and its working folder `<out>.mining`.

    A folder is written where it stays. A file, and a folder that holds evidence of the same settings over an earlier
    state of the collection (`old`), is made in the working folder first and takes its place when it is whole: so a run
    that is killed has the old evidence, or the new. The working folder goes away at the end.

    Args:
        out: folder, or a file ending in `.parquet`.
        prints: what the evidence is made from, name -> hexadecimal.
        about: the scorer.
        follows: the checksum of the scorer follows the collection (BM25, given vectors), so that both change at once.
    Raises:
        ValueError: `out` holds evidence of something else, or evidence that was changed after it was mined.
    """

    def __init__(self, out: Path, prints: dict[str, str], about: Mapping[str, Any], follows: bool = False):
        self.out, self.is_file = out, out.suffix == ".parquet"
        self.work = out.with_name(f"{out.name}.mining")
        self.old: Evidence | None = None
        self._inside = self.work / "evidence"
        self._ready = self.work / "ready.json"
        if self._ready.exists():
            self._take_place()
        self.finished = self.is_file and out.exists()
        if self.finished:
            self.evidence = _same(Evidence.open(out), prints)
            self.counts: dict[int, dict[str, Any]] = {}
            return
        self.folder = self._inside if self.is_file else out
        if (out / _MANIFEST).exists():
            held = Evidence.open(out)
            if _is_earlier(held, prints, about, follows):
                self.old, self.folder = _untouched(held), self._inside
        if (self.folder / _MANIFEST).exists():
            self.evidence = Evidence.open(self.folder)
            if self.old is not None and self.evidence.fingerprints != prints:  # of a state in between
                shutil.rmtree(self.folder)
                self.evidence = Evidence.create(self.folder, fingerprints=prints, scorer=about)
            _same(self.evidence, prints).sweep()
            remove_leftovers(self.folder / INPUT)
        else:
            self.evidence = Evidence.create(self.folder, fingerprints=prints, scorer=about)
        self.counts = _stored(self.folder / COUNTS)

    def done(self, anchors: Anchors, block: int) -> int:
        """Anchors that need not be mined again: whole blocks."""
        if self.finished or not self.evidence.parts:
            return len(anchors) if self.finished else 0
        last = max(part.last.encode() for part in self.evidence.parts).decode()
        place = pc.index(anchors.collection.queries["id"].take(pa.array(anchors.query)), last).as_py()
        if place < 0:
            expected = f"the anchors of the split {anchors.split!r}"
            raise ValueError(f"mine: {self.folder} holds the anchor {last!r}, expected only {expected}")
        return min((place // block + 1) * block, len(anchors))

    @contextmanager
    def part(self, low: int) -> Iterator[AddPiece]:
        """A block of anchors, the one that begins with anchor `low`; call with evidence and counts, piece by piece."""
        self.counts.pop(low, None)
        with self.evidence.growing() as grow:

            def add(table: pa.Table, counts: dict[str, Any]) -> None:
                grow(table)
                self.counts[low] = added(self.counts.get(low), counts)

            yield add
            # the counts go first: a run killed between the two mines the block again and counts it again, once
            write_json(self.folder / COUNTS, {str(low): made for low, made in self.counts.items()})

    def close(self) -> Evidence:
        """Let what was made take its place. Doing so again changes nothing."""
        if self.finished:
            return self.evidence
        if self.is_file:
            self.evidence = self.evidence.export(self.out)
        else:
            if not (self.folder / _PARTS).exists():
                write_json(self.folder / _PARTS, {part.file: part.sha256 for part in self.evidence.parts})
            if self.old is not None:
                write_json(self._ready, {"evidence": str(self.out)})
                self._take_place()
                self.evidence = Evidence.open(self.out)
        self.finished = True
        shutil.rmtree(self.work, ignore_errors=True)
        return self.evidence

    def _take_place(self) -> None:
        """Old evidence out, new evidence in; wherever a kill cuts this, the next run ends it."""
        if (self._inside / _MANIFEST).exists():
            if self.out.exists():
                self.out.rename(self.work / "old")
            self._inside.rename(self.out)
        shutil.rmtree(self.work)


def added(before: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    """Counts of a block of which earlier pieces were counted; counts by name add up name by name."""
    if before is None:
        return more
    return {
        name: dict(Counter(before[name]) + Counter(count)) if isinstance(count, dict) else before[name] + count
        for name, count in more.items()
    }


def _is_earlier(held: Evidence, prints: dict[str, str], about: Mapping[str, Any], follows: bool) -> bool:
    """Whether evidence was made by the same settings from another state of the collection."""
    unlike = {name for name, value in prints.items() if held.fingerprints.get(name) != value}
    if "collection" not in unlike or "collection" not in held.fingerprints:
        return False
    if unlike == {"collection"}:
        return True
    scorer = held.scorer or {}
    alike = all(scorer.get(name) == about[name] for name in ("name", "similarity"))
    return follows and alike and unlike == {"collection", "model"}


def _untouched(evidence: Evidence) -> Evidence:
    """Refuse to replace evidence to which somebody has added what mining does not know."""
    file = evidence.path / _PARTS
    there = {part.file: part.sha256 for part in evidence.parts}
    if len(layers(evidence.parts)) != len(there) or (file.exists() and read_json(file) != there):
        raise ValueError(
            f"mine: {evidence.path} was mined from an earlier state of this collection and changed since (vetted, or "
            "added to), which an update would lose; choose another place, or delete it"
        )
    return evidence


def _same(evidence: Evidence, prints: dict[str, str]) -> Evidence:
    """Refuse to go on with evidence that was made from something else."""
    unlike = [name for name, value in prints.items() if evidence.fingerprints.get(name) != value]
    for name in sorted(unlike, key=lambda name: name == "collection" and "collection" in evidence.fingerprints):
        there = evidence.fingerprints.get(name, "nothing")
        hint = "; a folder, unlike a file, is updated" if name == "collection" and evidence.is_file else ""
        raise ValueError(
            f"mine: {evidence.path} holds evidence of another {name} (found {there[:12]}, expected "
            f"{prints[name][:12]}); choose another place, or delete it{hint}"
        )
    return evidence


def _stored(file: Path) -> dict[int, dict[str, Any]]:
    return {int(low): made for low, made in read_json(file).items()} if file.exists() else {}
