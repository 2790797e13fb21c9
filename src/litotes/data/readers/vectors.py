"""Vectors that people already have, put in the order of a collection's rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.data.readers.gate import text_column
from litotes.data.readers.lines import read_lines, spoken
from litotes.data.readers.tables import ID_NAMES, named
from litotes.data.vector_files import is_streamed, read_parts, spooled
from litotes.errors import BadInput, BadRows

VECTOR_NAMES = ("vector", "embedding", "embeddings", "vectors")
_BLOCK = 1 << 15


class Vectors(NamedTuple):
    """`queries` float32 [Q, D] and `corpus` float32 [N, D], rows as in the collection."""

    queries: np.ndarray
    corpus: np.ndarray


def read_vector_pair(
    collection: Collection,
    query_vectors: str | Path,
    corpus_vectors: str | Path,
    *,
    query_ids: str | Path | None = None,
    corpus_ids: str | Path | None = None,
    spool: str | Path | None = None,
) -> Vectors:
    """Vectors of both sides, of one dimension. See `read_vectors`. Raises BadInput where the dimensions differ."""
    queries = read_vectors(query_vectors, collection, side="queries", ids=query_ids, spool=spool)
    corpus = read_vectors(corpus_vectors, collection, side="corpus", ids=corpus_ids, spool=spool)
    if queries.shape[1] != corpus.shape[1]:
        expected = f"{queries.shape[1]}, as in {query_vectors}"
        raise BadInput(f"vectors of dimension {corpus.shape[1]}", expected, file=corpus_vectors)
    return Vectors(queries, corpus)


def read_vectors(
    path: str | Path,
    collection: Collection,
    *,
    side: Literal["queries", "corpus"],
    ids: str | Path | None = None,
    spool: str | Path | None = None,
) -> np.ndarray:
    """One vector per query or document.

    Out:  float32 [rows of that side, D]. Where a .npy file is float32 and already in the order of the rows, it is the
          file itself, memory-mapped and read-only; another .npy file gives a new array; Parquet and Lance are streamed
          into a temporary memory-mapped file, which goes with the array. float16 and float64 are rounded to float32.
    Cost: of Parquet and Lance, 4 N D bytes of disk and a few thousand rows of memory.

    Args:
        path: `.npy` with an array [N, D] of floats; or a `.parquet` file, a folder of such, or a `.lance` dataset, each
            local or a URL that fsspec knows, with a column `id` and a column of lists of floats (`vector` or
            `embedding`).
        side: whose vectors they are.
        ids: for .npy, the file that says whose vector stands in which row: `.txt` (one id per line) or `.json` (a
            list). None looks for `<stem>.ids.txt`, `<stem>.ids.json`, `<stem>.txt` and `<stem>.json` beside it.
        spool: folder of the temporary file; None = the system's.
    Raises:
        BadInput: the shape is not [N, D], rows and ids are not as many, an id is unknown, twice there or missing, the
            vectors are not all of one dimension, or a number is NaN or infinite (also in float32).
        ValueError: side is neither "queries" nor "corpus".
    """
    if side not in ("queries", "corpus"):
        raise ValueError(f"read_vectors: side must be 'queries' or 'corpus', got {side!r}")
    table = collection.queries if side == "queries" else collection.corpus
    if is_streamed(path):
        return _streamed(path, table, side, spool)
    path = Path(path)
    if path.suffix != ".npy":
        raise BadInput(f"the ending {path.suffix!r}", ".npy, .parquet, .lance or a folder of .parquet", file=path)
    matrix = _npy(path)
    names, where = _ids(Path(ids) if ids is not None else _beside(path))
    if len(names) != len(matrix):
        raise BadInput(f"{len(matrix)} vectors", f"{len(names)}, the number of ids in {where}", file=path)
    places = _Places(table, side)
    rows = places.of(names, where, 1)
    places.whole(where)
    for low in range(0, len(names), _BLOCK):
        _narrowed(matrix[low : low + _BLOCK], names[low : low + _BLOCK], path, low + 1)
    if matrix.dtype == np.float32 and (rows == np.arange(len(rows))).all():
        return matrix
    vectors = np.empty(matrix.shape, np.float32)
    for low in range(0, len(rows), _BLOCK):
        vectors[rows[low : low + _BLOCK]] = matrix[low : low + _BLOCK]
    return vectors


def _streamed(path: str | Path, table: pa.Table, side: str, spool: str | Path | None) -> np.ndarray:
    places = _Places(table, side)
    vectors: np.ndarray | None = None
    for part in read_parts(path, (*ID_NAMES, *VECTOR_NAMES)):
        matrix, names = _rows_of(part.table, part.file, part.line, None if vectors is None else vectors.shape[1])
        rows = places.of(names, part.file, part.line)
        block = _narrowed(matrix, names, part.file, part.line)
        if vectors is None and len(block):
            vectors = spooled((len(table), block.shape[1]), spool)
        if vectors is not None:
            vectors[rows] = block
    places.whole(path)
    if vectors is None:
        raise BadInput("no vectors", f"one for each id of the {side}", file=path)
    vectors.flush()  # type: ignore[attr-defined]
    vectors.flags.writeable = False
    return vectors


def _npy(path: Path) -> np.ndarray:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BadInput("no such file", "a .npy file", file=path) from None
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(f"a broken file ({error})", "a .npy file of numbers", file=path) from None
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or not matrix.shape[1]:
        raise BadInput(f"the shape {list(getattr(matrix, 'shape', []))}", "[N, D], D >= 1", file=path)
    if matrix.dtype not in (np.float16, np.float32, np.float64):
        raise BadInput(f"numbers of type {matrix.dtype}", "float16, float32 or float64", file=path)
    return matrix


def _rows_of(table: pa.Table, file: str, line: int, dimension: int | None) -> tuple[np.ndarray, list[str]]:
    """Numbers [n, D] and ids of some rows, the first of which is `line`; `dimension` = that of the rows before."""
    place = Path(file) if "://" not in file else file
    identity, column = named(table, ID_NAMES, place), named(table, VECTOR_NAMES, place)  # type: ignore[arg-type]
    kind = table.schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise BadInput(f"the type {kind}", "a list of floats", file=file, field=column)
    vectors = table[column].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy(zero_copy_only=False)
    wanted = dimension or (int(lengths[0]) if len(lengths) else 1)
    odd = np.flatnonzero((lengths != wanted) | (lengths < 1))
    if len(odd):
        found = "null" if lengths[odd[0]] < 0 else f"a vector of {lengths[odd[0]]} numbers"
        expected = f"{wanted}, as in the first row" if wanted > 0 else "at least 1 number"
        raise BadInput(found, expected, file=file, line=line + int(odd[0]), field=column)
    numbers = pc.list_flatten(vectors).to_numpy(zero_copy_only=False)  # a null among floats becomes NaN, and is refused
    names = text_column(table[identity], identity, place, numbers=True)  # type: ignore[arg-type]
    if names.null_count:
        row = pc.index(pc.is_null(names), True).as_py()
        raise BadInput("null", "an id", file=file, line=line + row, field=identity)
    return numbers.reshape(len(table), wanted), names.to_pylist()


def _beside(path: Path) -> Path:
    candidates = [path.with_name(path.stem + ending) for ending in (".ids.txt", ".ids.json", ".txt", ".json")]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    names = ", ".join(candidate.name for candidate in candidates)
    raise BadInput("no file of ids", f"{names} beside it, or an ids file given", file=path)


def _ids(path: Path) -> tuple[list[str], Path]:
    if path.suffix == ".json":
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput("no such file", "a .json list of ids", file=path) from None
        except ValueError as error:
            raise BadInput(f"broken JSON ({error})", "a list of ids", file=path) from None
        if not isinstance(names, list):
            raise BadInput(spoken(names), "a list of ids", file=path)
        for row, name in enumerate(names, 1):
            if not isinstance(name, str):
                raise BadInput(f"{spoken(name)} as item {row}", "a string", file=path)
        return names, path
    return [line.rstrip("\r\n") for _, line in read_lines(path, BadRows())], path


class _Places:
    """Which row of the collection each vector belongs to; every row gets one, and none two."""

    def __init__(self, table: pa.Table, side: str):
        self._ids, self._side = table["id"].combine_chunks(), side
        self._seen = np.zeros(len(table), np.int64)  # line of each row's vector, 0 = none yet
        self._files: dict[str, int] = {}
        self._file = np.zeros(len(table), np.int32)

    def of(self, names: Sequence[str], file: str | Path, line: int) -> np.ndarray:
        """Rows of the vectors with these ids, the first of which stands on `line`: int64."""
        ids = pa.array(names, pa.string())
        found = pc.fill_null(pc.index_in(ids, value_set=self._ids), -1).to_numpy(zero_copy_only=False)
        if (found < 0).any():
            row = int(np.flatnonzero(found < 0)[0])
            unknown = f"the unknown id {names[row]!r} ({int((found < 0).sum())} such)"
            raise BadInput(unknown, f"an id of the {self._side}", file=file, line=line + row)
        _, first = np.unique(found, return_index=True)
        again = np.setdiff1d(np.arange(len(found)), first)
        again = np.concatenate([np.flatnonzero(self._seen[found] > 0), again])
        if len(again):
            row = int(again.min())
            before = int(self._seen[found[row]]) or line + int(np.flatnonzero(found == found[row])[0])
            names_of = [name for name, number in self._files.items() if number == self._file[found[row]]]
            elsewhere = f" of {names_of[0]}" if self._seen[found[row]] and names_of[0] != str(file) else ""
            twice = f"id {names[row]!r} a second time, first on line {before}{elsewhere}"
            raise BadInput(twice, "each id once", file=file, line=line + row)
        self._seen[found] = np.arange(line, line + len(found))
        self._file[found] = self._files.setdefault(str(file), len(self._files))
        return found.astype(np.int64)

    def whole(self, where: str | Path) -> None:
        """Refuse a side of which some rows have no vector."""
        missing = np.flatnonzero(self._seen == 0)
        if len(missing):
            name = self._ids[int(missing[0])].as_py()
            expected = f"one for each id of the {self._side}"
            raise BadInput(f"no vector for {name!r} ({len(missing)} such)", expected, file=where)


def _narrowed(matrix: np.ndarray, names: Sequence[str], file: str | Path, line: int) -> np.ndarray:
    """The same in float32. Raises BadInput for a number that is not finite there."""
    with np.errstate(over="ignore"):
        block = np.asarray(matrix).astype(np.float32, copy=False)
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        found = f"{block[row][~np.isfinite(block[row])][0]} in the vector of {names[row]!r}"
        raise BadInput(found, "finite float32 numbers", file=file, line=line + row)
    return block
