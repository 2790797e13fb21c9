"""Evidence: a folder of parts (or one Parquet file) that is streamed in whole anchors and may exceed memory.

A folder holds `manifest.json` and part files. Every part is in stored order. Parts lie over one another in the order of
the manifest: where two hold the same pair, the later one counts. The manifest is replaced in one rename, so a killed
writer leaves either the old evidence or the new, and files that no manifest names are swept away by the next writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from litotes.atomic import atomic_path, read_json, remove_leftovers, sha256_file, write_json
from litotes.evidence import table as t
from litotes.evidence.views import Summary, add, describe, order, select

MANIFEST = "manifest.json"
_SORTED = b"litotes.order"
_BATCH = 1 << 16


@dataclass(frozen=True)
class Part:
    """One file of evidence. `first` and `last`: its lowest and highest anchor."""

    file: str
    sha256: str
    rows: int
    first: str
    last: str


class Evidence:
    """Signed evidence on disk.

    `Evidence.create(path)` starts one, `Evidence.open(path)` opens one. A path that ends in `.parquet` is one file (for
    import and export: every change rewrites it); any other path is a folder, which is changed by adding parts.

    `fingerprints`: what the evidence was made from (collection, model, recipe), name -> hexadecimal. Opening with
    other fingerprints is refused. `scorer`: {"name", "checksum", "similarity"} of the one scorer behind `score`.
    """

    def __init__(self, path: str | Path, parts: list[Part], fingerprints: dict[str, str], scorer: dict[str, Any] | None):
        self.path, self.parts, self.fingerprints, self.scorer = Path(path), parts, fingerprints, scorer
        self._verified: set[str] = set()

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        fingerprints: Mapping[str, str] | None = None,
        scorer: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Evidence:
        """Start empty evidence at `path`. Raises FileExistsError where there is something and `overwrite` is False."""
        path = Path(path)
        there = path.exists() and (path.is_file() or any(path.iterdir()))
        if there and not overwrite:
            raise FileExistsError(f"{path} exists; choose another place or overwrite it on purpose")
        if there and path.is_dir() and not (path / MANIFEST).exists():
            raise FileExistsError(f"{path} is a folder without {MANIFEST}: it is no evidence and will not be overwritten")
        made = cls(path, [], dict(fingerprints or {}), dict(scorer) if scorer else None)
        if made.is_file:
            made._write_file(iter([]))
        else:
            made._commit([])
        return made

    @classmethod
    def open(cls, path: str | Path, *, fingerprints: Mapping[str, str] | None = None) -> Evidence:
        """Open evidence.

        Raises:
            FileNotFoundError: there is none at `path`.
            ValueError: it is of another schema version, or was made from something else than `fingerprints` says.
        """
        path = Path(path)
        if path.is_file():
            made = cls._open_file(path)
        elif (path / MANIFEST).exists():
            manifest = read_json(path / MANIFEST)
            if manifest.get("schema") != t.VERSION:
                raise ValueError(f"{path / MANIFEST}: found schema version {manifest.get('schema')!r}, expected {t.VERSION}")
            parts = [Part(**part) for part in manifest["parts"]]
            made = cls(path, parts, manifest["fingerprints"], manifest["scorer"])
        else:
            raise FileNotFoundError(f"no evidence at {path}: neither a Parquet file nor a folder with {MANIFEST}")
        for name, value in (fingerprints or {}).items():
            if made.fingerprints.get(name, value) != value:
                raise ValueError(
                    f"{path}: its {name} has the fingerprint {made.fingerprints[name][:12]}, expected {value[:12]}: "
                    f"it was made from another {name}"
                )
        return made

    @classmethod
    def of(cls, path: str | Path, table: pa.Table, *, overwrite: bool = False, **about: Any) -> Evidence:
        """Write a table as new evidence; `about` as in `create`, the scorer taken from the table if not given."""
        about.setdefault("scorer", t.scorer_of(table))
        made = cls.create(path, overwrite=overwrite, **about)
        made.append(table)
        return made

    @property
    def is_file(self) -> bool:
        """True for one Parquet file, False for a folder."""
        return self.path.suffix == ".parquet"

    def __len__(self) -> int:
        """Number of rows. Counting rows of overlaid parts reads their keys."""
        if len(self._layers()) == len(self.parts):
            return sum(part.rows for part in self.parts)
        return sum(len(table) for table in self.tables())

    def __repr__(self) -> str:
        return f"Evidence({str(self.path)!r}, {len(self.parts)} parts, scorer={(self.scorer or {}).get('name')})"

    def tables(self, rows: int = _BATCH) -> Iterator[pa.Table]:
        """Tables of whole anchors, in stored order, of about `rows` rows: each anchor comes in exactly one table.

        Raises:
            ValueError: a part is missing or its checksum is not that of the manifest.
        """
        for group in self._layers():
            yield from _whole_anchors(self._merged(group, rows), rows)

    def read(self) -> pa.Table:
        """All evidence as one table in memory, in stored order."""
        tables = list(self.tables())
        table = pa.concat_tables(tables) if tables else t.empty()
        return t.with_scorer(table.combine_chunks(), self.scorer)

    def append(self, more: pa.Table) -> None:
        """Add rows; a pair that is there already gains their finders (`litotes.evidence.add`).

        Raises:
            ValueError: the rows are no evidence, hold a pair twice, or are scored by another scorer.
        """
        t.check(more)
        t.check_keys(more)
        theirs = t.scorer_of(more)
        if theirs and self.scorer and theirs != self.scorer:
            raise ValueError(f"{self.path}: scored by {self.scorer}, cannot take scores of {theirs}; rescore first")
        if not self.scorer:
            self.scorer = theirs
        more = order(more)
        if not len(more):
            return
        new = set(more["anchor"].combine_chunks().unique().to_pylist())
        first, last = more["anchor"][0].as_py(), more["anchor"][-1].as_py()
        touching = [part for part in self.parts if _key(part.first) <= _key(last) and _key(first) <= _key(part.last)]
        if touching:
            wanted = pa.array(sorted(new))
            mine = [table.filter(pc.is_in(table["anchor"], value_set=wanted)) for table in self.tables()]
            held = pa.concat_tables(mine)
            if len(held):
                more = add(t.with_scorer(held, self.scorer), t.with_scorer(more, self.scorer))
        if self.is_file:
            self._write_file(self._with_overlay(more, pa.array(sorted(new))))
        else:
            self._commit([*self.parts, self._write_part(more)])

    def apply(self, change: Callable[[pa.Table], pa.Table], *, rows: int = _BATCH) -> int:
        """Put every table of whole anchors through `change` (a vetter, say); how many rows it changed.

        `change` must give the same rows in the same order. A folder gains parts that hold only the changed rows.
        """
        changed = 0
        if self.is_file:

            def through() -> Iterator[pa.Table]:
                nonlocal changed
                for table in self.tables(rows):
                    made = self._changed_by(change, table)
                    changed += int(_differ(table, made).sum())
                    yield made

            self._write_file(through())
            return changed
        fresh: list[Part] = []
        for table in self.tables(rows):
            made = self._changed_by(change, table)
            differ = _differ(table, made)
            changed += int(differ.sum())
            if differ.any():
                fresh.append(self._write_part(made.filter(pa.array(differ)), len(fresh)))
        if fresh:
            self._commit([*self.parts, *fresh])
        return changed

    def compact(self, rows: int = 1 << 20) -> None:
        """Merge overlaid parts into parts by anchor range, of about `rows` rows each, and delete the old files."""
        if self.is_file:
            return
        fresh = [self._write_part(table, i) for i, table in enumerate(self.tables(rows))]
        self._commit(fresh)

    def export(self, path: str | Path) -> Evidence:
        """Write everything as one Parquet file (path ending in `.parquet`), streaming."""
        if Path(path).suffix != ".parquet":
            raise ValueError(f"Evidence.export: path must end in .parquet, got {str(path)!r}")
        made = Evidence(path, [], self.fingerprints, self.scorer)
        made._write_file(self.tables())
        return made

    def describe(self) -> Summary:
        """Counts over all evidence, streaming."""
        return describe(self.tables())

    def select(self, n: int, how: Literal["top", "random"] = "top", seed: int = 0) -> pa.Table:
        """The positives and n believed negatives per anchor (`litotes.evidence.select`), as one table in memory."""
        chosen = [select(table, n, how, seed) for table in self.tables()]
        return t.with_scorer(pa.concat_tables(chosen) if chosen else t.empty(), self.scorer)

    def of_anchor(self, anchor: str) -> pa.Table:
        """All rows of one anchor; empty where it is not there."""
        for group in self._layers():
            if any(_key(part.first) <= _key(anchor) <= _key(part.last) for part in group):
                for table in self._merged(group, _BATCH):
                    found = table.filter(pc.equal(table["anchor"], anchor))
                    if len(found):
                        return found
        return t.with_scorer(t.empty(), self.scorer)

    # -- reading ------------------------------------------------------------------------------------------------

    def _layers(self) -> list[list[Part]]:
        """Groups of parts whose anchor ranges touch, in anchor order; within a group, parts keep manifest order."""
        groups: list[list[Part]] = []
        reach = ""
        for part in sorted(self.parts, key=lambda part: _key(part.first)):
            if groups and _key(part.first) <= _key(reach):
                groups[-1].append(part)
                reach = max(reach, part.last, key=_key)
            else:
                groups.append([part])
                reach = part.last
        place = {part.file: i for i, part in enumerate(self.parts)}
        return [sorted(group, key=lambda part: place[part.file]) for group in groups]

    def _merged(self, group: list[Part], rows: int) -> Iterator[pa.Table]:
        """Tables of ascending anchors from parts that may overlap; an anchor may be cut only if there is one part."""
        if len(group) == 1:
            yield from self._batches(group[0], rows)
            return
        streams = [_Stream(self._batches(part, rows)) for part in group]
        while True:
            open_ends = [stream.last for stream in streams if not stream.done]
            bound = min(open_ends, key=_key) if open_ends else None
            pieces = [piece for piece in (stream.below(bound) for stream in streams) if piece is not None]
            if pieces:
                yield _overlay(pieces)
            if bound is None:
                return
            for stream in streams:  # the stream that sets the bound must move on, or nothing would ever pass it
                if not stream.done and stream.last == bound:
                    stream.more()

    def _batches(self, part: Part, rows: int) -> Iterator[pa.Table]:
        path = self.path if self.is_file else self.path / part.file
        if not path.exists():
            raise FileNotFoundError(f"{path}: this part of the evidence is missing")
        if part.sha256 and part.file not in self._verified:
            seen = sha256_file(path)
            if seen != part.sha256:
                raise ValueError(f"{path}: found the checksum {seen[:12]}, expected {part.sha256[:12]}: the file was damaged")
            self._verified.add(part.file)
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield t.with_scorer(pa.Table.from_batches([batch]).cast(t.SCHEMA), self.scorer)

    @classmethod
    def _open_file(cls, path: Path) -> Evidence:
        try:
            metadata = pq.read_metadata(path)
            schema = pq.read_schema(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: not a Parquet file ({error})") from None
        t.check(schema.empty_table())
        stamp = t.scorer_of(schema.empty_table())
        prints = {
            key.decode().removeprefix("litotes.fingerprint."): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key.startswith(b"litotes.fingerprint.")
        }
        made = cls(path, [], prints, stamp)
        if not metadata.num_rows:
            return made
        if (schema.metadata or {}).get(_SORTED) != b"anchor":
            table = order(pq.read_table(path).cast(t.SCHEMA))
            t.check(table)
            t.check_keys(table)
            made._write_file(iter([table]))
            return made
        made.parts = [_file_part(path, metadata)]
        return made

    # -- writing ------------------------------------------------------------------------------------------------

    def _changed_by(self, change: Callable[[pa.Table], pa.Table], table: pa.Table) -> pa.Table:
        made = change(table)
        t.check(made)
        same = made.select(["anchor", "candidate"]).equals(table.select(["anchor", "candidate"]))
        if not same:
            raise ValueError(f"{change} must give back the same rows in the same order")
        return made

    def _with_overlay(self, more: pa.Table, anchors: pa.Array) -> Iterator[pa.Table]:
        """All tables with the rows of `anchors` replaced by `more`; anchors that are new take their place."""
        rest = more
        for table in self.tables():
            last = table["anchor"][-1].as_py()
            upto = int(pc.sum(pc.less_equal(rest["anchor"], last)).as_py() or 0)
            kept = table.filter(pc.invert(pc.is_in(table["anchor"], value_set=anchors)))
            yield order(pa.concat_tables([kept.cast(t.SCHEMA), rest.slice(0, upto).cast(t.SCHEMA)]))
            rest = rest.slice(upto)
        if len(rest):
            yield rest

    def _write_file(self, tables: Iterable[pa.Table]) -> None:
        prints = {f"litotes.fingerprint.{name}": value for name, value in self.fingerprints.items()}
        with atomic_path(self.path) as temporary:
            _write(temporary, tables, self.scorer, {_SORTED.decode(): "anchor", **prints})
        self._verified.clear()
        metadata = pq.read_metadata(self.path)
        self.parts = [_file_part(self.path, metadata)] if metadata.num_rows else []

    def _write_part(self, table: pa.Table, nth: int = 0) -> Part:
        number = 1 + max((int(part.file[5:11]) for part in self.parts), default=-1) + nth
        name = f"part-{number:06d}.parquet"
        with atomic_path(self.path / name) as temporary:
            _write(temporary, [table], self.scorer, {_SORTED.decode(): "anchor"})
        digest = sha256_file(self.path / name)
        self._verified.add(name)
        return Part(name, digest, len(table), table["anchor"][0].as_py(), table["anchor"][-1].as_py())

    def _commit(self, parts: list[Part]) -> None:
        manifest = {
            "schema": t.VERSION,
            "scorer": self.scorer,
            "fingerprints": self.fingerprints,
            "parts": [vars(part) for part in parts],
        }
        write_json(self.path / MANIFEST, manifest)
        self.parts = parts
        remove_leftovers(self.path)
        named = {part.file for part in parts}
        for file in self.path.glob("part-*.parquet"):
            if file.name not in named:
                file.unlink()


class _Stream:
    """A part being read: what is buffered, and whether more follows."""

    def __init__(self, batches: Iterator[pa.Table]):
        self.batches, self.done = batches, False
        self.buffer: pa.Table | None = None
        self.more()

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


def _whole_anchors(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
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


def _overlay(pieces: list[pa.Table]) -> pa.Table:
    """Later pieces over earlier ones, by key, in stored order."""
    joined = pa.concat_tables(pieces)
    code = t.pair_codes(joined)
    _, newest = np.unique(code[::-1], return_index=True)
    if len(newest) < len(code):
        joined = joined.take(pa.array(np.sort(len(code) - 1 - newest)))
    return order(joined)


def _differ(old: pa.Table, new: pa.Table) -> np.ndarray:
    """Bool per row: the two tables say different things about it."""
    changed = np.zeros(len(old), bool)
    for name in ("sign", "grade", "prior", "weight", "score"):
        a, b = old[name].to_numpy(), new[name].to_numpy()
        changed |= ~((a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b)
    for entries in (t.found_entries, t.doubt_entries):
        changed[_rows_of_unlike_entries(entries(old), entries(new), len(old))] = True
    return changed


def _rows_of_unlike_entries(old: pa.Table, new: pa.Table, rows: int) -> np.ndarray:
    sizes = [np.bincount(entries["row"].to_numpy(), minlength=rows) for entries in (old, new)]
    unlike = sizes[0] != sizes[1]
    even = [entries.filter(pa.array(~unlike[entries["row"].to_numpy()])) for entries in (old, new)]
    different = np.zeros(len(even[0]), bool)
    for name in even[0].column_names:
        equal = pc.fill_null(pc.equal(even[0][name], even[1][name]), False)
        both_null = pc.and_(pc.is_null(even[0][name]), pc.is_null(even[1][name]))
        different |= ~pc.or_(equal, both_null).to_numpy(zero_copy_only=False)
    return np.union1d(np.flatnonzero(unlike), even[0]["row"].to_numpy()[different])


def _write(path: Path, tables: Iterable[pa.Table], scorer: Mapping[str, Any] | None, more: Mapping[str, str]) -> None:
    schema = t.with_scorer(t.empty(), scorer).schema
    schema = schema.with_metadata({**schema.metadata, **{k.encode(): v.encode() for k, v in more.items()}})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=_BATCH)


def _file_part(path: Path, metadata: Any) -> Part:
    with pq.ParquetFile(path) as file:
        head = next(file.iter_batches(batch_size=1, columns=["anchor"]))
        tail = file.read_row_group(metadata.num_row_groups - 1, columns=["anchor"])
    return Part(path.name, "", metadata.num_rows, head["anchor"][0].as_py(), tail["anchor"][-1].as_py())


def _key(text: str) -> bytes:
    """Arrow orders strings by their UTF-8 bytes; so must comparisons made here."""
    return text.encode()
