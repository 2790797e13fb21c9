"""Vectors with ids in Parquet files and Lance datasets, here or on any file system that fsspec knows; streamed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from litotes.atomic import atomic_path
from litotes.errors import BadInput
from litotes.extras import need

_BY_LANCE = ("s3", "gs", "az", "abfss")  # object stores that Lance speaks itself; others are copied here first
_ROWS = 1 << 14


class Part(NamedTuple):
    """Some rows of a file: where they come from, the number of the first (from 1), and the rows."""

    file: str
    line: int
    table: pa.Table


def is_streamed(path: str | Path) -> bool:
    """Whether a path or URL names something that `read_parts` reads: .parquet, a folder of such, .lance, any URL."""
    text = str(path).rstrip("/")
    return "://" in text or text.endswith((".parquet", ".lance")) or Path(text).is_dir()


def read_parts(path: str | Path, columns: Sequence[str] | None = None) -> Iterator[Part]:
    """The rows of a Parquet file, of all Parquet files below a folder (in the order of their names), or of a Lance
    dataset, a few thousand at a time.

    Args:
        path: local, or a URL of fsspec ("s3://bucket/corpus.lance", "memory://vectors.parquet"). A Lance dataset on a
            store that Lance does not speak itself is copied to a temporary folder first.
        columns: those to read; None = all.
    Raises:
        BadInput: there is no such thing, it is broken, or it is neither Parquet nor Lance.
        ImportError: the URL needs a package that is not installed, or Lance is not (extra `lance`).
    """
    text = str(path).rstrip("/")
    if text.endswith(".lance"):
        yield from _lance_parts(text, columns)
        return
    files, where = _files(text)
    if files.isdir(where):
        names = sorted(name for name in files.find(where) if name.endswith(".parquet"))
        if not names:
            raise BadInput("a folder without Parquet files", "at least one .parquet", file=text)
    elif text.endswith(".parquet"):
        names = [where]
    else:
        raise BadInput(f"the ending {os.path.splitext(text)[1]!r}", ".parquet, .lance or a folder", file=text)
    for name in names:
        yield from _parquet_parts(files, name, text if len(names) == 1 else files.unstrip_protocol(name), columns)


def write_vectors(
    path: str | Path, ids: Sequence[str], vectors: np.ndarray, *, group: int = 65536, overwrite: bool = False
) -> None:
    """Write vectors with their ids: columns `id` string and `vector` fixed-size list of float32.

    A local file or dataset is whole or absent. On a remote store a Parquet file appears when it is complete wherever
    the store works so (S3 and its like do); what an error leaves there is removed.

    In:   ids, no two alike; vectors float32 [N, D], may be memory-mapped: `group` rows are in memory at a time.

    Args:
        path: local, or a URL of fsspec, ending in .parquet or .lance.
        group: rows in a row group of Parquet, or in a batch for Lance; >= 1.
        overwrite: replace what is there.
    Raises:
        BadInput: another ending.
        ValueError: group is out of range, ids repeat or are not as many as vectors, or vectors are no float32 matrix.
        FileExistsError: something is there, and `overwrite` is off.
    """
    text = str(path).rstrip("/")
    if not group >= 1:
        raise ValueError(f"write_vectors: group must be >= 1, got {group!r}")
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype != np.float32:
        raise ValueError(f"write_vectors: vectors must be float32 [N, D], got {vectors.dtype} {list(vectors.shape)}")
    if len(ids) != len(vectors) or len(set(ids)) < len(ids):
        raise ValueError(
            f"write_vectors: expected {len(vectors)} different ids, got {len(ids)}, {len(set(ids))} of them different"
        )
    if not text.endswith((".parquet", ".lance")):
        raise BadInput(f"the ending {os.path.splitext(text)[1]!r}", ".parquet or .lance", file=text)
    files, where = _files(text)
    if files.exists(where) and not overwrite:
        raise FileExistsError(f"{text} exists; choose another place, or overwrite it")
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), vectors.shape[1]))])
    batches = _batches(ids, vectors, schema, group)
    if text.endswith(".lance"):
        _write_lance(text, files, where, schema, batches)
    elif _local(text) is not None:
        with atomic_path(where) as temporary:
            _write_parquet(str(temporary), schema, batches)
    else:
        try:
            with files.open(where, "wb") as sink:
                _write_parquet(sink, schema, batches)
        except BaseException:
            if files.exists(where):
                files.rm(where)
            raise


def spooled(shape: tuple[int, int], folder: str | Path | None = None) -> np.memmap:
    """A new float32 matrix in a file of its own, memory-mapped and writable; the file goes when the matrix goes.

    Args:
        folder: where; None = the system's temporary folder.
    Raises:
        OSError: the disk has no room for it.
    """
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".npy", "litotes-vectors-", folder)
    os.close(handle)
    try:
        vectors = np.lib.format.open_memmap(name, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with open(name, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except BaseException:
        os.unlink(name)
        raise
    weakref.finalize(vectors, _gone, name)
    return vectors


def _gone(name: str) -> None:
    Path(name).unlink(missing_ok=True)


def _batches(ids: Sequence[str], vectors: np.ndarray, schema: pa.Schema, group: int) -> Iterator[pa.RecordBatch]:
    for lo in range(0, len(ids), group):
        block = np.ascontiguousarray(vectors[lo : lo + group])
        column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])
        yield pa.record_batch(
            [pa.array(ids[lo : lo + group], pa.string()), column.cast(schema.field("vector").type)], schema
        )


def _write_parquet(sink: Any, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    import pyarrow.parquet as pq

    # numbers of a vector hardly compress, and dictionaries of them are larger than they are
    with pq.ParquetWriter(sink, schema, compression={"id": "zstd"}, use_dictionary=False) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=max(1, len(batch)))


def _write_lance(text: str, files: Any, where: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    lance = need("lance", extra="lance", why="Lance datasets")
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    if text.partition("://")[0] in _BY_LANCE:
        lance.write_dataset(reader, text, schema, mode="overwrite" if files.exists(where) else "create")
        return
    local = _local(text)
    beside = None if local is None else local.parent
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(suffix=".litotes-partial", dir=beside) as folder:
        made = Path(folder) / "vectors.lance"
        lance.write_dataset(reader, str(made), schema)
        if files.exists(where):
            files.rm(where, recursive=True)
        if local is not None:
            os.replace(made, local)
            return
        for file in sorted(entry for entry in made.rglob("*") if entry.is_file()):
            target = f"{where}/{file.relative_to(made).as_posix()}"
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            files.put_file(str(file), target)


def _lance_parts(text: str, columns: Sequence[str] | None) -> Iterator[Part]:
    lance = need("lance", extra="lance", why="Lance datasets")
    with _lance_place(text) as place:
        try:
            dataset = lance.dataset(place)
        except (ValueError, OSError) as error:
            raise BadInput(f"no Lance dataset ({_first_line(error)})", "a .lance dataset", file=text) from None
        line = 1
        chosen = None if columns is None else [name for name in columns if name in dataset.schema.names]
        for batch in dataset.to_batches(columns=chosen, batch_size=_ROWS, scan_in_order=True):
            yield Part(text, line, pa.Table.from_batches([batch]))
            line += len(batch)
        if line == 1:
            yield Part(text, 1, dataset.schema.empty_table() if columns is None else dataset.to_table(columns=chosen))


@contextmanager
def _lance_place(text: str) -> Iterator[str]:
    """Where Lance can open the dataset."""
    local = _local(text)
    if local is not None or text.partition("://")[0] in _BY_LANCE:
        yield text if local is None else str(local)
        return
    files, where = _files(text)
    if not files.exists(where):
        raise BadInput("no such dataset", "a .lance dataset", file=text)
    folder = tempfile.mkdtemp(prefix="litotes-lance-")
    try:
        for name in files.find(where):
            target = Path(folder) / name[name.index(where) + len(where) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(name, str(target))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parquet_parts(files: Any, name: str, shown: str, columns: Sequence[str] | None) -> Iterator[Part]:
    import pyarrow.parquet as pq

    try:
        with files.open(name, "rb") as source, pq.ParquetFile(source) as file:
            chosen = None if columns is None else [column for column in columns if column in file.schema_arrow.names]
            line = 1
            for batch in file.iter_batches(_ROWS, columns=chosen):
                yield Part(shown, line, pa.Table.from_batches([batch]))
                line += len(batch)
            if line == 1:
                yield Part(shown, 1, file.schema_arrow.empty_table())
    except FileNotFoundError:
        raise BadInput("no such file", "a Parquet file", file=shown) from None
    except pa.ArrowInvalid as error:
        raise BadInput(f"a broken file ({error})", "a Parquet file", file=shown) from None


def _files(text: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path on it."""
    from fsspec.core import url_to_fs

    local = _local(text)
    return url_to_fs(text if local is None else str(local.absolute()))


def _local(text: str) -> Path | None:
    """The local path that this is, or None for a URL of another file system."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if "://" in text else Path(text)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
