"""Evidence: a folder of parts (or one Parquet file) that is streamed in whole anchors and may exceed memory.

A folder holds `manifest.json` and part files. Every part is in stored order. Parts lie over one another in the order of
the manifest: where two hold the same pair, the later one counts. The manifest is replaced in one rename and no file
that it names is ever written again, so a killed writer leaves either the old evidence or the new; files that no
manifest names are swept away by the next writer. There is one writer at a time: one that finds the manifest changed
since it opened it stops instead of losing the other's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from litotes.atomic import MARK, atomic_path, read_json, remove_leftovers, sha256_file, write_json
from litotes.evidence import table as t
from litotes.evidence.changes import differ
from litotes.evidence.layers import Part, byte_key, layers, merged, overlay, whole_anchors
from litotes.evidence.part_writer import ROW_GROUP, SORTED, STRINGS, PartWriter
from litotes.evidence.views import Summary, add, describe, order, select

MANIFEST = "manifest.json"
_BATCH = ROW_GROUP


class Evidence:
    """Signed evidence on disk.

    `Evidence.create(path)` starts one, `Evidence.open(path)` opens one. A path that ends in `.parquet` is one file (for
    import and export: every change rewrites it); any other path is a folder, which is changed by adding parts.

    `fingerprints`: what the evidence was made from (collection, model, recipe), name -> hexadecimal. Opening with
    other fingerprints is refused. `scorer`: {"name", "checksum", "similarity"} of the one scorer behind `score`.
    """

    def __init__(
        self, path: str | Path, parts: list[Part], fingerprints: dict[str, str], scorer: dict[str, Any] | None
    ):
        self.path, self.parts, self.fingerprints, self.scorer = Path(path), parts, fingerprints, scorer
        self._verified: set[str] = set()
        self._held: pa.Table | None = None  # a foreign file, put in order in memory: reading never changes it

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
        made = cls._new(path, fingerprints, scorer, overwrite)
        if made.is_file:
            made._write_file(iter([]), made.scorer)
        else:
            made._write_manifest([], made.scorer)
        return made

    @classmethod
    def open(cls, path: str | Path, *, fingerprints: Mapping[str, str] | None = None) -> Evidence:
        """Open evidence.

        Raises:
            FileNotFoundError: there is none at `path`.
            ValueError: it is damaged, of another schema version, or was made from something else than `fingerprints`
                says. What it has no fingerprint of is not compared.
        """
        path = Path(path)
        if path.is_file():
            made = cls._open_file(path)
        elif (path / MANIFEST).exists() and path.suffix != ".parquet":
            parts, prints, scorer = _read_manifest(path / MANIFEST)
            made = cls(path, parts, prints, scorer)
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
    def of(
        cls,
        path: str | Path,
        table: pa.Table,
        *,
        fingerprints: Mapping[str, str] | None = None,
        scorer: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Evidence:
        """Write a table as new evidence; arguments as in `create`, the scorer taken from the table if not given.

        What is overwritten stays until the new evidence is whole.
        """
        t.check(table)
        t.check_keys(table)
        made = cls._new(path, fingerprints, scorer, overwrite)
        agreed = made._agreed(table)
        tables = [t.with_scorer(order(table), agreed)] if len(table) else []
        if made.is_file:
            made._write_file(tables, agreed)
        else:
            number = made._next_number()
            made._write_manifest([made._write_part(table, number) for table in tables], agreed)
        return made

    @property
    def is_file(self) -> bool:
        """True for one Parquet file, False for a folder."""
        return self.path.suffix == ".parquet"

    def __len__(self) -> int:
        """Number of rows. Where parts lie over one another they are read for it."""
        if len(layers(self.parts)) == len(self.parts):
            return sum(part.rows for part in self.parts)
        return sum(len(table) for table in self.tables())

    def __repr__(self) -> str:
        return f"Evidence({str(self.path)!r}, {len(self.parts)} parts, scorer={(self.scorer or {}).get('name')})"

    @property
    def anchors(self) -> pa.Array:
        """The ids of all anchors, in stored order. Reads one column."""
        found = [] if self._held is None else [self._held["anchor"].combine_chunks().unique()]
        for part in self.parts if self._held is None else []:
            with pq.ParquetFile(self._file(part)) as file:
                found.append(file.read(columns=["anchor"])["anchor"].cast(pa.string()).combine_chunks().unique())
        anchors = pa.chunked_array(found, pa.string()).combine_chunks().unique()
        return anchors.take(pc.sort_indices(anchors))

    def tables(self, rows: int = _BATCH) -> Iterator[pa.Table]:
        """Tables of whole anchors, in stored order, of about `rows` rows: each anchor comes in exactly one table.

        Memory is O(rows x parts that lie over one another), and at least the rows of the largest anchor.

        Raises:
            FileNotFoundError: a part is missing.
            ValueError: the checksum of a part is not that of the manifest.
        """
        if rows < 1:
            raise ValueError(f"Evidence.tables: rows must be >= 1, got {rows!r}")
        return self._tables(layers(self.parts), rows)

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
        scorer = self._agreed(more)
        more = t.with_scorer(order(more), scorer)
        if not len(more):
            return
        anchors = more["anchor"].combine_chunks().unique()
        first, last = byte_key(anchors[0].as_py()), byte_key(anchors[-1].as_py())
        touched = [
            group
            for group in layers(self.parts)
            if any(byte_key(part.first) <= last and first <= byte_key(part.last) for part in group)
        ]
        held = [
            t.with_scorer(table.filter(pc.is_in(table["anchor"], value_set=anchors)), scorer)
            for table in self._tables(touched, _BATCH)
        ]
        if held:
            more = add(pa.concat_tables(held), more)
        if self.is_file:
            self._write_file(self._with_overlay(more, anchors), scorer)
        else:
            self._commit(lambda: iter([more]), scorer, keep=True)

    def sweep(self) -> None:
        """Delete what a killed writer left: files that the manifest does not name. For a writer before it begins."""
        remove_leftovers(self.path)
        named = {part.file for part in self.parts}
        for file in self._part_files():
            if file.name not in named:
                file.unlink()

    def extend(self, more: pa.Table) -> None:
        """Add rows of anchors that come behind all that are there, as mining makes them: nothing is read or sorted.

        In:   rows in stored order, each pair once (which is taken on trust; `append` looks).
        Raises:
            ValueError: the rows are no evidence, are not in stored order, do not come behind what is there, or are
                scored by another scorer; or this is one file, which has no parts to add to.
        """
        with self.growing() as grow:
            grow(more)

    @contextmanager
    def growing(self) -> Iterator[Callable[[pa.Table], None]]:
        """One part that is extended piece by piece, each a table of whole anchors as `extend` takes them.

        The part counts when the context ends well; an error leaves nothing of it. Its bytes do not depend on where the
        pieces were cut. Memory: one piece and one row group.
        """
        if self.is_file:
            raise ValueError(f"Evidence.extend: {self.path} is one file; append to it")
        last = max((byte_key(part.last) for part in self.parts), default=None)
        writer: PartWriter | None = None
        scorer = self.scorer

        def grow(more: pa.Table) -> None:
            nonlocal writer, last, scorer
            t.check(more)
            scorer = self._agreed(more)
            if not len(more):
                return
            t.check_order(more)
            first = more["anchor"][0].as_py()
            if last is not None and byte_key(first) <= last:
                ends = f"{self.path} ends with {last.decode()!r}"
                raise ValueError(f"Evidence.extend: {ends}, the rows begin with {first!r}")
            if writer is None:
                name = f"part-{self._next_number():06d}.parquet"
                writer = PartWriter(self.path / name, scorer, {SORTED.decode(): "anchor"})
            writer.add(more)
            last = byte_key(writer.last)

        try:
            yield grow
        except BaseException:
            if writer is not None:
                writer.discard()
            raise
        if writer is not None:
            writer.close()
            made = writer
            self._name(lambda: iter([self._part_of(made)]), scorer, keep=True)

    def apply(self, change: Callable[[pa.Table], pa.Table], *, rows: int = _BATCH) -> int:
        """Put every table of whole anchors through `change` (a vetter, say); how many rows it changed.

        `change` must give the same rows in the same order, and scores of one scorer: if it names another in the
        metadata (`rescore`), that becomes the scorer of the evidence. A folder gains parts that hold only the changed
        rows.

        Raises:
            ValueError: `change` gave other rows, no valid evidence, or named different scorers for different tables.
        """
        changed = 0
        named: list[dict[str, Any] | None] = []

        def through(whole: bool) -> Iterator[pa.Table]:
            nonlocal changed
            for table in self.tables(rows):
                made = _changed_by(change, table)
                named.append(t.scorer_of(made) or self.scorer)
                if named[0] != named[-1]:
                    raise ValueError(f"{change} named two scorers, {named[0]} and {named[-1]}")
                unlike = differ(table, made)
                changed += int(unlike.sum())
                if whole or unlike.any():
                    made = made if whole else made.filter(pa.array(unlike))
                    yield order(made)

        if self.is_file:
            tables = through(whole=True)
            first = next(tables, None)
            if first is not None:
                self._write_file(chain([first], tables), named[0])
        else:
            self._commit(lambda: through(whole=False), lambda: named[0] if named else self.scorer, keep=True)
        return changed

    def compact(self, rows: int = 1 << 20) -> None:
        """Merge overlaid parts into parts by anchor range, of about `rows` rows each, and delete the old files."""
        if not self.is_file:
            self._commit(lambda: self.tables(rows), self.scorer, keep=False)

    def export(self, path: str | Path) -> Evidence:
        """Write everything as one Parquet file (path ending in `.parquet`), streaming."""
        if Path(path).suffix != ".parquet":
            raise ValueError(f"Evidence.export: path must end in .parquet, got {str(path)!r}")
        made = Evidence(path, [], dict(self.fingerprints), self.scorer)
        made._write_file(self.tables(), self.scorer)
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
        pieces = []
        for part in self.parts:
            if byte_key(part.first) <= byte_key(anchor) <= byte_key(part.last):
                if self._held is not None:
                    piece = self._held.filter(pc.equal(self._held["anchor"], anchor))
                else:  # statistics of the row groups leave the others unread
                    piece = pq.read_table(self._file(part), filters=[("anchor", "=", anchor)], partitioning=None)
                pieces.append(piece.cast(t.SCHEMA))
        return t.with_scorer(overlay(pieces) if pieces else t.empty(), self.scorer)

    def of_anchors(self, anchors: pa.Array) -> pa.Table:
        """All rows of some anchors, in stored order. Reads the parts whose range holds one of them."""
        if not len(anchors):
            return t.with_scorer(t.empty(), self.scorer)
        bounds = pc.min_max(anchors)
        low, high = (byte_key(bounds[name].as_py()) for name in ("min", "max"))
        touched = [
            group
            for group in layers(self.parts)
            if any(byte_key(part.first) <= high and low <= byte_key(part.last) for part in group)
        ]
        found = [table.filter(pc.is_in(table["anchor"], value_set=anchors)) for table in self._tables(touched, _BATCH)]
        return t.with_scorer(pa.concat_tables(found) if found else t.empty(), self.scorer)

    # -- reading ------------------------------------------------------------------------------------------------

    def _tables(self, groups: list[list[Part]], rows: int) -> Iterator[pa.Table]:
        for group in groups:
            for table in whole_anchors(merged(group, lambda part: self._batches(part, rows)), rows):
                if self.is_file and self._held is None:  # other programs write files too, and no checksum vouches
                    t.check(table)
                    t.check_keys(table)
                    yield order(table)
                else:
                    yield table

    def _batches(self, part: Part, rows: int) -> Iterator[pa.Table]:
        if self._held is not None:
            for start in range(0, len(self._held), rows):
                yield self._held.slice(start, rows)
            return
        with pq.ParquetFile(self._file(part)) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield t.with_scorer(pa.Table.from_batches([batch]).cast(t.SCHEMA), self.scorer)

    def _file(self, part: Part) -> Path:
        """The file of a part, there and undamaged."""
        path = self.path if self.is_file else self.path / part.file
        if not path.exists():
            raise FileNotFoundError(f"{path}: this part of the evidence is missing")
        if part.sha256 and part.file not in self._verified:
            seen = sha256_file(path)
            if seen != part.sha256:
                raise ValueError(
                    f"{path}: found the checksum {seen[:12]}, expected {part.sha256[:12]}: the file was damaged"
                )
            self._verified.add(part.file)
        return path

    @classmethod
    def _open_file(cls, path: Path) -> Evidence:
        if path.suffix != ".parquet":
            raise ValueError(f"{path}: evidence in one file has a name that ends in .parquet")
        try:
            metadata = pq.read_metadata(path)
            schema = pq.read_schema(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: not a Parquet file ({error})") from None
        try:
            t.check(schema.empty_table())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        stamp = t.scorer_of(schema.empty_table())
        prints = {
            key.decode().removeprefix("litotes.fingerprint."): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key.startswith(b"litotes.fingerprint.")
        }
        made = cls(path, [], prints, stamp)
        if not metadata.num_rows:
            return made
        if (schema.metadata or {}).get(SORTED) == b"anchor" and _ascends(path):
            made.parts = [_file_part(path, metadata)]
            return made
        with pq.ParquetFile(path) as file:
            table = file.read().cast(t.SCHEMA)
        t.check(table)
        t.check_keys(table)
        made._held = t.with_scorer(order(table), stamp).combine_chunks()
        first, last = made._held["anchor"][0].as_py(), made._held["anchor"][-1].as_py()
        made.parts = [Part(path.name, "", len(table), first, last)]
        return made

    # -- writing ------------------------------------------------------------------------------------------------

    @classmethod
    def _new(
        cls,
        path: str | Path,
        fingerprints: Mapping[str, str] | None,
        scorer: Mapping[str, Any] | None,
        overwrite: bool = False,
    ) -> Evidence:
        """Evidence of which nothing is written yet, at a place where it may be."""
        path = Path(path)
        # what a run left that was killed before its first manifest is nothing
        there = path.exists() and (path.is_file() or any(not entry.name.endswith(MARK) for entry in path.iterdir()))
        if there and not overwrite:
            raise FileExistsError(f"{path} exists; choose another place or overwrite it on purpose")
        if path.suffix == ".parquet" and path.is_dir():
            raise FileExistsError(f"{path} is a folder; a name that ends in .parquet is one file")
        if there and path.is_dir() and not (path / MANIFEST).exists():
            raise FileExistsError(
                f"{path} is a folder without {MANIFEST}: it is no evidence and will not be overwritten"
            )
        return cls(path, [], dict(fingerprints or {}), dict(scorer) if scorer else None)

    def _agreed(self, more: pa.Table) -> dict[str, Any] | None:
        """The scorer of this evidence with `more`. Raises ValueError where the two were scored by different ones."""
        theirs = t.scorer_of(more)
        if theirs and self.scorer and theirs != self.scorer:
            raise ValueError(f"{self.path}: scored by {self.scorer}, cannot take scores of {theirs}; rescore first")
        return self.scorer or theirs

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

    def _write_file(self, tables: Iterable[pa.Table], scorer: dict[str, Any] | None) -> None:
        prints = {f"litotes.fingerprint.{name}": value for name, value in self.fingerprints.items()}
        with atomic_path(self.path) as temporary:
            _write(temporary, tables, scorer, {SORTED.decode(): "anchor", **prints})
        for leftover in self.path.parent.glob(f"{escape(self.path.name)}.*{MARK}"):
            leftover.unlink(missing_ok=True)
        self.scorer, self._held = scorer, None
        metadata = pq.read_metadata(self.path)
        self.parts = [_file_part(self.path, metadata)] if metadata.num_rows else []

    def _commit(self, tables: Callable[[], Iterator[pa.Table]], scorer: Any, *, keep: bool) -> None:
        """Write `tables` as new parts and name them in the manifest: above the old ones (keep), or instead of them."""
        number = self._next_number()
        self._name(lambda: (self._write_part(table, number + i) for i, table in enumerate(tables())), scorer, keep=keep)

    def _name(self, parts: Callable[[], Iterator[Part]], scorer: Any, *, keep: bool) -> None:
        """Name parts in the manifest as they have been written; whatever fails, none stays that is not named.

        `scorer`: that of the evidence from now on, or a function that says so once the parts have been made.
        """
        fresh: list[Part] = []
        try:
            for part in parts():
                fresh.append(part)
            scorer = scorer() if callable(scorer) else scorer
            if fresh or not keep:
                if _read_manifest(self.path / MANIFEST)[0] != self.parts:
                    raise ValueError(f"{self.path} was changed by another writer since it was opened: open it again")
                self._write_manifest([*self.parts, *fresh] if keep else fresh, scorer)
        except BaseException:
            named = {part.file for part in _read_manifest(self.path / MANIFEST)[0]}  # it may have been replaced already
            for part in fresh:
                if part.file not in named:
                    (self.path / part.file).unlink(missing_ok=True)
            raise

    def _next_number(self) -> int:
        """A number no part in the folder has: a file that a manifest may name is never written again."""
        return 1 + max((int(file.stem[5:]) for file in self._part_files()), default=-1)

    def _part_files(self) -> list[Path]:
        return [file for file in self.path.glob("part-*.parquet") if file.stem[5:].isdecimal()]

    def _write_part(self, table: pa.Table, number: int) -> Part:
        name = f"part-{number:06d}.parquet"
        writer = PartWriter(self.path / name, t.scorer_of(table), {SORTED.decode(): "anchor"})
        try:
            writer.add(table)
        except BaseException:
            writer.discard()
            raise
        writer.close()
        return self._part_of(writer)

    def _part_of(self, writer: PartWriter) -> Part:
        self._verified.add(writer.path.name)
        return Part(writer.path.name, sha256_file(writer.path), writer.rows, writer.first, writer.last)

    def _write_manifest(self, parts: list[Part], scorer: dict[str, Any] | None) -> None:
        manifest = {
            "schema": t.VERSION,
            "scorer": scorer,
            "fingerprints": self.fingerprints,
            "parts": [vars(part) for part in parts],
        }
        write_json(self.path / MANIFEST, manifest)
        self.parts, self.scorer = parts, scorer
        self.sweep()


def _changed_by(change: Callable[[pa.Table], pa.Table], table: pa.Table) -> pa.Table:
    made = change(table)
    t.check(made)
    if not made.select(["anchor", "candidate"]).equals(table.select(["anchor", "candidate"])):
        raise ValueError(f"{change} must give back the same rows in the same order")
    return made


def _read_manifest(path: Path) -> tuple[list[Part], dict[str, str], dict[str, Any] | None]:
    try:
        manifest = read_json(path)
        version = manifest["schema"]
        if version == t.VERSION:
            return [Part(**part) for part in manifest["parts"]], manifest["fingerprints"], manifest["scorer"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the manifest of evidence, or damaged ({error!r})") from None
    raise ValueError(f"{path}: found schema version {version!r}, expected {t.VERSION}")


def _ascends(path: Path) -> bool:
    """Whether the anchors of a file ascend, whatever its metadata say: other programs copy metadata as they are."""
    before = ""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=["anchor"]):
            anchor = pa.concat_arrays([pa.array([before]), batch["anchor"].cast(pa.string())])
            if not pc.all(pc.less_equal(anchor.slice(0, len(anchor) - 1), anchor.slice(1))).as_py():
                return False
            before = anchor[-1].as_py()
    return True


def _write(path: Path, tables: Iterable[pa.Table], scorer: Mapping[str, Any] | None, more: Mapping[str, str]) -> None:
    schema = t.with_scorer(t.empty(), scorer).schema
    schema = schema.with_metadata({**schema.metadata, **{k.encode(): v.encode() for k, v in more.items()}})
    # scores are nearly all different: a dictionary of them costs time and space
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=STRINGS) as writer:
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=_BATCH)


def _file_part(path: Path, metadata: Any) -> Part:
    with pq.ParquetFile(path) as file:
        head = next(file.iter_batches(batch_size=1, columns=["anchor"]))
        tail = file.read_row_group(metadata.num_row_groups - 1, columns=["anchor"])
    return Part(path.name, "", metadata.num_rows, head["anchor"][0].as_py(), tail["anchor"][-1].as_py())
