"""NeighbourBatches: each batch is filled with neighbours, of a map at first and of the model's own space later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from litotes.batching.base import Epochs, anchors_of, spread, vectors_of
from litotes.search.mask import Mask, Rows
from litotes.search.neighbours import neighbours
from litotes.spelling import spell


@dataclass(frozen=True)
class NeighbourBatches:
    """Fill each batch with rows that are neighbours, so that what meets there is hard to tell apart.

    An epoch is a queue of all rows, drawn anew. Its front opens a batch; the row brings select / 2 of its nearest
    neighbours in order, then select / 2 drawn among its neighbours further down the list, up to place `depth`; those
    that were used in this epoch are skipped. While the batch has room the next row of the queue does the same. The
    drawn half keeps batches different and spares the nearest ranks, where duplicates are. Every row comes at most once
    an epoch, the loss sees nothing but its batch, and a step costs what it always does.

    Lists can come from a map at the start (`gps_neighbours`) and later from the model: before every
    `refresh_every`-th epoch new ones are asked for (`renews`). Without lists the order is a plain shuffle.

    In:   `over(rows, batch_size, lists=)`; then `refresh(x)` with lists int [R, r], best first, -1 padded; or vectors
          float [R, D], one per row; or a pair of them (anchors, candidates): anchors look for other rows' candidates.
    Out:  a `Batcher`: lists of rows.
    Cost: an epoch of 50,000 rows is planned in less than a second; memory 4 bytes per entry of the lists, also in
          the state.

    Args:
        select: neighbours that a row may bring, even, in [0, depth]; 0 = a plain shuffle.
        depth: entries of a list that are used, >= 1, below the number of rows.
        refresh_every: epochs between new lists, >= 1; None = the first ones stay.
    Raises:
        ValueError: an argument is out of range.
    Source: Sample4Geo: Hard Negative Sampling For Cross-View Geo-Localisation (arXiv:2303.11851), section 3, with the
        defaults of its released code.

    Example:
        >>> import numpy as np
        >>> lists = np.array([[1], [0], [3], [2], [5], [4]])
        >>> batcher = NeighbourBatches(select=2, depth=2).over(6, batch_size=2, lists=lists)
        >>> sorted(sorted(batch) for batch in batcher)
        [[0, 1], [2, 3], [4, 5]]
    """

    select: int = 64
    depth: int = 128
    refresh_every: int | None = 4

    stage = "batcher"

    def __post_init__(self) -> None:
        for name, least in (("select", 0), ("depth", 1), ("refresh_every", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least) and not (name == "refresh_every" and value is None):
                raise ValueError(f"NeighbourBatches: {name} must be a whole number >= {least}, got {value!r}")
        if self.select % 2 or self.select > self.depth:
            raise ValueError(
                f"NeighbourBatches: select must be even and at most depth = {self.depth}, got {self.select!r}"
            )

    def __str__(self) -> str:
        return spell(self)

    def over(
        self,
        rows: Any,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = True,
        ranks: int = 1,
        lists: Any = None,
        exclude: Rows | None = None,
    ) -> NeighbourBatcher:
        """The batches of these rows.

        Args:
            rows: how many, or an array or object of rows (`TrainingRows`), of which only the number is read.
            batch_size: rows of a batch (of one process), >= 2.
            seed: of queue and draws. drop_last: leave out batches that are not full; which rows that are changes.
            ranks: processes among which the batches are shared out; their number is a multiple of it.
            lists: neighbours to begin with, int [R, r], best first, -1 padded.
            exclude: (offsets int64 [R + 1], items int): rows that may not share a batch with a row, in either
                direction, as other photos of its place. A neighbour in conflict is skipped, a row of the queue waits
                for the next batch; so more rows may be left out.
        Raises:
            ValueError: an argument is out of range, or lists or exclude do not fit the rows.
        """
        count = len(anchors_of(rows, "NeighbourBatches"))
        return NeighbourBatcher(self, count, batch_size, seed, drop_last, ranks, lists, exclude)


class NeighbourBatcher(Epochs):
    """The `Batcher` of `NeighbourBatches`. With `exclude`, the number of batches may change from epoch to epoch."""

    per: Literal["row", "anchor"] = "row"

    def __init__(
        self,
        settings: NeighbourBatches,
        rows: int,
        batch_size: int,
        seed: int,
        drop_last: bool,
        ranks: int,
        lists: Any,
        exclude: Rows | None,
    ):
        super().__init__("NeighbourBatches", batch_size, seed, drop_last, ranks)
        if self.batch_size < 2:
            raise ValueError(f"NeighbourBatches: batch_size must be >= 2, got {batch_size!r}")
        if settings.select and settings.depth > rows - 1:
            raise ValueError(
                f"NeighbourBatches: depth must be at most n - 1, got depth={settings.depth} of n={rows} rows"
            )
        if exclude is not None and ranks > 1 and not drop_last:
            raise ValueError("NeighbourBatches: exclude with several processes needs drop_last=True")
        self.settings, self.rows = settings, rows
        self._exclude = None if exclude is None else _both_ways(exclude, rows)
        self._lists: np.ndarray | None = None  # in force, int32 [R, depth]
        self._waiting: np.ndarray | None = None if lists is None else self._checked(lists)
        self._version = 0
        self._planned: tuple[tuple[int, int], _Plan] | None = None

    def __len__(self) -> int:
        return len(self._plan().batches)

    def __iter__(self) -> Iterator[list[int]]:
        plan = self._plan()
        if self.epoch != self._begun and self._waiting is not None:
            self._lists, self._waiting = self._waiting, None
        self._begun = self.epoch
        yield from plan.batches

    def renews(self, epoch: int) -> bool:
        """Whether an epoch that has not begun wants new lists."""
        every = self.settings.refresh_every
        if every is None or self.settings.select == 0 or epoch == self._begun:
            return False
        return epoch > 0 and epoch % every == 0

    def refresh(self, embeddings: Any) -> None:
        """New lists, or vectors to make them from: they count from the next epoch that begins.

        Raises:
            ValueError: lists are no rows, or vectors are not one per row. BadInput: vectors hold NaN or infinity.
        """
        self._waiting = self._checked(embeddings)
        self._version += 1

    def state_dict(self) -> dict[str, Any]:
        """Epoch, lists in force and lists that wait."""
        return {
            "settings": {
                "part": str(self.settings),
                "rows": self.rows,
                "seed": self.seed,
                "batch_size": self.batch_size,
                "drop_last": self.drop_last,
                "ranks": self.ranks,
                "exclude": None if self._exclude is None else len(self._exclude[1]),
            },
            "epoch": self.epoch,
            "begun": self._begun,
            "lists": self._lists,
            "waiting": self._waiting,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            ValueError: it is the state of other rows or settings.
        """
        self._checked_state(state)
        self._lists, self._waiting = state["lists"], state["waiting"]
        self._planned = None

    def report(self) -> dict[str, float]:
        """Rows, batches, rows left out or repeated, neighbours per batch, and conflicts of this epoch."""
        plan = self._plan()
        taken = sum(map(len, plan.batches))
        return {
            "epoch": self.epoch,
            "rows": self.rows,
            "batches": len(plan.batches),
            "left_out": max(self.rows - taken, 0),
            "repeated": max(taken - self.rows, 0),
            "neighbours_per_batch": plan.brought / max(plan.formed, 1),
            "excluded": plan.conflicts,
        }

    def _plan(self) -> _Plan:
        """The batches of the epoch that is set: with the lists in force if it has begun, else with the newest."""
        fresh = self.epoch != self._begun and self._waiting is not None
        key = (self.epoch, self._version if fresh else -1 - self._version)
        if self._planned is not None and self._planned[0][0] == self.epoch and self._begun == self.epoch:
            return self._planned[1]  # new lists do not touch an epoch that runs
        if self._planned is None or self._planned[0] != key:
            lists = self._waiting if fresh else self._lists
            random = np.random.default_rng([self.seed, self.epoch])
            plan = _Plan(self.rows, self.batch_size, self.settings, lists, self._exclude, random)
            plan.close(self.drop_last, self.ranks)
            self._planned = key, plan
        return self._planned[1]

    def _checked(self, given: Any) -> np.ndarray:
        """Lists int32 [R, at most depth], from lists or vectors."""
        part, wide = "NeighbourBatches", min(self.settings.depth, self.rows - 1)
        if isinstance(given, tuple):
            anchors, candidates = (vectors_of(side, self.rows, part) for side in given)
            own = np.arange(self.rows + 1), np.arange(self.rows)
            return neighbours(anchors, candidates, wide, exclude=own)[0]
        lists = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        if lists.dtype.kind == "f":
            return neighbours(vectors_of(lists, self.rows, part), k=wide)[0]
        if lists.ndim != 2 or len(lists) != self.rows or lists.shape[1] == 0 or lists.dtype.kind not in "iu":
            raise ValueError(f"{part}: lists must be int [{self.rows}, r], got {lists.dtype} {list(lists.shape)}")
        lists = np.ascontiguousarray(lists[:, : self.settings.depth], dtype=np.int64)
        if lists.min() < -1 or lists.max() >= self.rows:
            raise ValueError(f"{part}: lists must hold rows in [0, {self.rows}) or -1")
        ranked = np.sort(lists, axis=1)
        twice = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any(axis=1)
        if twice.any():
            raise ValueError(f"{part}: the list of row {int(np.flatnonzero(twice)[0])} holds a row twice")
        return lists.astype(np.int32)


class _Plan:
    """The batches of one epoch, and counts."""

    def __init__(
        self,
        n: int,
        size: int,
        settings: NeighbourBatches,
        lists: np.ndarray | None,
        exclude: Rows | None,
        random: np.random.Generator,
    ):
        self.size, self.exclude, self.random = size, exclude, random
        self.lists, self.half = lists if settings.select else None, settings.select // 2
        self.used = np.zeros(n, dtype=bool)
        self.barred = np.full(n, -1, np.int64)  # the last batch that holds a row in conflict with this one
        self.brought = self.conflicts = 0
        self.batches: list[list[int]] = []
        queue = iter(random.permutation(n).tolist())
        waiting: deque[int] = deque()
        while True:
            batch, waiting = self._fill(queue, waiting)
            if not batch:
                break
            self.batches.append(batch)
        self.formed = len(self.batches)

    def _fill(self, queue: Iterator[int], before: deque[int]) -> tuple[list[int], deque[int]]:
        """One batch, and the rows that wait for the next one, in order."""
        batch: list[int] = []
        waiting: deque[int] = deque()
        while len(batch) < self.size:
            row = before.popleft() if before else next(queue, None)
            if row is None:
                break
            if self.used[row]:
                continue
            if self.barred[row] == len(self.batches):
                self.conflicts += 1
                waiting.append(row)
                continue
            self._take(row, batch)
            if self.lists is not None and len(batch) < self.size:
                self._bring(self.lists[row], batch)
        return batch, waiting + before

    def _bring(self, listed: np.ndarray, batch: list[int]) -> None:
        """Neighbours: the nearest in order, then a draw among the others."""
        listed = listed[listed >= 0]
        far = listed[self.half :]
        found = np.concatenate([listed[: self.half], self.random.permutation(far)[: self.half]])
        found = found[~self.used[found]]
        start = len(batch)
        for row in found.tolist():
            if len(batch) == self.size:
                break
            if self.barred[row] == len(self.batches):
                self.conflicts += 1
                continue
            self._take(row, batch)
        self.brought += len(batch) - start

    def _take(self, row: int, batch: list[int]) -> None:
        batch.append(row)
        self.used[row] = True
        if self.exclude is not None:
            offsets, items = self.exclude
            self.barred[items[offsets[row] : offsets[row + 1]]] = len(self.batches)

    def close(self, drop_last: bool, ranks: int) -> None:
        """Leave out what is not full, or repeat rows, so that all processes have as many batches."""
        if drop_last:
            full = [batch for batch in self.batches if len(batch) == self.size]
            self.batches = full[: len(full) // ranks * ranks]
        elif ranks > 1:
            order = spread(np.array([row for batch in self.batches for row in batch]), self.size, ranks, False)
            self.batches = order.reshape(-1, self.size).tolist()


def _both_ways(exclude: Rows, rows: int) -> Rows:
    """Conflicts in either direction, each once, none of a row with itself."""
    offsets, items = Mask.of(rows, rows, exclude=exclude).exclude or (
        np.zeros(rows + 1, np.int64),
        np.zeros(0, np.int64),
    )
    row = np.repeat(np.arange(rows), np.diff(offsets))
    one, other = np.concatenate([row, items]), np.concatenate([items, row])
    code = np.unique((one * rows + other)[one != other]).astype(np.int64)
    one, other = code // rows, code % rows
    return np.searchsorted(one, np.arange(rows + 1)), other
