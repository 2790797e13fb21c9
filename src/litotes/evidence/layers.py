"""Parts of evidence that lie over one another, read as one ascending stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.evidence.table import pair_codes
from litotes.evidence.views import order


@dataclass(frozen=True)
class Part:
    """One file of evidence. `first` and `last`: its lowest and highest anchor."""

    file: str
    sha256: str
    rows: int
    first: str
    last: str


def layers(parts: list[Part]) -> list[list[Part]]:
    """Groups of parts whose anchor ranges touch, in anchor order; within a group, parts keep their order."""
    groups: list[list[Part]] = []
    reach = ""
    for part in sorted(parts, key=lambda part: byte_key(part.first)):
        if groups and byte_key(part.first) <= byte_key(reach):
            groups[-1].append(part)
            reach = max(reach, part.last, key=byte_key)
        else:
            groups.append([part])
            reach = part.last
    place = {part.file: i for i, part in enumerate(parts)}
    return [sorted(group, key=lambda part: place[part.file]) for group in groups]


def merged(group: list[Part], read: Callable[[Part], Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Tables of ascending anchors from parts that may overlap; where two hold the same pair, the later part counts.

    An anchor may be cut only if there is one part. A part is opened when the stream comes to its first anchor.
    """
    if len(group) == 1:
        yield from read(group[0])
        return
    place = {part.file: i for i, part in enumerate(group)}
    waiting = sorted(group, key=lambda part: byte_key(part.first), reverse=True)
    streams: dict[int, _Stream] = {}  # by place: what lies above comes later
    while True:
        # below the bound everything has been read: open streams stand there, unopened parts begin there
        ends = [stream.last for stream in streams.values() if not stream.done]
        ends += [waiting[-1].first] if waiting else []
        bound = min(ends, key=byte_key) if ends else None
        pieces = [streams[i].below(bound) for i in sorted(streams)]
        found = [piece for piece in pieces if piece is not None]
        if found:
            yield overlay(found)
        if bound is None:
            return
        for i, stream in list(streams.items()):
            if not stream.done and stream.last == bound:
                stream.more()
            if stream.done and stream.is_empty:
                del streams[i]
        while waiting and waiting[-1].first == bound:
            part = waiting.pop()
            streams[place[part.file]] = _Stream(read(part))


def whole_anchors(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Re-cut a stream of ascending rows so that no anchor is split, at about `rows` rows a table."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) < rows:
            continue
        joined = pa.concat_tables(held)
        last = joined["anchor"][-1].as_py()
        cut = pc.index(joined["anchor"], last).as_py()
        if cut:
            yield joined.slice(0, cut).combine_chunks()
        held = [joined.slice(cut)]
    if held and sum(map(len, held)):
        yield pa.concat_tables(held).combine_chunks()


def overlay(pieces: list[pa.Table]) -> pa.Table:
    """Later pieces over earlier ones, by key, in stored order."""
    joined = pa.concat_tables(pieces)
    code = pair_codes(joined)
    _, newest = np.unique(code[::-1], return_index=True)
    if len(newest) < len(code):
        joined = joined.take(pa.array(np.sort(len(code) - 1 - newest)))
    return order(joined)


def byte_key(text: str) -> bytes:
    """Arrow orders strings by their UTF-8 bytes; so must comparisons made here."""
    return text.encode()


class _Stream:
    """A part being read: what is buffered, and whether more follows."""

    def __init__(self, batches: Iterator[pa.Table]):
        self.batches, self.done = batches, False
        self.buffer: pa.Table | None = None
        self.more()

    @property
    def is_empty(self) -> bool:
        return self.buffer is None or not len(self.buffer)

    @property
    def last(self) -> str:
        assert self.buffer is not None
        return self.buffer["anchor"][-1].as_py()

    def more(self) -> None:
        batch = next(self.batches, None)
        if batch is None:
            self.done = True
        else:
            self.buffer = batch if self.buffer is None else pa.concat_tables([self.buffer, batch])

    def below(self, bound: str | None) -> pa.Table | None:
        """Take out the rows of anchors below `bound` (None = all)."""
        if self.buffer is None or not len(self.buffer):
            return None
        cut = len(self.buffer) if bound is None else int(pc.sum(pc.less(self.buffer["anchor"], bound)).as_py() or 0)
        taken, self.buffer = self.buffer.slice(0, cut), self.buffer.slice(cut)
        return taken if cut else None
