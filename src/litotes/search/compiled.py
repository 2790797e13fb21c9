"""The exact scan on a CPU: torch multiplies tiles, compiled loops take from them what may be among the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Barrier
from typing import Any

import numpy as np

from litotes.search.bounds import Bounds
from litotes.search.problem import Problem

ROWS = 256  # queries of a tile
_NOTHING = 1e30  # the line of a query that wants no document; scaled scores are below 2
_LOWERED = 4  # tiles of documents that are rounded at a time
_TILE_BYTES = 512 * 1024  # scores of a tile: half of a core's second-level cache


class CompiledScan:
    """One pass of a corpus under a group of queries; every thread multiplies and scans its own tiles.

    Per query there is a buffer of candidates, each with a lower and an upper bound of its score, and a line: the k-th
    largest lower bound, below which no document can be among the best k. A tile's scores are compared with the line
    (less the largest error of the tile), many at once; the few above it are looked at one by one, masks included. A
    full buffer raises the line and drops what lies wholly below; if that leaves it crowded (near-ties), its documents
    are scored by the definition then and there and only the k best are kept. So whatever is dropped is proved to be
    beaten by k others, no proof fails, and the buffer never overflows.

    Cost: time O(Q N D) products and O(Q (k + survivors) D) in float64; memory see `scratch_bytes`.
    """

    def __init__(self, problem: Problem, bounds: Bounds, threads: int, corpus_block: int):
        import torch

        from litotes.search import kernels

        self._problem, self._bounds, self._threads, self._kernels = problem, bounds, threads, kernels
        bfloat16 = bounds.precision == "bfloat16"
        self._dtype, self._seen = (torch.bfloat16, torch.int16) if bfloat16 else (torch.float32, torch.float32)
        self._low: Any
        self._stored: Any
        self._low, self._stored = (torch.int16, np.uint16) if bfloat16 else (torch.float32, np.float32)
        self._lower = kernels.lower_bfloat16 if bfloat16 else kernels.lower_float32
        self._columns = tile_columns(bounds.precision)
        self._block = min(corpus_block, problem.count)
        kinds = {"cosine": kernels.COSINE, "dot": kernels.DOT, "l2": kernels.L2}
        self._pair = (
            problem.queries,
            problem.corpus,
            problem.query_norms,
            problem.corpus_norms,
            problem.dimensions,
            kinds[problem.similarity],
        )
        self._mask = _mask_arrays(problem)

    def run(self, group: slice, pool: ThreadPoolExecutor, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Fill rows `group` of ids and scores. Returns int64 [n, 2]: survivors, and rounds of early scoring."""
        import torch

        problem, columns = self._problem, self._columns
        count = group.stop - group.start
        tiles = list(_evenly(count, ROWS, self._threads))
        longest = max(tile.stop - tile.start for tile in tiles)
        queries, query_terms = self._queries(group, longest)
        found, survivors = _buffers(count, problem.k[group], problem.k.max()), np.zeros(len(ids), np.int64)
        block = self._zeros(-(-self._block // columns) * columns)
        terms, free = np.zeros((len(block), 3)), SimpleQueue[Any]()
        for _ in range(self._threads):
            free.put(torch.empty((room_of(longest), columns), dtype=self._dtype))
        for start in range(0, problem.count, self._block):
            rows = problem.rows(start, start + self._block, problem.count)
            rows = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
            views = [
                (block[low : low + columns].T, rows[low : low + columns], terms[low : low + columns])
                for low in range(0, len(rows), columns)
            ]

            def lower(low: int, rows: np.ndarray = rows) -> None:
                self._lower_documents(rows[low : low + _LOWERED * columns], block[low:], terms[low:])

            def search(tile: slice, views: list[tuple[Any, ...]] = views) -> None:
                size, place = tile.stop - tile.start, free.get()
                left, out = queries[tile.start : tile.start + room_of(size)], place[: room_of(size)]
                seen = out.view(self._seen).numpy()
                where, same = (
                    (group.start + tile.start, tile.start),
                    (self._bounds.output, found, self._pair, self._mask),
                )
                for right, part, own in views:
                    torch.mm(left, right, out=out)
                    self._kernels.scan(seen, size, len(part), *where, part, query_terms, own, *same)
                free.put(place)

            _all(pool, lower, range(0, len(rows), _LOWERED * columns))
            _all(pool, search, tiles)

        def finish(tile: slice) -> None:
            where = group.start + tile.start, tile.start, tile.stop - tile.start
            self._kernels.finish(*where, query_terms, found, self._pair, ids, scores, survivors)

        _all(pool, finish, tiles)
        return np.stack([survivors[group], found[-1]], axis=1)

    def _queries(self, group: slice, longest: int) -> tuple[Any, np.ndarray]:
        """Queries in low precision, with room for the zeros of the last tile, and the terms of their bounds."""
        bounds, rows = self._bounds, np.arange(group.start, group.stop)
        low, errors = self._zeros(len(rows) + room_of(longest)), np.empty(len(rows))
        factors = bounds.query_factors(group)
        self._lower(
            self._problem.queries, bounds.dimensions, rows, factors, factors, 0, self._numbers(low, rows), errors
        )
        low[: len(rows), bounds.dimensions : bounds.dimensions + bounds.pieces] = 1.0
        return low, bounds.query_terms(group, errors)

    def _lower_documents(self, rows: np.ndarray, block: Any, terms: np.ndarray) -> None:
        """Some documents in low precision at the beginning of `block`, zeros behind them up to a whole tile."""
        bounds, norms, errors = self._bounds, self._problem.corpus_norms[rows], np.empty(len(rows))
        factors = bounds.document_factors(norms)
        halves = bounds.halves(norms) if bounds.pieces else factors
        stored = self._numbers(block, rows)
        self._lower(self._problem.corpus, bounds.dimensions, rows, factors, halves, bounds.pieces, stored, errors)
        block[len(rows) : -(-len(rows) // self._columns) * self._columns] = 0
        terms[: len(rows)] = bounds.document_terms(norms, errors)

    def _zeros(self, rows: int) -> Any:
        import torch

        return torch.zeros((room_of(rows), self._bounds.depth), dtype=self._dtype)

    def _numbers(self, low: Any, rows: np.ndarray) -> np.ndarray:
        """The memory of the first rows as compiled loops write it."""
        return low[: len(rows)].view(self._low).numpy().view(self._stored)


def search(
    problem: Problem, bounds: Bounds, threads: int, query_block: int, corpus_block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact answers to a whole problem: ids int32 [Q, k], scores float32 [Q, k], int64 [Q, 2] as `CompiledScan.run`."""
    count, width = len(problem.queries), int(problem.k.max(initial=0))
    ids, scores = np.full((count, width), -1, np.int32), np.full((count, width), -np.inf, np.float32)
    seen = [np.zeros((0, 2), np.int64)]
    if count and problem.count:
        scan = CompiledScan(problem, bounds, threads, corpus_block)
        with workers(threads) as pool:
            for low in range(0, count, query_block):
                seen.append(scan.run(slice(low, min(low + query_block, count)), pool, ids, scores))
    else:
        seen.append(np.zeros((count, 2), np.int64))
    return ids, scores, np.concatenate(seen)


def norms(vectors: np.ndarray, threads: int) -> np.ndarray:
    """`definition.norms`, bit for bit, by compiled loops."""
    from litotes.search import kernels

    rows, made = rows_of(vectors), np.empty(len(vectors))
    with ThreadPoolExecutor(threads) as pool:
        step = 4096
        _all(
            pool,
            lambda low: kernels.norms_into(rows, vectors.shape[1], low, min(low + step, len(vectors)), made),
            range(0, len(vectors), step),
        )
    return made


def rows_of(vectors: np.ndarray) -> np.ndarray:
    """The vectors as compiled loops read them: rows without gaps between numbers, else copied."""
    if vectors.flags.c_contiguous and vectors.flags.aligned:
        return vectors.view(np.ndarray)
    return np.ascontiguousarray(vectors)


def tile_columns(precision: str) -> int:
    """Documents of a tile."""
    return _TILE_BYTES // ROWS // (2 if precision == "bfloat16" else 4)


def room_of(rows: int) -> int:
    """Rows of zeros are added up to a multiple of 32: small products take other paths, with other errors."""
    return -(-rows // 32) * 32


def capacity(k: int) -> int:
    """Candidates that a query's buffer holds."""
    return max(4 * k, k + 256)


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each multiply alone: torch in them uses no further ones."""
    import torch

    before, together = torch.get_num_threads(), Barrier(threads)

    def alone() -> None:
        torch.get_num_threads()  # a thread's first question copies the number; later ones leave it
        torch.set_num_threads(1)
        together.wait()

    with ThreadPoolExecutor(threads) as pool:
        for one in [pool.submit(alone) for _ in range(threads)]:
            one.result()
        torch.set_num_threads(before)  # the number is a thread's own, but new threads copy the last one set
        yield pool


def _all(pool: ThreadPoolExecutor, function: Callable, items: Any) -> None:
    for _ in pool.map(function, items):
        pass


def _evenly(length: int, most: int, threads: int) -> Iterator[slice]:
    """Slices of at most `most`, as many as keep all threads busy to the end."""
    if not length:
        return iter(())
    rounds = -(-length // (most * threads))
    size = -(-length // (rounds * threads))
    return (slice(low, min(low + size, length)) for low in range(0, length, size))


def _buffers(count: int, k: np.ndarray, widest: int) -> tuple[np.ndarray, ...]:
    room = capacity(int(widest))
    return (
        np.empty((count, room), np.int32),
        np.empty((count, room), np.float32),
        np.empty((count, room), np.float32),
        np.zeros(count, np.int64),
        np.where(k > 0, -np.inf, _NOTHING),
        np.ascontiguousarray(k, np.int64),
        np.zeros(count, np.int64),
    )


def _mask_arrays(problem: Problem) -> tuple[np.ndarray, ...]:
    mask, no_rows = problem.mask, (np.zeros(0, np.int64), np.zeros(0, np.int32))
    no_groups, no_times = (np.zeros(0, np.int64),) * 2, (np.zeros(0),) * 3
    if mask is None:
        return (*no_rows, *no_rows, *no_groups, *no_times)
    return (
        *(mask.exclude or no_rows),
        *(mask.allow or no_rows),
        *(mask.groups or no_groups),
        *(mask.times or no_times),
    )
