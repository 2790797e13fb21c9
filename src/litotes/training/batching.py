"""Batchers in other people's trainers: `batch_sampler=` of sentence-transformers, with refresh and exact resume."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from litotes.atomic import atomic_path
from litotes.batching.base import Batcher

STATE = "batcher.npz"
REST = "json"


class Batches:
    """`batch_sampler=` of SentenceTransformerTrainingArguments (and of those of its cross-encoders).

    The trainer calls it for every data set that it loads. The training set gets the batcher of `part`; every other one
    (evaluation) gets what the trainer takes by itself. A training set is known by its anchors, in their order.

    `batcher`: the batcher of the training set, once the trainer has asked for it. `texts`: the different anchors, in
    order of first appearance; `place` int64 [R]: which of them each row has.

    Args:
        part: `Ngame(...)` or `TasBalanced(...)`.
        dataset: the training set, as the trainer gets it: one `datasets.Dataset`.
        anchor: its column of anchors; None = the first.
        given: what else the part's `over` takes: gaps=, embeddings=, labels=, positives=. Embeddings and labels of
            `TasBalanced` are one per text of `texts`.
    Raises:
        ValueError: the data set has no such column.

    Example:
        >>> from datasets import Dataset
        >>> from litotes.batching import Ngame
        >>> data = Dataset.from_dict({"anchor": ["a", "b", "c"], "positive": ["A", "B", "C"]})
        >>> sampler = Batches(Ngame(), data)(data, batch_size=2, drop_last=False)
        >>> len(sampler), sorted(row for batch in sampler for row in batch)
        (2, [0, 1, 2])
    """

    def __init__(self, part: Any, dataset: Any, *, anchor: str | None = None, **given: Any):
        names = dataset.column_names
        self.anchor = names[0] if anchor is None else anchor
        if self.anchor not in names:
            raise ValueError(f"Batches: anchor must be one of the columns {names}, got {anchor!r}")
        self.part, self.given = part, given
        first: dict[Any, int] = {}
        self.place = np.array([first.setdefault(text, len(first)) for text in dataset[self.anchor]], np.int64)
        self.texts = list(first)
        self.batcher: Batcher | None = None

    def __call__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: Any = None,
        seed: int = 0,
    ) -> Any:
        """The batch sampler of a data set."""
        if not self._trains_on(dataset):
            from sentence_transformers.base.sampler import DefaultBatchSampler
            from torch.utils.data import RandomSampler

            return DefaultBatchSampler(
                RandomSampler(dataset, generator=generator),
                batch_size=batch_size,
                drop_last=drop_last,
                valid_label_columns=valid_label_columns,
                generator=generator,
                seed=seed,
            )
        self.batcher = self.part.over(
            self.place, batch_size, seed=seed, drop_last=drop_last, ranks=_ranks()[1], **self.given
        )
        return self.batcher

    def refresh(self, embeddings: Any) -> None:
        """Give the batcher new vectors of the different anchors, [len(texts), D].

        Raises:
            ValueError: no trainer has asked for batches yet, or the number of vectors is wrong.
        """
        if self.batcher is None:
            raise ValueError("Batches: no trainer has asked for batches yet")
        if len(embeddings) != len(self.texts):
            raise ValueError(f"Batches: embeddings must be [{len(self.texts)}, D], got {len(embeddings)} of them")
        self.batcher.refresh(embeddings[self.place] if self.batcher.per == "row" else embeddings)

    def _trains_on(self, dataset: Any) -> bool:
        if len(dataset) != len(self.place) or self.anchor not in dataset.column_names:
            return False
        return all(text == self.texts[p] for text, p in zip(dataset[self.anchor], self.place.tolist(), strict=True))


class FreshBatches(TrainerCallback):
    """Gives a batcher new embeddings when it wants them, and keeps its state beside each checkpoint.

    Before an epoch that makes new clusters the anchors are encoded with the model as it is then; several processes
    share that work. A run that goes on from a checkpoint has the batches of one that was never interrupted.

    Args:
        batches: the `Batches` of the training arguments.
        encode: texts -> vectors [n, D]; None = the model in training, as an `Encoder` of queries.
        resume_from: folder of the checkpoint, where that is not in the run's own output folder.
    Raises:
        FileNotFoundError: a run goes on from a checkpoint without the batcher's state.
    """

    def __init__(
        self,
        batches: Batches,
        encode: Callable[[Sequence[str]], np.ndarray] | None = None,
        resume_from: str | Path | None = None,
    ):
        self.batches, self.encode = batches, encode
        self.resume_from = None if resume_from is None else Path(resume_from)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the state of a checkpoint."""
        if state.global_step == 0:
            return
        folder = self.resume_from or Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not (folder / STATE).exists():
            raise FileNotFoundError(
                f"{folder / STATE} is not there: the checkpoint was written without FreshBatches, or lies elsewhere "
                "(resume_from=)"
            )
        self._batcher().load_state_dict(load_state(folder / STATE))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Encode the anchors, if the epoch wants that."""
        if self._batcher().renews(int(state.epoch or 0)):
            self.batches.refresh(self._encoded(model))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the state beside the checkpoint."""
        if state.is_world_process_zero:
            save_state(self._batcher().state_dict(), Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE)

    def _batcher(self) -> Batcher:
        if self.batches.batcher is None:
            raise ValueError("FreshBatches: its Batches are not the batch_sampler of this trainer")
        return self.batches.batcher

    def _encoded(self, model: Any) -> np.ndarray:
        """Vectors of the different anchors: every process encodes its share, and all get the same bits."""
        rank, ranks = _ranks()
        mine = self.batches.texts[rank::ranks]
        made = np.asarray(_encoder(model)(mine) if self.encode is None else self.encode(mine), np.float32)
        if ranks == 1:
            return made
        import torch.distributed as dist

        shares: list[Any] = [None] * ranks
        dist.all_gather_object(shares, made)
        whole = np.empty((len(self.batches.texts), made.shape[1]), np.float32)
        for number, share in enumerate(shares):
            whole[number::ranks] = share
        return whole


def save_state(state: Mapping[str, Any], path: str | Path) -> None:
    """Write the state of a batcher: arrays as they are, the rest as JSON, in one .npz."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in state.items() if name not in arrays}
    buffer = io.BytesIO()
    arrays[REST] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_state(path: str | Path) -> dict[str, Any]:
    """Read what `save_state` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop(REST).tobytes()) | arrays


def _encoder(model: Any) -> Callable[[Sequence[str]], np.ndarray]:
    from litotes.data.encoder import Encoder

    return lambda texts: Encoder(model).encode(texts, kind="query")


def _ranks() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
