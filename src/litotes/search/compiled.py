"""The exact scan on a CPU: torch multiplies tiles, compiled loops take from them what may be among the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Barrier
from typing import Any

import numpy as np

from litotes.search.bounds import Bounds
from litotes.search.problem import Problem, capacity, padded

ROWS = {"bfloat16": 1024, "float32": 512}  # queries of a tile
COLUMNS = 512  # documents of a tile: its scores, 1 MB, are as large as a core's second-level cache
_NOTHING = 1e30  # the line of a query that wants no document; scaled scores are below 2
_CROWDED = 8192  # one round of early scoring for so many documents, and float32 products cost less
_LOWERED = 4  # tiles of documents that are rounded at a time


class CompiledScan:
    """Passes of a corpus under groups of queries; every thread multiplies and scans its own tiles.

    Per query there is a buffer of candidates, each with a lower and an upper bound of its score, and a line: the k-th
    largest lower bound, below which no document can be among the best k. A tile's scores are compared with the line
    (less the largest error of the tile), many at once; the few above it are looked at one by one, masks included. A
    full buffer raises the line and drops what lies wholly below; if that leaves it crowded (near-ties), its documents
    are scored by the definition then and there and only the k best are kept. So whatever is dropped is proved to be
    beaten by k others, no proof fails, and the buffer never overflows.

    Where queries are crowded again and again, the rest of the corpus is multiplied with `finer` bounds: candidates and
    lines stay as they are, for both speak of the same scaled scores.

    Cost: time O(Q N D) products and O(Q (k + survivors) D) in float64; memory see `exact.scratch_bytes`.
    """

    def __init__(self, problem: Problem, bounds: Bounds, finer: Bounds | None, threads: int, corpus_block: int):
        from litotes.search import kernels

        self._problem, self._bounds, self._finer, self._threads = problem, bounds, finer, threads
        self._block, self._kernels = min(corpus_block, problem.count), kernels
        kinds = {"cosine": kernels.COSINE, "dot": kernels.DOT, "l2": kernels.L2}
        vectors, norms = (problem.queries, problem.corpus), (problem.query_norms, problem.corpus_norms)
        self._pair = (*vectors, *norms, problem.dimensions, kinds[problem.similarity])
        self._mask = _mask_arrays(problem)

    def run(self, group: slice, pool: ThreadPoolExecutor, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Fill rows `group` of ids and scores.

        Out:  int64 [n, 3]: survivors, rounds of early scoring, and 1 where finer bounds took over.
        """
        problem, count = self._problem, group.stop - group.start
        tiles = list(_evenly(count, ROWS[self._bounds.precision], self._threads))
        found, survivors = _buffers(count, problem.k[group], problem.k.max()), np.zeros(len(ids), np.int64)
        products, finer = _Products(problem, self._bounds, group, tiles, self._block, self._threads), self._finer
        same = found, self._pair, self._mask
        for low, high in self._spans():
            rows = problem.rows(low, high)
            rounds = int(found[-1].sum())
            products.load(np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows, pool)
            _all(pool, lambda tile, with_=products: with_.scan(tile, *same), tiles)
            if finer is not None and found[-1].sum() - rounds >= count * max(1.0, (high - low) / _CROWDED):
                products, finer = _Products(problem, finer, group, tiles, self._block, self._threads), None

        def finish(tile: slice) -> None:
            where = group.start + tile.start, tile.start, tile.stop - tile.start
            self._kernels.finish(*where, products.query_terms, found, self._pair, ids, scores, survivors)

        _all(pool, finish, tiles)
        switched = np.full(count, int(self._finer is not None and finer is None))
        return np.stack([survivors[group], found[-1], switched], axis=1)

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Blocks of the documents; the first is one tile, to see early where queries are crowded."""
        low, count = 0, self._problem.count
        while low < count:
            high = min(low + (self._block if low else min(self._block, COLUMNS)), count)
            yield low, high
            low = high


class _Products:
    """A group of queries and one block of the corpus at a time in low precision, and their products tile by tile."""

    def __init__(
        self, problem: Problem, bounds: Bounds, group: slice, tiles: Sequence[slice], block: int, threads: int
    ):
        import torch

        from litotes.search import kernels

        bfloat16 = bounds.precision == "bfloat16"
        self._problem, self._bounds, self._group, self._scan = problem, bounds, group, kernels.scan
        self._lower = kernels.lower_bfloat16 if bfloat16 else kernels.lower_float32
        self._dtype, self._seen = (torch.bfloat16, torch.int16) if bfloat16 else (torch.float32, torch.float32)
        room = padded(max(tile.stop - tile.start for tile in tiles))
        self._queries, self.query_terms = self._lowered_queries(room)
        self._block = self._zeros(-(-block // COLUMNS) * COLUMNS)
        self._terms, self._views = np.zeros((len(self._block), 3)), []  # type: tuple[np.ndarray, list[tuple[Any, ...]]]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            self._free.put(torch.empty((room, COLUMNS), dtype=self._dtype))

    def load(self, rows: np.ndarray, pool: ThreadPoolExecutor) -> None:
        """Bring documents into low precision, in place of those before."""
        step = _LOWERED * COLUMNS
        _all(pool, lambda low: self._load(rows[low : low + step], low), range(0, len(rows), step))
        self._views = [
            (self._block[span].T, rows[span], self._terms[span])
            for span in (slice(low, low + COLUMNS) for low in range(0, len(rows), COLUMNS))
        ]

    def scan(self, tile: slice, found: tuple, pair: tuple, mask: tuple) -> None:
        """Multiply some queries with the documents loaded, and take what may be among their best."""
        import torch

        size, place = tile.stop - tile.start, self._free.get()
        left, out = self._queries[tile.start : tile.start + padded(size)], place[: padded(size)]
        seen, first = out.view(self._seen).numpy(), self._group.start + tile.start
        for right, rows, terms in self._views:
            torch.mm(left, right, out=out)
            where = size, len(rows), first, tile.start, rows
            self._scan(seen, *where, self.query_terms, terms, self._bounds.output, found, pair, mask)
        self._free.put(place)

    def _lowered_queries(self, room: int) -> tuple[Any, np.ndarray]:
        """Queries in low precision, with room for the zeros of the last tile, and the terms of their bounds."""
        bounds, rows = self._bounds, np.arange(self._group.start, self._group.stop)
        low, errors, factors = self._zeros(len(rows) + room), np.empty(len(rows)), bounds.query_factors(self._group)
        numbers = self._numbers(low, len(rows))
        self._lower(self._problem.queries, bounds.dimensions, rows, factors, factors, 0, numbers, errors)
        low[: len(rows), bounds.dimensions : bounds.dimensions + bounds.pieces] = 1.0
        return low, bounds.query_terms(self._group, errors)

    def _load(self, rows: np.ndarray, low: int) -> None:
        """Documents in low precision at one place of the block, zeros behind them up to a whole tile."""
        bounds, norms, errors = self._bounds, self._problem.corpus_norms[rows], np.empty(len(rows))
        factors, end = bounds.document_factors(norms), low + len(rows)
        halves = bounds.halves(norms) if bounds.pieces else factors
        numbers = self._numbers(self._block[low:], len(rows))
        self._lower(self._problem.corpus, bounds.dimensions, rows, factors, halves, bounds.pieces, numbers, errors)
        self._block[end : -(-end // COLUMNS) * COLUMNS] = 0
        self._terms[low:end] = bounds.document_terms(norms, errors)

    def _zeros(self, rows: int) -> Any:
        import torch

        return torch.zeros((padded(rows), self._bounds.depth), dtype=self._dtype)

    def _numbers(self, low: Any, rows: int) -> np.ndarray:
        """The memory of the first rows as compiled loops write it."""
        import torch

        if self._dtype is torch.bfloat16:
            return low[:rows].view(torch.int16).numpy().view(np.uint16)
        return low[:rows].numpy()


def search(
    problem: Problem, bounds: Bounds, finer: Bounds | None, threads: int, query_block: int, corpus_block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact answers to a whole problem: ids int32 [Q, k], scores float32 [Q, k], int64 [Q, 3] as `CompiledScan.run`."""
    count, width = len(problem.queries), int(problem.k.max(initial=0))
    ids, scores = np.full((count, width), -1, np.int32), np.full((count, width), -np.inf, np.float32)
    seen = [np.zeros((0, 3), np.int64)]
    if count and problem.count:
        scan = CompiledScan(problem, bounds, finer, threads, corpus_block)
        with workers(threads) as pool:
            for low in range(0, count, query_block):
                seen.append(scan.run(slice(low, min(low + query_block, count)), pool, ids, scores))
    else:
        seen.append(np.zeros((count, 3), np.int64))
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
