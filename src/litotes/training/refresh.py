"""Refresh: negatives are mined anew during training, with the model as it is then."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa
from transformers import TrainerCallback

from litotes.atomic import read_json, write_json
from litotes.evidence import Evidence
from litotes.progress import silence
from litotes.sources.found import Source
from litotes.sources.mined.dense import Mined
from litotes.spelling import spell
from litotes.training.batching import load_state, save_state
from litotes.training.collator import EvidenceCollator
from litotes.training.remine import Remine
from litotes.training.rows import TrainingRows
from litotes.vetting.relative_margin import RelativeMargin

STATE = "refresh.json"
FOLDER = "refreshes"
COUNTS = "refresh.json"
VECTORS = "anchors.npy"
INTO = "refresh-into.npz"
_PASSES = 3  # a text in training costs about three passes of the encoder: forward, and twice that backward
Vetter = Callable[..., pa.Table]


class Refreshed(Protocol):
    """What can be given new embeddings of the training rows' anchors: a Batcher."""

    def refresh(self, embeddings: np.ndarray) -> None:
        """float32 [R, D], one per training row; where an attribute `per` is "anchor", one per different anchor, in
        order of first appearance."""
        ...


@dataclass(frozen=True)
class Refresh:
    """When and how negatives are mined anew: settings of a run, and by `over` the callback for its trainer.

    With s a multiple of the interval, the model as it stands after step s encodes the anchors of the training rows and
    the whole corpus, `sources` search and `vetters` doubt (`Remine` says what becomes of the evidence the run started
    with), and the batches of step s + lag + 1 and all later ones are made of the result. The batches between still use
    what was there before. A refresh that no batch would use is not made.

    So a run depends on the settings, not on how long mining takes: `asynchronous` mining happens in a thread, on a copy
    of the weights of step s, while training goes on; training waits for it where it is not done after s + lag steps.
    On a CPU both ways give the same weights bit for bit. It gains time where a core or a device is free beside
    training, and then wants a lag as long as mining takes. Until a result is used the copy and both sides' vectors
    (the corpus memory-mapped) lie beside the model.

    A checkpoint names the refresh that is in force and those that wait, so a run that is gone on with meets the same
    negatives; their evidence lies in the trainer's output folder under `refreshes/` as long as a checkpoint names it.

    Args:
        every: interval, >= 1; None = as short as `share` allows.
        unit: of `every`: "step" (of the optimiser) or "epoch".
        share: with every=None: re-encoding may cost this share of the texts' passes through the encoder, a text in
            training counted three times (forward and backward); in (0, 1]. It is a count, not a clock.
        sources: who proposes; with none, the negatives of the first evidence are scored and doubted anew.
        vetters: who doubts. With neither, anchors are encoded for `into` and nothing else is done.
        lag: steps from the weights to the first batch that uses them, >= 1, because a trainer makes each batch one
            step ahead.
        asynchronous: mine in a thread beside training.
        device: where to encode, as torch spells it; None = where the model is.
    Raises:
        ValueError: an argument is out of range.
    Source: Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text Retrieval (arXiv:2007.00808),
        section 4, there always beside training, with a lag that depends on how long the index takes.

    Example:
        >>> from litotes.training.refresh import Refresh
        >>> print(Refresh(every=500, lag=50, asynchronous=True))
        refresh(every=500, unit=step, share=0.1, sources=[dense(depth=30, skip=0, per_anchor=None, seed=0, ...)], ...)
    """

    name_in_recipes: ClassVar[str] = "refresh"

    every: int | None = None
    unit: Literal["step", "epoch"] = "step"
    share: float = 0.1
    sources: Sequence[Source] = (Mined(depth=30),)
    vetters: Sequence[Vetter] = (RelativeMargin(0.05),)
    lag: int = 1
    asynchronous: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("every", "lag"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (name == "every" and value is None):
                raise ValueError(f"Refresh: {name} must be a whole number >= 1, got {value!r}")
        if self.unit not in ("step", "epoch"):
            raise ValueError(f"Refresh: unit must be 'step' or 'epoch', got {self.unit!r}")
        if self.every is None and self.unit == "epoch":
            raise ValueError("Refresh: every=None is an interval in steps; unit='epoch' needs a number of epochs")
        if not 0 < self.share <= 1:
            raise ValueError(f"Refresh: share must be in (0, 1], got {self.share!r}")
        for name in ("sources", "vetters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __str__(self) -> str:
        return spell(self)

    @property
    def identity(self) -> str:
        """The spelling without what decides only where and when the work is done."""
        return str(replace(self, asynchronous=False, device=None))

    def over(
        self,
        collator: EvidenceCollator,
        evidence: pa.Table | Evidence,
        *,
        how: Literal["top", "random"] = "top",
        into: Refreshed | None = None,
    ) -> Refreshing:
        """The callback for a trainer whose batches are made by `collator`, in its own process.

        Args:
            evidence: all that the rows of the collator were made from. `how`: which of its negatives they take.
            into: is given the embeddings of the rows' anchors, too, when a refresh is put in force. Its `state_dict`,
                where it has one, stands in the checkpoint.
        """
        return Refreshing(self, collator, evidence, how, into)

    def steps(self, rows: TrainingRows, batch: int, steps_per_epoch: int) -> int:
        """The interval in steps of the optimiser. `batch`: rows in a step, over all processes."""
        if self.every is not None:
            return self.every * (steps_per_epoch if self.unit == "epoch" else 1)
        texts = len(np.unique(rows.anchor)) + len(rows.collection.corpus)
        of_step = _PASSES * batch * (2 + len(rows.negatives.items) / len(rows))
        return math.ceil(texts / (self.share * of_step))


@dataclass
class _Mined:
    """A refresh that was begun: from the weights after step `at`, used by the batch behind step `use` and later ones.
    `done` gives the rows; None = they can be read from the disk. `waited`: seconds in which training stood still."""

    at: int
    use: int
    done: Future[TrainingRows] | None = None
    waited: float = 0.0

    def wait(self) -> None:
        """Until it lies on the disk."""
        clock = time.perf_counter()
        if self.done is not None:
            self.done.result()
        self.waited += time.perf_counter() - clock


class Refreshing(TrainerCallback):
    """A `Refresh` at work in one run: made by `Refresh.over`, given to the trainer as a callback.

    `report`: a mapping per refresh that was put in force: `mined_at`, `used_from` (steps before the first batch that
    uses it), `rows`, `found`, `fresh`, `doubted` and `scores` as `Remine` counts them, `negatives`, `short` and `bare`
    of the training rows, `new` (share of their negatives that were not theirs before), `seconds` by kind of work and
    `waited`, the seconds in which training stood still.
    """

    def __init__(
        self,
        settings: Refresh,
        collator: EvidenceCollator,
        evidence: pa.Table | Evidence,
        how: Literal["top", "random"],
        into: Refreshed | None,
    ):
        self.settings, self.collator, self.how, self.into = settings, collator, how, into
        self.report: list[dict[str, Any]] = []
        self._first = collator.rows
        self._remine: Remine | None = None
        if settings.sources or settings.vetters:
            anchors = self._first.anchor
            self._remine = Remine(evidence, self._first.collection, anchors, settings.sources, settings.vetters)
        elif into is None:
            raise ValueError("Refresh: without sources and vetters there is nothing to mine, and into is None")
        self._pool: ThreadPoolExecutor | None = None
        self._reset()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Settle the interval; take up what the checkpoint says where a run goes on."""
        if args.dataloader_num_workers:
            raise ValueError(
                f"Refresh: batches must be made in the trainer's process, got dataloader_num_workers="
                f"{args.dataloader_num_workers}"
            )
        self._reset()
        self._folder = Path(args.output_dir)
        self._alone = state.is_world_process_zero
        self._updates = args.gradient_accumulation_steps
        batches = len(kwargs["train_dataloader"])
        batch = args.train_batch_size * self._updates * args.world_size
        self._every = self.settings.steps(self._first, batch, max(math.ceil(batches / self._updates), 1))
        if state.global_step:
            self._restore(self._folder / f"checkpoint-{state.global_step}" / STATE)
        self.collator.before_batch = self._before_batch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches = state.global_step * self._updates

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin a refresh where one is due."""
        step = state.global_step
        use = step + self.settings.lag
        if step % self._every == 0 and use < state.max_steps:
            clock = time.perf_counter()
            made = self._begin(model, step) if self._alone else None  # of several processes the first one mines
            self._waiting.append(_Mined(step, use, made, time.perf_counter() - clock))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write beside the checkpoint which refreshes it needs; they are whole before."""
        if not state.is_world_process_zero:
            return
        for mined in self._waiting:
            mined.wait()
        needed = ([] if self._in_force is None else [self._in_force]) + list(self._waiting)
        state_now = {
            "settings": self.settings.identity,
            "every": self._every,
            "refreshes": [{"at": mined.at, "use": mined.use} for mined in needed],
            "report": self.report,
        }
        checkpoint = self._folder / f"checkpoint-{state.global_step}"
        if self.into is not None and hasattr(self.into, "state_dict"):
            save_state(self.into.state_dict(), checkpoint / INTO)
        write_json(checkpoint / STATE, state_now)
        self._sweep()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Let a thread that mines come to its end, and the collator go."""
        self.collator.before_batch = _nothing
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _reset(self) -> None:
        self._in_force: _Mined | None = None
        self._waiting: deque[_Mined] = deque()
        self._batches = 0
        self.collator.rows = self._first
        self.report.clear()

    def _before_batch(self) -> None:
        """Called as a batch is made: the refresh that is due for it is put in force."""
        step = self._batches // self._updates
        self._batches += 1
        while self._waiting and self._waiting[0].use <= step:
            self._put(self._waiting.popleft())

    def _begin(self, model: Any, step: int) -> Future[TrainingRows]:
        """Mine from the model as it is: now, or in a thread on a copy of it."""
        if self.settings.asynchronous:
            self._pool = self._pool or ThreadPoolExecutor(1, "litotes-refresh")
            return self._pool.submit(self._mine, copy.deepcopy(model), step)
        made: Future[TrainingRows] = Future()
        made.set_result(self._mine(model, step))
        return made

    def _mine(self, model: Any, step: int) -> TrainingRows:
        from litotes.data.encoder import Encoder

        clock, out = time.perf_counter(), self._place(step)
        queries, documents = self.collator.prompts
        with silence():
            encoder = Encoder(model, query_prompt=queries, document_prompt=documents, device=self.settings.device)
            copied = time.perf_counter() - clock
            made = self._remine(encoder, out) if self._remine is not None else {"seconds": {}}
            if self.into is not None:
                out.mkdir(parents=True, exist_ok=True)
                np.save(out / VECTORS, encoder.encode(self._asked(), "query"))
        clock = time.perf_counter()
        rows = self._rows(step)
        made["seconds"] = {"copy": copied, **made["seconds"], "rows": time.perf_counter() - clock}
        write_json(out / COUNTS, made)
        return rows

    def _put(self, mined: _Mined) -> None:
        """Exchange the rows, between two batches."""
        mined.wait()
        clock = time.perf_counter()
        _all_here()
        rows = self._rows(mined.at) if mined.done is None else mined.done.result()
        before, self.collator.rows, self._in_force = self.collator.rows, rows, mined
        place = self._place(mined.at)
        again = mined.at in [entry["mined_at"] for entry in self.report]  # a run that goes on
        if self.into is not None and not (again and hasattr(self.into, "state_dict")):
            self.into.refresh(np.load(place / VECTORS))
        mined.waited += time.perf_counter() - clock
        if not again:
            kept = {name: rows.counts[name] for name in ("negatives", "short", "bare")}
            made = read_json(place / COUNTS)
            told = {"mined_at": mined.at, "used_from": mined.use, **made, **kept, "new": _new(before, rows)}
            self.report.append({**told, "waited": mined.waited})
        mined.done = None
        if self._alone:
            self._sweep()

    def _restore(self, file: Path) -> None:
        """Take up what a checkpoint says; the refresh in force comes back with the first batch."""
        if not file.exists():
            raise FileNotFoundError(f"Refresh: {file} is missing, which says what negatives the run goes on with")
        said = read_json(file)
        if said["settings"] != self.settings.identity or said["every"] != self._every:
            raise ValueError(
                f"Refresh: {file} is of a run with {said['settings']}, every {said['every']} steps; this one has "
                f"{self.settings.identity}, every {self._every} steps"
            )
        if self.into is not None and hasattr(self.into, "load_state_dict"):
            self.into.load_state_dict(load_state(file.with_name(INTO)))
        self._waiting.extend(_Mined(each["at"], each["use"]) for each in said["refreshes"])
        self.report.extend(said["report"])

    def _rows(self, step: int) -> TrainingRows:
        if self._remine is None:
            return self._first
        return self._first.renewed(Evidence.open(self._place(step)), self.how)

    def _asked(self) -> list[str]:
        """The texts whose vectors `into` wants."""
        anchors = self._first.anchor.tolist()
        if getattr(self.into, "per", "row") == "anchor":
            anchors = list(dict.fromkeys(anchors))
        return [self._first.query_texts[row] for row in anchors]

    def _place(self, step: int) -> Path:
        return self._folder / FOLDER / f"step-{step:08d}"

    def _sweep(self) -> None:
        """Delete refreshes that are used no more and that no checkpoint names."""
        named = {mined.at for mined in [self._in_force, *self._waiting] if mined is not None}
        for file in self._folder.glob(f"checkpoint-*/{STATE}"):
            named |= {each["at"] for each in read_json(file)["refreshes"]}
        for folder in (self._folder / FOLDER).glob("step-" + 8 * "[0-9]"):
            if int(folder.name[5:]) not in named:
                shutil.rmtree(folder)


def _new(before: TrainingRows, after: TrainingRows) -> float:
    """Share of the negatives of `after` that the same row did not have in `before`."""
    codes = [rows.negatives.rows().astype(np.int64) << 32 | rows.negatives.items for rows in (before, after)]
    return float(1 - np.isin(codes[1], codes[0]).mean()) if len(codes[1]) else 0.0


def _all_here() -> None:
    """Wait until every process of the run has come here."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _nothing() -> None:
    pass
