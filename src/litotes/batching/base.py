"""What all batchers share: the protocol, rows and vectors checked, the epoch, and what is kept for going on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from litotes.search.definition import check_vectors


@runtime_checkable
class Batcher(Protocol):
    """Which rows meet in a batch, and when: a `batch_sampler=` for torch, with an exact length.

    It iterates one epoch as lists of row numbers, the same on every process. `set_epoch(e)` says which one comes next,
    the order of which depends on seed and epoch only. `refresh(embeddings)` gives new vectors, one per row or per
    anchor (`per`); they count from the next epoch that begins. `renews(e)` says whether epoch e wants new
    ones before it begins.

    `state_dict()` is what the order of this and of later epochs depends on beside the settings: numbers and arrays. The
    place inside an epoch is not in it: who goes on in the middle skips the batches that are done, as trainers do.
    `report()` is counts for people.
    """

    batch_size: int
    drop_last: bool
    per: Literal["row", "anchor"]

    def __iter__(self) -> Iterator[list[int]]: ...

    def __len__(self) -> int: ...

    def set_epoch(self, epoch: int) -> None: ...

    def refresh(self, embeddings: Any) -> None: ...

    def renews(self, epoch: int) -> bool: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def report(self) -> dict[str, float]: ...


class Epochs:
    """What a batcher is built on: settings checked, batches of an epoch padded for several processes.

    Args:
        part: name for messages.
        batch_size: rows of a batch, >= 1. ranks: processes that share the batches out, batch i to process
            i modulo ranks, >= 1.
    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, part: str, batch_size: int, seed: int, drop_last: bool, ranks: int):
        for name, value in (("batch_size", batch_size), ("ranks", ranks)):
            if not (isinstance(value, (int, np.integer)) and value >= 1):
                raise ValueError(f"{part}: {name} must be a whole number >= 1, got {value!r}")
        if not (isinstance(seed, (int, np.integer)) and seed >= 0):
            raise ValueError(f"{part}: seed must be a whole number >= 0, got {seed!r}")
        self.part, self.drop_last = part, bool(drop_last)
        self.batch_size, self.seed, self.ranks = int(batch_size), int(seed), int(ranks)
        self.epoch = 0
        self._begun = -1  # the epoch whose order is settled

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is epoch `epoch`, >= 0."""
        if not epoch >= 0:
            raise ValueError(f"{self.part}: epoch must be >= 0, got {epoch!r}")
        self.epoch = int(epoch)

    @property
    def coming(self) -> int:
        """The first epoch that has not begun: what is given now counts from there."""
        return self.epoch + 1 if self._begun == self.epoch else self.epoch

    def _checked_state(self, state: Mapping[str, Any]) -> None:
        """Take epoch and begun from a state.

        Raises:
            ValueError: the state is one of other rows or settings; what differs is named.
        """
        mine = self.state_dict()["settings"]
        changed = [name for name, value in mine.items() if state["settings"].get(name) != value]
        if changed:
            raise ValueError(f"{self.part}: the state is one of other rows or settings ({', '.join(changed)} differ)")
        self.epoch, self._begun = int(state["epoch"]), int(state["begun"])

    def state_dict(self) -> dict[str, Any]:
        """See `Batcher`."""
        raise TypeError(f"{type(self).__name__} does not say what its order depends on")


def spread(order: np.ndarray, batch_size: int, ranks: int, drop_last: bool) -> np.ndarray:
    """An order of rows made fit for several processes: all batches full, their number a multiple of `ranks`.

    Missing rows are those that begin the epoch, repeated; with drop_last the surplus is left out. With one process the
    order stays as it is, up to the cut of drop_last.
    """
    whole = batch_size * ranks
    if drop_last:
        return order[: len(order) // (whole if ranks > 1 else batch_size) * (whole if ranks > 1 else batch_size)]
    return order if ranks == 1 else np.resize(order, -(-len(order) // whole) * whole)


def batches(n: int, batch_size: int, ranks: int, drop_last: bool) -> int:
    """Number of batches that `spread` leaves of n rows."""
    whole = batch_size * ranks
    return n // whole * ranks if drop_last else (-(-n // batch_size) if ranks == 1 else -(-n // whole) * ranks)


def cut(order: np.ndarray, batch_size: int) -> Iterator[list[int]]:
    """An order in batches."""
    for low in range(0, len(order), batch_size):
        yield order[low : low + batch_size].tolist()


def vectors_of(embeddings: Any, rows: int, part: str) -> np.ndarray:
    """Embeddings as float32 [rows, D] in memory.

    Raises:
        ValueError: their number is not `rows`. BadInput: they are no matrix, or hold NaN or infinity.
    """
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().float().cpu().numpy()
    made = np.asarray(embeddings, dtype=np.float32)
    if len(made) != rows:
        raise ValueError(f"{part}: embeddings must be [{rows}, D], got {list(made.shape)}")
    check_vectors(made, "embeddings")
    return made


def anchors_of(rows: Any, part: str) -> np.ndarray:
    """The anchor of every row: int64 [R], from a number of rows (each its own), an array, or an object with `anchor`.

    Raises:
        ValueError: there are no rows, or a number is negative.
    """
    given = np.arange(rows) if isinstance(rows, (int, np.integer)) else np.asarray(getattr(rows, "anchor", rows))
    if given.ndim != 1 or len(given) == 0 or given.dtype.kind not in "iu" or given.min() < 0:
        raise ValueError(f"{part}: rows must be a number >= 1, or the number of an anchor for each row, got {rows!r}")
    return given.astype(np.int64)


def named(numbers: np.ndarray, ids: Sequence[str] | None, most: int = 5) -> str:
    """Some of these numbers for a message, by their ids if there are any."""
    said = ", ".join(repr(ids[i]) if ids is not None else str(i) for i in numbers[:most].tolist())
    return f"{said} and {len(numbers) - most} more" if len(numbers) > most else said
