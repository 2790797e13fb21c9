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
from litotes.data.readers.parquet import parquet_table
from litotes.data.readers.tables import ID_NAMES, named
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
) -> Vectors:
    """Vectors of both sides, of one dimension. See `read_vectors`. Raises BadInput where the dimensions differ."""
    queries = read_vectors(query_vectors, collection, side="queries", ids=query_ids)
    corpus = read_vectors(corpus_vectors, collection, side="corpus", ids=corpus_ids)
    if queries.shape[1] != corpus.shape[1]:
        expected = f"{queries.shape[1]}, as in {query_vectors}"
        raise BadInput(f"vectors of dimension {corpus.shape[1]}", expected, file=corpus_vectors)
    return Vectors(queries, corpus)


def read_vectors(
    path: str | Path, collection: Collection, *, side: Literal["queries", "corpus"], ids: str | Path | None = None
) -> np.ndarray:
    """One vector per query or document.

    Out:  float32 [rows of that side, D]. Where a .npy file is float32 and already in the order of the rows, it is the
          file itself, memory-mapped and read-only; else a new array. float16 and float64 are rounded to float32.

    Args:
        path: `.npy` with an array [N, D] of floats, or `.parquet` with a column `id` and a column of lists of floats
            (`vector` or `embedding`).
        side: whose vectors they are.
        ids: for .npy, the file that says whose vector stands in which row: `.txt` (one id per line) or `.json` (a
            list). None looks for `<stem>.ids.txt`, `<stem>.ids.json`, `<stem>.txt` and `<stem>.json` beside it.
    Raises:
        BadInput: the shape is not [N, D], rows and ids are not as many, an id is unknown, twice there or missing, the
            vectors are not all of one dimension, or a number is NaN or infinite (also in float32).
        ValueError: side is neither "queries" nor "corpus".
    """
    if side not in ("queries", "corpus"):
        raise ValueError(f"read_vectors: side must be 'queries' or 'corpus', got {side!r}")
    path = Path(path)
    if path.suffix == ".npy":
        matrix = _npy(path)
        names, where = _ids(Path(ids) if ids is not None else _beside(path))
        if len(names) != len(matrix):
            raise BadInput(f"{len(matrix)} vectors", f"{len(names)}, the number of ids in {where}", file=path)
    elif path.suffix == ".parquet":
        matrix, names = _parquet(path)
        where = path
    else:
        raise BadInput(f"the ending {path.suffix!r}", ".npy or .parquet", file=path)
    rows = _aligned(names, collection.queries if side == "queries" else collection.corpus, where, side)
    _refuse_not_finite(matrix, names, path)
    if matrix.dtype == np.float32 and (rows == np.arange(len(rows))).all():
        return matrix
    vectors = np.empty(matrix.shape, np.float32)
    for low in range(0, len(rows), _BLOCK):
        vectors[rows[low : low + _BLOCK]] = matrix[low : low + _BLOCK]
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


def _parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    table = parquet_table(path)
    identity, column = named(table, ID_NAMES, path), named(table, VECTOR_NAMES, path)
    kind = table.schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise BadInput(f"the type {kind}", "a list of floats", file=path, field=column)
    vectors = table[column].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy(zero_copy_only=False)
    dimension = int(lengths[0]) if len(lengths) else 1
    odd = np.flatnonzero((lengths != dimension) | (lengths < 1))
    if len(odd):
        found = "null" if lengths[odd[0]] < 0 else f"a vector of {lengths[odd[0]]} numbers"
        expected = f"{dimension}, as in the first row" if dimension > 0 else "at least 1 number"
        raise BadInput(found, expected, file=path, line=int(odd[0]) + 1, field=column)
    flat = pc.list_flatten(vectors)
    numbers = flat.to_numpy(zero_copy_only=False)  # a null among floats becomes NaN, and is refused with its row
    names = text_column(table[identity], identity, path, numbers=True)
    if names.null_count:
        row = pc.index(pc.is_null(names), True).as_py() + 1
        raise BadInput("null", "an id", file=path, line=row, field=identity)
    return numbers.reshape(len(table), dimension), names.to_pylist()


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


def _aligned(names: Sequence[str], table: pa.Table, where: Path, side: str) -> np.ndarray:
    """Row of the collection for every vector: int64."""
    ids = pa.array(names, pa.string())
    found = pc.fill_null(pc.index_in(ids, value_set=table["id"].combine_chunks()), -1).to_numpy(zero_copy_only=False)
    if (found < 0).any():
        row = int(np.flatnonzero(found < 0)[0])
        unknown = int((found < 0).sum())
        raise BadInput(
            f"the unknown id {names[row]!r} ({unknown} such)", f"an id of the {side}", file=where, line=row + 1
        )
    _, first = np.unique(found, return_index=True)
    if len(first) < len(found):
        row = int(np.setdiff1d(np.arange(len(found)), first)[0])
        before = int(np.flatnonzero(found == found[row])[0]) + 1
        raise BadInput(
            f"id {names[row]!r} a second time, first on line {before}", "each id once", file=where, line=row + 1
        )
    if len(found) < len(table):
        missing = np.setdiff1d(np.arange(len(table)), found)
        name = table["id"][int(missing[0])].as_py()
        raise BadInput(f"no vector for {name!r} ({len(missing)} such)", f"one for each id of the {side}", file=where)
    return found.astype(np.int64)


def _refuse_not_finite(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    for low in range(0, len(matrix), _BLOCK):
        with np.errstate(over="ignore"):
            block = np.asarray(matrix[low : low + _BLOCK]).astype(np.float32, copy=False)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = low + int(np.flatnonzero(~finite)[0])
            value = np.asarray(block[row - low])
            found = f"{value[~np.isfinite(value)][0]} in the vector of {names[row]!r}"
            raise BadInput(found, "finite float32 numbers", file=path, line=row + 1)
