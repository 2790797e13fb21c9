"""The exact scan in torch, on any device whose products have an error bound: a line per query, few survivors."""

from __future__ import annotations

from typing import Any

import numpy as np

from litotes.search.bounds import Bounds
from litotes.search.definition import score_pairs
from litotes.search.problem import Problem, capacity, padded
from litotes.search.ranked import best

_ROWS = 512  # queries of a tile
_UP = 1 + 1e-9


class TorchScan:
    """What `CompiledScan` does, as whole-tensor steps: the same bounds, the same line, the same answers.

    Candidates of a query are kept with a lower and an upper bound of their score. A tile's products are compared with
    the line (the k-th largest lower bound, less the largest error of the tile); what is above joins the candidates,
    the line rises, and what lies wholly below it is dropped: k others beat it. Queries left with more than `room`
    candidates (near-ties) have them scored by the definition at once and keep the k best.

    In:   a problem; where its vectors lie on the host, blocks are moved to the device as they come.
    Cost: O(Q N D) products; memory O(query_block (room + k) + corpus_block D + tile), on the device.
    """

    def __init__(self, problem: Problem, bounds: Bounds, device: str, threads: int, corpus_block: int):
        import torch

        self._problem, self._bounds, self._device, self._block = problem, bounds, device, corpus_block
        self._threads = threads
        self._dtype = torch.bfloat16 if bounds.precision == "bfloat16" else torch.float32
        self._room = capacity(int(problem.k.max()))

    def run(self, group: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ids int32 [n, k] and scores float32 [n, k] of the queries `group`; int64 [n, 2]: survivors, early rounds."""
        import torch

        problem, bounds, count = self._problem, self._bounds, group.stop - group.start
        factors = bounds.query_factors(group)
        queries, errors = self._lowered(problem.queries[group], factors, None)
        terms = torch.from_numpy(bounds.query_terms(group, errors)).to(self._device)
        tiles = [slice(low, min(low + _ROWS, count)) for low in range(0, count, _ROWS)]
        states = [_State(tile.stop - tile.start, self._device) for tile in tiles]
        wanted = torch.from_numpy(problem.k[group]).to(self._device)
        early, seen, length = np.zeros(count, np.int64), 0, problem.count
        while seen < length:
            # before there is a line everything is a candidate, so the first blocks are small and later ones double
            rows = problem.rows(seen, seen + max(self._room, seen), seen + self._block, length)
            norms = problem.corpus_norms[rows]
            block, errors = self._lowered(problem.corpus[rows], bounds.document_factors(norms), bounds.halves(norms))
            document_terms = torch.from_numpy(bounds.document_terms(norms, errors)).to(self._device)
            documents = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
            for tile, state in zip(tiles, states, strict=True):
                size = tile.stop - tile.start
                products = (queries[tile.start : tile.start + padded(size)] @ block.T)[:size, : len(documents)]
                own = terms[tile]
                found = self._above(products, state.lines, own, document_terms)
                if problem.mask is not None:
                    found = self._kept(found, documents, group.start + tile.start)
                state.add(found, products, own, document_terms, documents, bounds.output)
                state.raise_lines(wanted[tile], own)
                self._relieve(state, slice(group.start + tile.start, group.start + tile.stop), early[tile])
            seen += len(documents)
        ids = np.concatenate([_wide(state.ids.cpu().numpy(), max(s.width for s in states)) for state in states])
        survivors = (ids >= 0).sum(axis=1)
        best_ids, best_scores = best(ids, self._scores(np.arange(group.start, group.stop), ids), problem.k[group])
        return best_ids, best_scores, np.stack([survivors, early], axis=1)

    def _lowered(self, vectors: np.ndarray, factors: np.ndarray, halves: np.ndarray | None) -> tuple[Any, np.ndarray]:
        """Scaled vectors in low precision, behind them the columns of l2 and zeros; and lengths of what was lost."""
        import torch

        bounds = self._bounds
        low = torch.zeros((padded(len(vectors)), bounds.depth), dtype=self._dtype, device=self._device)
        exact = torch.from_numpy(np.array(vectors, copy=True)).to(self._device).double()
        exact *= torch.from_numpy(factors).to(self._device)[:, None]
        inside = low[: len(vectors), : bounds.dimensions]
        inside.copy_(exact.float())
        errors = (exact - inside.double()).square_().sum(dim=1).sqrt_().cpu().numpy() * _UP
        if halves is None:
            low[: len(vectors), bounds.dimensions : bounds.dimensions + bounds.pieces] = 1.0
        else:
            rest = torch.from_numpy(halves).to(self._device)
            for piece in range(bounds.pieces):
                column = low[: len(vectors), bounds.dimensions + piece]
                column.copy_(rest.float())
                rest = rest - column.double()
        return low, errors

    def _above(self, products: Any, lines: Any, terms: Any, document_terms: Any) -> tuple[Any, Any]:
        """The pairs of a tile that may still be among the best: (rows [m], columns [m]), by rows."""
        import torch

        reach = terms[:, :2] @ document_terms[:, :2].amax(dim=0) + terms[:, 2] + document_terms[:, 2].amax()
        reach = reach * _UP
        under = lines - reach - 1e-12 * (lines.abs() + reach)
        output = self._bounds.output
        under = torch.where(under >= 0, under / (1 + output), under / (1 - output)).to(products.dtype)
        floor = torch.nextafter(under, torch.full_like(under, -torch.inf))
        rows, columns = (products >= floor[:, None]).nonzero().T
        return rows, columns

    def _kept(self, found: tuple[Any, Any], documents: np.ndarray, first: int) -> tuple[Any, Any]:
        import torch

        assert self._problem.mask is not None
        rows, columns = (part.cpu().numpy() for part in found)
        kept = self._problem.mask.keeps(rows + first, documents[columns])
        return tuple(torch.from_numpy(part[kept]).to(self._device) for part in (rows, columns))  # type: ignore[return-value]

    def _relieve(self, state: _State, rows: slice, early: np.ndarray) -> None:
        """Score the candidates of crowded queries by the definition, and keep their k best."""
        import torch

        crowded = state.counts().cpu().numpy() > self._room
        if not crowded.any():
            return
        which = np.flatnonzero(crowded)
        place = torch.from_numpy(which).to(self._device)
        ids = state.ids[place].cpu().numpy()
        queries = which + rows.start
        ids, scores = best(ids, self._scores(queries, ids), self._problem.k[queries])
        least, most = self._bounds.around(scores, queries, self._problem.corpus_norms[np.maximum(ids, 0)])
        absent = ids < 0
        least[absent], most[absent] = -np.inf, -np.inf
        state.replace(place, *(torch.from_numpy(part).to(self._device) for part in (ids.astype(np.int64), least, most)))
        early[which] += 1

    def _scores(self, queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Definition scores of ids [n, w] for queries [n]; -inf where an id is -1."""
        problem, exists = self._problem, ids >= 0
        scores = np.full(ids.shape, -np.inf, np.float32)
        scores[exists] = score_pairs(
            problem.queries,
            problem.corpus,
            np.repeat(queries, exists.sum(axis=1)),
            ids[exists],
            problem.similarity,
            problem.query_norms,
            problem.corpus_norms,
            self._threads,
        )
        return scores


class _State:
    """Candidates of the queries of one tile: ids int64 [n, w] (-1 = none), least and most float64 [n, w], lines [n]."""

    def __init__(self, rows: int, device: str):
        import torch

        self.ids = torch.full((rows, 0), -1, dtype=torch.int64, device=device)
        self.least = torch.full((rows, 0), -torch.inf, dtype=torch.float64, device=device)
        self.most = self.least.clone()
        self.lines = torch.full((rows,), -torch.inf, dtype=torch.float64, device=device)

    @property
    def width(self) -> int:
        return self.ids.shape[1]

    def counts(self) -> Any:
        return (self.ids >= 0).sum(dim=1)

    def add(
        self,
        found: tuple[Any, Any],
        products: Any,
        terms: Any,
        document_terms: Any,
        documents: np.ndarray,
        output: float,
    ) -> None:
        import torch

        rows, columns = found
        if not len(rows):
            return
        values, own, part = products[rows, columns].double(), terms[rows], document_terms[columns]
        error = (own[:, 0] * part[:, 0] + own[:, 1] * part[:, 1] + own[:, 2] + part[:, 2] + output * values.abs()) * _UP
        lengths = torch.bincount(rows, minlength=len(self.ids))
        starts = self.width + torch.arange(len(rows), device=rows.device) - (lengths.cumsum(0) - lengths)[rows]
        wide = self.width + int(lengths.max())
        self.ids, self.least, self.most = (
            torch.nn.functional.pad(old, (0, wide - self.width), value=value)
            for old, value in ((self.ids, -1), (self.least, -torch.inf), (self.most, -torch.inf))
        )
        self.ids[rows, starts] = torch.from_numpy(documents).to(rows.device)[columns]
        self.least[rows, starts], self.most[rows, starts] = values - error, values + error

    def raise_lines(self, wanted: Any, terms: Any) -> None:
        """Lines to the k-th largest lower bound; what lies wholly below is dropped."""
        import torch

        if not self.width:
            return
        highest = self.least.topk(min(self.width, int(wanted.max())), dim=1).values
        highest = torch.nn.functional.pad(highest, (0, int(wanted.max()) - highest.shape[1]), value=-torch.inf)
        lines = torch.minimum(highest.gather(1, (wanted - 1).clamp(min=0)[:, None])[:, 0], terms[:, 4])
        self.lines = torch.where(lines >= terms[:, 3], torch.maximum(lines, self.lines), self.lines)
        below = self.most < self.lines[:, None]
        self.ids[below], self.least[below], self.most[below] = -1, -torch.inf, -torch.inf
        order = self.most.topk(int(self.counts().max()), dim=1, sorted=False).indices
        self.ids, self.least, self.most = (part.gather(1, order) for part in (self.ids, self.least, self.most))

    def replace(self, rows: Any, ids: Any, least: Any, most: Any) -> None:
        """Other candidates for some rows."""
        import torch

        if ids.shape[1] > self.width:
            self.ids, self.least, self.most = (
                torch.nn.functional.pad(old, (0, ids.shape[1] - self.width), value=value)
                for old, value in ((self.ids, -1), (self.least, -torch.inf), (self.most, -torch.inf))
            )
        for old, new, value in ((self.ids, ids, -1), (self.least, least, -torch.inf), (self.most, most, -torch.inf)):
            old[rows] = torch.nn.functional.pad(new, (0, self.width - new.shape[1]), value=value)


def search(
    problem: Problem, bounds: Bounds, device: str, threads: int, query_block: int, corpus_block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact answers to a whole problem: ids int32 [Q, k], scores float32 [Q, k], int64 [Q, 3] as `CompiledScan.run`."""
    scan, count, width = (
        TorchScan(problem, bounds, device, threads, corpus_block),
        len(problem.queries),
        int(problem.k.max()),
    )
    ids, scores = np.full((count, width), -1, np.int32), np.full((count, width), -np.inf, np.float32)
    seen = np.zeros((count, 3), np.int64)
    for low in range(0, count, query_block):
        group = slice(low, min(low + query_block, count))
        some_ids, some_scores, seen[group, :2] = scan.run(group)
        ids[group, : some_ids.shape[1]], scores[group, : some_ids.shape[1]] = some_ids, some_scores
    return ids, scores, seen


def _wide(ids: np.ndarray, width: int) -> np.ndarray:
    return np.pad(ids, ((0, 0), (0, width - ids.shape[1])), constant_values=-1)
