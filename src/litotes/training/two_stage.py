"""TwoStage: train on much that is rough, then on little that is fine, each with the negatives that suit it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.evidence import Evidence
from litotes.spelling import spell
from litotes.training.retriever.causal_mask import make_bidirectional
from litotes.training.retriever.train import train_retriever
from litotes.training.run_folder import Trained
from litotes.training.running import check_settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Rows: TypeAlias = pa.Table | Evidence | str | Path


@dataclass(frozen=True, eq=False)
class TwoStage:
    """Train a retriever in two stages that differ in data, negatives and learning rate; the second starts from the
    first's weights, with a fresh optimiser and schedule.

    The defaults are those of an embedder of instructions: stage 1 on retrieval data, where other rows' candidates are
    good negatives; stage 2 mixes in rows of classes, clusters and similar sentences, where another row of the batch is
    often of the same class, so that only a row's own mined negatives are believed (`in_batch` False). For coarse labels
    first and fine ones after: `n` [0, 4], `in_batch` [True, True], `learning_rate` [2e-5, 4e-6].

    What is trained on: the one evidence of both stages, or a pair of them; of it, with `only`, the anchors whose query
    has a value. What is given as one setting holds for both stages, as a pair for the first and the second.

    In:   `train(model, evidence, collection, out=...)`.
    Out:  `Trained` of the second stage, its steps and seconds those of both, its curve numbered through; `counts` are
          the second stage's. The first stage's model stays in `<out>-stage-1`, to mine with for the second.
    Cost: that of two `train_retriever`; with `only` the rows of its anchors are held in memory.

    Each stage is a run of `train_retriever`: interrupted, it goes on from its last whole checkpoint to the weights an
    uninterrupted run gives; a finished one is not repeated. The model that is given is left as it is.

    A pair of `query_prompt`s may be two instructions, "Instruct: {task}\\nQuery: "; the model keeps those of the last
    stage as its own prompts, so that who encodes with it later uses them. To leave the instruction's tokens out of the
    vector is a matter of the model's pooling (`LatentAttention`, or Pooling with include_prompt=False).

    Args:
        objective: spelling of an objective or chain, or the part itself.
        in_batch: candidates of other rows are negatives.
        n: negatives of its own per row, >= 0.
        learning_rate: > 0. epochs: > 0. max_steps: >= 1 or None; if given, it counts instead of epochs.
        batch_size: >= 1.
        only: "column=value": only anchors whose query has it, as "task=retrieval"; None = all.
        query_prompt, document_prompt: put before texts; None = the model's own.
        warmup: share of the steps, in [0, 1). weight_decay: >= 0.
        mini_batch_size: texts encoded at a time with cached gradients; None = all.
        precision: "auto", "fp32" or "bf16".
        bidirectional: let the tokens of a decoder see later ones from the start (`make_bidirectional`).
        log_every, checkpoints: steps, >= 1.
    Raises:
        ValueError: an argument is out of range (it is named with its stage), no anchor has the value of `only`, or an
            unfinished run at `out` has other arguments.
        FileExistsError: there is something else at `out` or `<out>-stage-1`.
        FloatingPointError, KeyboardInterrupt: as `train_retriever`.
    Source: NV-Embed (arXiv:2405.17428), section 3.2; stages by quality of labels: Event-driven Real-time Retrieval in
        Web Search (arXiv:2312.00372). Neither has published training code; LoRA is not part of this: give a model that
        has its adapters.

    Example:
        >>> TwoStage(max_steps=[20000, 18000]).stage(1)["in_batch"]
        False
    """

    objective: Any = "infonce(temperature=0.02)"
    in_batch: bool | Sequence[bool] = (True, False)
    n: int | Sequence[int] = 7
    learning_rate: float | Sequence[float] = (2e-5, 1.5e-5)
    epochs: float | Sequence[float] = 1
    max_steps: int | None | Sequence[int | None] = None
    batch_size: int | Sequence[int] = 128
    only: str | None | Sequence[str | None] = None
    query_prompt: str | None | Sequence[str | None] = None
    document_prompt: str | None | Sequence[str | None] = None
    warmup: float | Sequence[float] = 0.025
    weight_decay: float = 0.03
    mini_batch_size: int | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    bidirectional: bool = False
    log_every: int = 10
    checkpoints: int = 500

    def __post_init__(self) -> None:
        for name in _PER_STAGE:
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                if len(value) != 2:
                    raise ValueError(f"TwoStage: {name} must be one value or a pair, got {value!r}")
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.objective, str):
            from litotes.catalog import parse

            object.__setattr__(self, "objective", str(parse(self.objective, scale="tensor")))
        for number in (0, 1):
            _check(self.stage(number), f"TwoStage: stage {number + 1}")

    def stage(self, number: int) -> dict[str, Any]:
        """The settings of stage 0 or 1, by name, each with one value."""
        made = {field.name: getattr(self, field.name) for field in fields(self)}
        pairs = {name: made[name][number] for name in _PER_STAGE if isinstance(made[name], tuple)}
        return made | pairs

    def train(
        self,
        model: SentenceTransformer | str | Path,
        evidence: Rows | Sequence[Rows],
        collection: Collection,
        *,
        out: str | Path,
        split: str = "train",
        seed: int = 0,
        resume: bool = True,
    ) -> Trained:
        """Both stages, from where they stand. `split` is not read: the queries are the anchors of the evidence.

        Args:
            model: a SentenceTransformer, its folder or name.
            evidence: a table, Evidence or its path, for both stages; or two of them.
            collection: where the texts come from, and the column of `only`.
            out: folder for the final model.
            seed: of stage 1; stage 2 draws with seed + 1.
            resume: False throws an unfinished run away.
        """
        from litotes.data.inference import best_device
        from litotes.data.models import load_model

        last = Path(out)
        places = [last.with_name(f"{last.name}-stage-1"), last]
        rows = list(evidence) if isinstance(evidence, (list, tuple)) else [evidence, evidence]
        if len(rows) != 2:
            raise ValueError(f"TwoStage: evidence must be one, or one for each stage, got {len(rows)}")
        done: list[Trained] = []
        student: Any = model
        for number, place in enumerate(places):
            if isinstance(student, (str, Path)):
                student = load_model(student, best_device())
            else:
                student = copy.deepcopy(student)
            done.append(self._run(number, student, rows[number], collection, place, seed + number, resume))
            student = place  # read back, so that a stage never depends on which call ran the one before
        return _joined(*done)

    def _run(
        self, number: int, student: Any, rows: Rows, collection: Collection, out: Path, seed: int, resume: bool
    ) -> Trained:
        """One stage on a model that is ours."""
        settings = self.stage(number)
        if settings["bidirectional"]:
            make_bidirectional(student)
        for side in ("query", "document"):
            if settings[f"{side}_prompt"] is not None:
                student.prompts = {**student.prompts, side: settings[f"{side}_prompt"]}
        asked = {name: value for name, value in settings.items() if name not in _NOT_ASKED}
        asked["objective"] = copy.deepcopy(settings["objective"])  # what it learns is learnt anew in every stage
        chosen = _anchors_of(rows, collection, settings["only"])
        return train_retriever(student, chosen, collection, out=out, seed=seed, resume=resume, **asked)

    def __str__(self) -> str:
        from litotes.catalog import parse

        named = isinstance(self.objective, str)  # then it is spelled as the part that it names, not as a text
        return spell(replace(self, objective=parse(self.objective, scale="tensor")) if named else self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TwoStage) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


_PER_STAGE = (
    "in_batch", "n", "learning_rate", "epochs", "max_steps", "batch_size", "only", "query_prompt", "document_prompt",
    "warmup",
)  # fmt: skip
_NOT_ASKED = ("bidirectional", "only", "query_prompt", "document_prompt")


def _anchors_of(evidence: Rows, collection: Collection, only: str | None) -> pa.Table | Evidence:
    """The rows whose anchor's query has the value of `only`."""
    held = Evidence.open(evidence) if isinstance(evidence, (str, Path)) else evidence
    if only is None:
        return held
    name, _, value = only.partition("=")
    if name not in collection.queries.column_names:
        there = ", ".join(collection.queries.column_names)
        raise ValueError(f"TwoStage: only names {name!r}; the columns of {collection.name}/queries are {there}")
    column = collection.queries[name].cast(pa.string())
    wanted = collection.queries["id"].filter(pc.fill_null(pc.equal(column, value), False)).combine_chunks()
    tables = [held] if isinstance(held, pa.Table) else held.tables()
    kept = [table.filter(pc.is_in(table["anchor"], value_set=wanted)) for table in tables]
    if not any(len(table) for table in kept):
        seen = pc.value_counts(column.combine_chunks().drop_null()).to_pylist()[:5]
        there = ", ".join(repr(one["values"]) for one in seen) or "nothing"
        raise ValueError(f"TwoStage: only={only!r}: no anchor of the evidence has this value; there are {there}")
    return pa.concat_tables(kept)


def _joined(first: Trained, second: Trained) -> Trained:
    curve = [*first.curve, *({**entry, "step": entry["step"] + first.steps} for entry in second.curve)]
    seconds, steps = first.seconds + second.seconds, first.steps + second.steps
    return replace(second, seconds=seconds, steps=steps, curve=curve)


def _check(settings: dict[str, Any], owner: str) -> None:
    names = ["epochs", "max_steps", "batch_size", "learning_rate", "warmup", "weight_decay", "precision", "log_every"]
    check_settings(owner, dropout=None, **{name: settings[name] for name in [*names, "checkpoints"]})
    only = settings["only"]
    for name, value in {name: settings[name] for name in ("in_batch", "bidirectional")}.items():
        if not isinstance(value, bool):
            raise ValueError(f"{owner}: {name} must be True or False, got {value!r}")
    if not (isinstance(settings["n"], int) and settings["n"] >= 0):
        raise ValueError(f"{owner}: n must be a whole number >= 0, got {settings['n']!r}")
    if only is not None and not (isinstance(only, str) and only.partition("=")[0] and "=" in only):
        raise ValueError(f"{owner}: only must be 'column=value', or None, got {only!r}")
    size = settings["mini_batch_size"]
    if size is not None and not (isinstance(size, int) and size >= 1):
        raise ValueError(f"{owner}: mini_batch_size must be a whole number >= 1 or None, got {size!r}")
