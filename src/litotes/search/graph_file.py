"""The neighbour graph of many vectors, made block by block: stopped at any point, it goes on where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litotes.atomic import atomic_path, read_json, remove_leftovers, write_json
from litotes.progress import progress
from litotes.search.approximate import ApproximateIndex, checksum
from litotes.search.mask import Mask
from litotes.search.neighbours import Graph
from litotes.search.space import Space

BLOCK = 8192  # rows whose neighbours are one file


def neighbour_graph(
    vectors: np.ndarray,
    k: int,
    work: str | Path,
    *,
    similarity: str = "cosine",
    search: str = "exact",
    seed: int = 0,
) -> tuple[Graph, dict[str, str | float]]:
    """The graph of a self-join, and what is to be said about the search.

    Every finished block of rows is a file in the folder `work`, which stays: a run that was stopped and is started
    again reads those, and ends with the same graph. Delete the folder when the graph is where it belongs.

    Args:
        k: neighbours of a row, >= 1.
        search: "exact", or a kind of `ApproximateIndex`; its effort is raised to a recall of 0.95, which is measured.
    Raises:
        ValueError: an argument is out of range, or `work` holds the graph of something else.
        BadInput: the vectors are no float32 matrix, or hold NaN or infinity.
    """
    if not (isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1):
        raise ValueError(f"neighbours: k must be a whole number >= 1, got {k!r}")
    work, count = Path(work), len(vectors)
    space = Space(vectors, vectors, similarity)
    about = {"version": 1, "k": int(k), "similarity": similarity, "search": search, "seed": seed, "block": BLOCK}
    about["vectors"] = checksum(vectors)
    work.mkdir(parents=True, exist_ok=True)
    remove_leftovers(work)
    if (work / "manifest.json").exists() and read_json(work / "manifest.json") != about:
        raise ValueError(f"neighbours: {work} holds another graph, unfinished; choose another place, or delete it")
    write_json(work / "manifest.json", about)
    index = None
    notes: dict[str, str | float] = {}
    if search != "exact":
        index = ApproximateIndex.build(vectors, similarity, kind=search, seed=seed, folder=work)
        notes = {"search": index.kind}
        if count:
            index = index.tuned(vectors, k + 1, seed=seed + 1)
            notes["recall"] = str(index.recall(vectors, k + 1, seed=seed))
    parts = []
    with progress(total=count, what="joining", unit="rows") as bar:
        for low in range(0, count, BLOCK):
            rows = np.arange(low, min(low + BLOCK, count))
            file = work / f"part-{low // BLOCK:05d}.npy"
            if not file.exists():
                mask = Mask.of(len(rows), count, exclude=(np.arange(len(rows) + 1), rows))
                if index is None:
                    ids, scores = space.top_k(rows, k, mask)
                else:
                    ids, scores = index.top_k(np.asarray(vectors[low : low + len(rows)]), k, mask)
                with atomic_path(file) as path, open(path, "wb") as out:
                    np.save(out, np.stack([ids, scores.view(np.int32)]))
            parts.append(np.load(file))
            bar.update(len(rows))
    ids, bits = np.concatenate([np.zeros((2, 0, k), np.int32), *parts], axis=1)
    return Graph.of(ids, bits.view(np.float32)), notes


def write_graph(graph: Graph, ids: Any, out: str | Path, name: str = "document") -> int:
    """Write a graph as Parquet (`name`, neighbour, rank int32, score float32), best first; the number of edges.

    Args:
        ids: Arrow strings, one per row.
    """
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    kinds = [(name, pa.string()), ("neighbour", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]
    schema = pa.schema(kinds)
    with atomic_path(out) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for low in range(0, len(graph), BLOCK):
            first, last = graph.offsets[low], graph.offsets[min(low + BLOCK, len(graph))]
            lengths = np.diff(graph.offsets[low : low + BLOCK + 1])
            rows = np.repeat(np.arange(low, low + len(lengths)), lengths)
            rank = np.arange(first, last) - graph.offsets[rows]
            columns = [ids.take(pa.array(rows)), ids.take(pa.array(graph.items[first:last]))]
            columns += [pa.array(rank.astype(np.int32)), pa.array(graph.scores[first:last])]
            writer.write_table(pa.table(columns, schema=schema))
    return len(graph.items)


def write_components(component: np.ndarray, ids: Any, out: str | Path, name: str = "document") -> dict[str, int]:
    """Write components as Parquet (`name`, component = id of its first row, size int32), all rows; what they count.

    Out:  how many rows have a near-duplicate, in how many groups, the largest, and how many rows could go.
    """
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    sizes = np.bincount(component, minlength=len(component))
    columns = {
        name: ids,
        "component": ids.take(pa.array(component)),
        "size": pa.array(sizes[component].astype(np.int32)),
    }
    with atomic_path(out) as path:
        pq.write_table(pa.table(columns), path, compression="zstd")
    groups = sizes[sizes > 1]
    counts = {"rows with a near-duplicate": int(groups.sum()), "groups": len(groups)}
    return counts | {"largest group": int(sizes.max(initial=0)), "rows beyond one per group": int((groups - 1).sum())}


def forget(work: str | Path) -> None:
    """Delete what `neighbour_graph` left."""
    shutil.rmtree(work, ignore_errors=True)
