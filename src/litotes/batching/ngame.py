"""Ngame: near points meet in a batch, so that the labels of neighbours are the hard negatives, at no extra cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from litotes.batching.base import Epochs, anchors_of, batches, cut, named, spread, vectors_of
from litotes.search.clusters import balanced_order, halves
from litotes.spelling import spell

RELEASED = (10, 20, 25, 50, 75, 100, 125, 150, 200)


@dataclass(frozen=True)
class Ngame:
    """Fill each batch with whole clusters of near points, in the present embedding space; clusters grow over time.

    Mining hard negatives in the whole collection takes an index and further passes of the encoder. Here nothing more is
    encoded: the positives of near points are negatives that the model finds hard now. Small clusters first (size 1 is a
    random batch), then the size doubles at given epochs and negatives get harder:

        s(e) = init_size * 2 ^ (number of epochs in double_at that are <= e)

    Points are halved by balanced 2-means until a part has at most s of them (`balanced_clusters`). Each epoch the order
    of the clusters is drawn anew, the clusters are laid end to end and cut into batches: about batch_size / s of them
    meet. Every row comes exactly once per epoch.

    Clusters are renewed with the newest embeddings in every epoch of double_at, and from the first of them on in every
    epoch that is a multiple of `refresh_every`. False negatives grow with s, for the unlabelled answers of neighbours
    are what is sampled: keep s at or below a quarter of the batch and add a vetter.

    In:   `over(rows, batch_size)`; then `refresh(embeddings)`, float [R, D], one vector per row, by cosine.
    Out:  a `Batcher`: lists of rows.
    Cost: clustering a million rows of 64 dimensions takes seconds on two cores, an epoch's order milliseconds; memory
          a float32 copy of the embeddings while it clusters, 4 bytes a row afterwards.

    Args:
        double_at: epochs (from 0) at which the size doubles, ascending, >= 1.
        init_size: size of the first clusters, >= 1.
        refresh_every: epochs between two clusterings, >= 1.
    Raises:
        ValueError: an argument is out of range.
    Source: NGAME: Negative Mining-aware Mini-batching for Extreme Classification (arXiv:2207.04452), algorithm 1;
        epochs and intervals as in the released configuration of its first stage.

    Example:
        >>> import numpy as np
        >>> blobs = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)  # rows 0, 1 and 2, 3 and ... are alike
        >>> batcher = Ngame(double_at=[1]).over(8, batch_size=2)
        >>> batcher.refresh(blobs)
        >>> batcher.set_epoch(1)
        >>> sorted(sorted(batch) for batch in batcher)
        [[0, 1], [2, 3], [4, 5], [6, 7]]
    """

    double_at: Sequence[int] = RELEASED
    init_size: int = 1
    refresh_every: int = 5

    stage = "batcher"

    def __post_init__(self) -> None:
        given = self.double_at
        if isinstance(given, (str, int)) or not all(isinstance(e, int) and e >= 1 for e in given):
            raise ValueError(f"Ngame: double_at must be a list of epochs >= 1, got {given!r}")
        if list(given) != sorted(set(given)):
            raise ValueError(f"Ngame: double_at must ascend, got {given!r}")
        object.__setattr__(self, "double_at", tuple(given))
        for name in ("init_size", "refresh_every"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"Ngame: {name} must be a whole number >= 1, got {value!r}")

    def __str__(self) -> str:
        return spell(self)

    def size_at(self, epoch: int) -> int:
        """Most points of a cluster in an epoch."""
        return self.init_size * 2 ** sum(doubling <= epoch for doubling in self.double_at)

    def over(
        self,
        rows: Any,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        ranks: int = 1,
        positives: Any = None,
        ids: Sequence[str] | None = None,
    ) -> NgameBatches:
        """The batches of these rows.

        Args:
            rows: how many, or an array or object of rows (`TrainingRows`), of which only the number is read.
            batch_size: rows of a batch (of one process), >= 1.
            seed: of the order. drop_last: leave out the batch that is not full; which rows that are changes by epoch.
            ranks: processes among which the batches are shared out; then all batches are full and their number is a
                multiple of it (`litotes.batching.base.spread`).
            positives: how many positives each row has, to refuse rows without one; None = not checked.
            ids: names of the rows, for messages.
        Raises:
            ValueError: an argument is out of range, or a row has no positive.
        """
        count = len(anchors_of(rows, "Ngame"))
        if positives is not None:
            bare = np.flatnonzero(np.asarray(positives) == 0)
            if len(bare):
                raise ValueError(f"Ngame: every row needs a positive; there is none for {named(bare, ids)}")
        return NgameBatches(self, count, batch_size, seed, drop_last, ranks)


class NgameBatches(Epochs):
    """The `Batcher` of `Ngame`."""

    per: Literal["row", "anchor"] = "row"

    def __init__(self, settings: Ngame, rows: int, batch_size: int, seed: int, drop_last: bool, ranks: int):
        super().__init__("Ngame", batch_size, seed, drop_last, ranks)
        self.settings, self.rows = settings, rows
        self._newest: np.ndarray | None = None  # embeddings that wait for an epoch that renews
        self._tree: np.ndarray | None = None  # the order of the clusters in force, int32 [R]
        self._waiting: np.ndarray | None = None  # such an order that waits, out of a state

    def __len__(self) -> int:
        return batches(self.rows, self.batch_size, self.ranks, self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        yield from cut(self._begin(self.epoch), self.batch_size)

    def renews(self, epoch: int) -> bool:
        """Whether an epoch that has not begun makes new clusters."""
        chosen = self.settings
        if epoch == self._begun or chosen.size_at(epoch) == 1:
            return False
        first = chosen.double_at[0] if chosen.init_size == 1 else 0
        due = epoch >= first and epoch % chosen.refresh_every == 0
        return due or epoch in chosen.double_at or self._tree is None

    def refresh(self, embeddings: Any) -> None:
        """New vectors, [R, D]: they count from the next epoch that renews its clusters.

        Raises:
            ValueError: they are not one per row. BadInput: they hold NaN or infinity.
        """
        self._newest, self._waiting = vectors_of(embeddings, self.rows, "Ngame"), None

    def state_dict(self) -> dict[str, Any]:
        """Epoch, clusters in force and clusters that wait: at most 8 bytes a row, never embeddings."""
        self._settle(max(self.settings.size_at(self.coming), 2))
        return {
            "settings": {
                "part": str(self.settings),
                "rows": self.rows,
                "seed": self.seed,
                "batch_size": self.batch_size,
                "drop_last": self.drop_last,
                "ranks": self.ranks,
            },
            "epoch": self.epoch,
            "begun": self._begun,
            "tree": self._tree,
            "waiting": self._waiting,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            ValueError: it is the state of other rows or settings.
        """
        self._newest = None
        self._checked_state(state)
        self._tree, self._waiting = state["tree"], state["waiting"]

    def report(self) -> dict[str, float]:
        """Rows, batches, size and number of the clusters of this epoch, and rows repeated or left out."""
        size = self.settings.size_at(self.epoch)
        taken = len(self) * self.batch_size if self.drop_last or self.ranks > 1 else self.rows
        return {
            "epoch": self.epoch,
            "rows": self.rows,
            "batches": len(self),
            "cluster_size": size,
            "clusters": len(halves(self.rows, size)),
            "repeated": max(taken - self.rows, 0),
            "left_out": max(self.rows - taken, 0),
        }

    def _begin(self, epoch: int) -> np.ndarray:
        """The order of the rows in an epoch; what was given so far is what counts for it."""
        size = self.settings.size_at(epoch)
        if self.renews(epoch):
            self._settle(size)
            if self._waiting is not None:
                self._tree, self._waiting = self._waiting, None
        self._begun = epoch
        random = np.random.default_rng([self.seed, epoch])
        if size == 1:
            order = random.permutation(self.rows)
        elif self._tree is None:
            raise ValueError(f"Ngame: epoch {epoch} asks for clusters of {size}: give embeddings first, by refresh()")
        else:
            sizes = halves(self.rows, size)
            place = np.repeat(random.permutation(len(sizes)), sizes)
            # rows ascend within a cluster: how finely its order was cut (a saved one is cut finer) must not show
            order = np.sort(place * self.rows + self._tree) % self.rows
        return spread(order, self.batch_size, self.ranks, self.drop_last)

    def _settle(self, size: int) -> None:
        """Make clusters of at most `size` from embeddings that wait; larger ones are cut from the same order."""
        if self._newest is not None:
            self._waiting = balanced_order(self._newest, size, seed=self.seed)
            self._newest = None
