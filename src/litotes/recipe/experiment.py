"""An experiment under one seed: mine, train, evaluate, arm by arm, in a folder that remembers what is done."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from litotes import catalog
from litotes.atomic import atomic_path
from litotes.audit.retrieval import Evaluation, Ranking, evaluate
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.inference import best_device
from litotes.data.models import load_model
from litotes.evidence import Evidence, select
from litotes.mining import mine
from litotes.recipe.budget import Budget, project
from litotes.recipe.schema import Arm, Recipe
from litotes.recipe.steps import RunFolder, fingerprint
from litotes.recipe.task import load_task, restrict
from litotes.search.space import Space
from litotes.training.retriever import train_retriever

PROBE_STEPS = 6
CURVE_POINTS = 40


@dataclass(frozen=True)
class Outcome:
    """What one arm came to under one seed. `seconds`: train, evaluate, mine, total."""

    arm: Arm
    evaluation: Evaluation
    seconds: dict[str, float]
    steps: int
    texts_per_step: float
    curve: list[dict[str, float]]
    evidence: Path | None
    anchors: int


class Experiment:
    """One recipe, one seed, one folder.

    Task, vectors and budget belong to the seed: each seed has a folder of its own.

    Args:
        folder: where everything goes; finished steps found there are not done again.
    """

    def __init__(self, recipe: Recipe, folder: str | Path, seed: int):
        self.recipe, self.seed = recipe, seed
        self.folder = RunFolder(folder)
        self.path = self.folder.path
        self.model = recipe.encoder.model
        self.vectors = self.path / "vectors"

    @cached_property
    def task(self) -> Collection:
        """The collection as the recipe cuts it."""
        return load_task(self.recipe, self.seed)

    @cached_property
    def encoder(self) -> Encoder:
        """The model as it is before training; it mines for every arm."""
        return self._encoder(self.model)

    def run(self) -> list[Outcome]:
        """All arms, in the order of the recipe."""
        arms = [self.recipe.arm(arm.name) for arm in self.recipe.arms]
        first = next((arm for arm in arms if not arm.train), None)
        if first is not None:
            self._evaluation(first.name, self.encoder)  # encodes the corpus: the rate by which the budget is projected
        mined = {arm.name: self._mined(arm) for arm in arms if arm.train}
        budget = self._budget(arms, mined)
        return [self._outcome(arm, mined.get(arm.name), budget) for arm in arms]

    @cached_property
    def base(self) -> dict[str, Any]:
        """What every step depends on."""
        section = self.recipe.collection
        return {
            "seed": self.seed,
            "collection": self.task.fingerprint(),
            "splits": [section.train_split, section.test_split],
            "model": self.encoder.checksum,
            "encoder": self.recipe.encoder.model_dump(),
        }

    def budget(self) -> Budget:
        """The budget that was decided when the run was made."""
        return Budget(**self.folder.gives("budget"))

    # -- steps --------------------------------------------------------------------------------------------------

    def _mined(self, arm: Arm) -> Path:
        """Evidence of this arm's sources and vetters; arms that share them share the evidence."""
        about = {**self.base, "sources": arm.sources, "vetters": arm.vetters}
        name = fingerprint(about)[:12]
        path = self.path / "evidence" / name

        def work() -> dict[str, Any]:
            sources = [catalog.parse(text, stage="source", scale="disk") for text in arm.sources or []]
            vetters = [catalog.parse(text, stage="vetter", scale="disk") for text in arm.vetters or []]
            split = self.recipe.collection.train_split
            mining = mine(
                self.task, split, model=self.encoder, sources=sources, vetters=vetters, out=path, cache=self.vectors
            )
            return {"seconds": dict(mining.seconds), "rows": len(mining.evidence)}

        self.folder.step(f"mine {name}", about, work, [path])
        return path

    def _budget(self, arms: list[Arm], mined: dict[str, Path]) -> Budget:
        """How many training anchors every arm gets, so that the whole fits the recipe's minutes."""
        split = self.recipe.collection.train_split
        anchors = len(self.task.qrels[split]["query"].unique())
        if self.recipe.minutes is None or not mined:
            budget = Budget(anchors, anchors, None, None)
            return Budget(**self.folder.step("budget", {**self.base, "anchors": anchors}, lambda: asdict(budget)))

        def work() -> dict[str, Any]:
            start = time.perf_counter()
            hungriest = max((arm for arm in arms if arm.train), key=lambda arm: arm.negatives or 0)
            scratch = self.path / "probe"
            for left in (scratch, scratch.with_name("probe.partial")):  # of a probe that was interrupted
                shutil.rmtree(left, ignore_errors=True)
            probe = self._train(hungriest, mined[hungriest.name], anchors, scratch, max_steps=PROBE_STEPS)
            shutil.rmtree(scratch, ignore_errors=True)
            # what this run has used: the folder may hold steps of earlier recipes besides
            mines = sorted({f"mine {evidence.name}" for evidence in mined.values()})
            plain = [f"evaluate {arm.name}" for arm in arms if not arm.train][:1]
            spent = sum(self.folder.seconds(step) for step in [*plain, *mines]) + time.perf_counter() - start
            # without an untrained arm, mining was the first to encode the texts
            encoding = sum(self.folder.gives(step)["seconds"]["encode"] for step in mines)
            evaluating = self.folder.seconds(plain[0]) if plain else encoding
            texts = {arm.name: 2.0 + (arm.negatives or 0) for arm in arms if arm.train}
            return asdict(project(
                anchors=anchors * self.recipe.train.epochs,
                seconds_per_text=probe.seconds / max(probe.steps * probe.texts_per_step, 1),
                texts_per_anchor=texts,
                spent=spent,
                seconds_per_evaluation=evaluating,
                minutes=self.recipe.minutes or 0.0,
                epochs=self.recipe.train.epochs,
            ))  # fmt: skip

        about = {
            **self.base,
            "minutes": self.recipe.minutes,
            "train": self.recipe.train.model_dump(),
            "anchors": anchors,
            "arms": [_work_of(arm) for arm in arms],
        }
        return Budget(**self.folder.step("budget", about, work))

    def _outcome(self, arm: Arm, evidence: Path | None, budget: Budget) -> Outcome:
        if evidence is None:
            evaluation = self._evaluation(arm.name, self.encoder)
            took = _seconds(0.0, self.folder.seconds(f"evaluate {arm.name}"), 0.0)
            return Outcome(arm, evaluation, took, 0, 0.0, [], None, 0)
        about = {**self.base, "arm": _work_of(arm), "train": self.recipe.train.model_dump(), "anchors": budget.used}
        place = self.path / "models" / arm.name

        def work() -> dict[str, Any]:
            trained = self._train(arm, evidence, budget.used, place)
            return {
                "steps": trained.steps,
                "texts_per_step": trained.texts_per_step,
                "curve": trained.curve,
            }

        trained = self.folder.step(f"train {arm.name}", about, work, [place])
        evaluation = self._evaluation(arm.name, None, place, about)
        seconds = _seconds(
            self.folder.seconds(f"train {arm.name}"),
            self.folder.seconds(f"evaluate {arm.name}"),
            self.folder.seconds(f"mine {evidence.name}") if arm.sources else 0.0,
        )
        return Outcome(
            arm,
            evaluation,
            seconds,
            trained["steps"],
            trained["texts_per_step"],
            trained["curve"],
            evidence,
            budget.used,
        )

    def _train(self, arm: Arm, evidence: Path, anchors: int, out: Path, max_steps: int | None = None) -> Any:
        train = self.recipe.train
        student: Any = self.model
        if self.recipe.encoder.max_length is not None:  # a shorter model, trained and measured at that length
            student = load_model(self.model, best_device())
            student.max_seq_length = self.recipe.encoder.max_length
        if arm.trainer is not None:
            part = catalog.parse(arm.trainer, stage="trainer")
            chosen, split = self.anchors_only(evidence, anchors), self.recipe.collection.train_split
            return part.train(student, chosen, self.task, out=out, split=split, seed=self.seed)
        return train_retriever(
            student,
            self.anchors_only(evidence, anchors),
            self.task,
            n=arm.negatives or 0,
            how=train.pick,
            per=train.per,
            batcher=arm.batcher,
            refresh=self._refresh(arm),
            objective=arm.objective or train.objective,
            out=out,
            epochs=train.epochs,
            max_steps=max_steps,
            batch_size=train.batch_size,
            learning_rate=train.lr,
            warmup=train.warmup,
            weight_decay=train.weight_decay,
            precision=train.precision,
            mini_batch_size=train.mini_batch_size,
            log_every=max(1, round(anchors * train.epochs / train.batch_size / CURVE_POINTS)),
            seed=self.seed,
            query_prompt=self.recipe.encoder.query_prompt,
            document_prompt=self.recipe.encoder.document_prompt,
        )

    def _refresh(self, arm: Arm) -> Any:
        """How an arm mines anew while it trains; an arm without sources has nothing to mine."""
        every = self.recipe.train.refresh
        if every is None or not arm.sources:
            return None
        from litotes.training.refresh import Refresh

        return Refresh(
            every=None if every == "auto" else every,
            sources=[catalog.parse(text, stage="source", scale="disk") for text in arm.sources],
            vetters=[catalog.parse(text, stage="vetter", scale="disk") for text in arm.vetters or []],
        )

    def chosen(self, arm: Arm, evidence: Path, anchors: int) -> pa.Table:
        """The rows an arm trains on: `anchors` of the anchors, each with its positives and chosen negatives.

        Anchors without a believed positive have no training row, and are left out here too.
        """
        table = self.anchors_only(evidence, anchors)
        believed = pc.and_(pc.greater(table["sign"], 0), pc.greater(table["weight"], 0))
        trained = table.filter(pc.is_in(table["anchor"], value_set=table["anchor"].filter(believed).unique()))
        return select(trained, arm.negatives or 0, self.recipe.train.pick, self.seed)

    def judged_false(self, chosen: pa.Table) -> np.ndarray:
        """Per row whether the vetters of the recipe (not of an arm) take its weight away: bool."""
        for text in self.recipe.vet.vetters:
            vetter = catalog.parse(text, stage="vetter", scale="disk")
            if hasattr(vetter, "prepare"):  # then what it reads is encoded once for all arms
                chosen = vetter.prepare(self.task, self.vectors)(chosen)
            else:
                chosen = vetter(chosen, self.task)
        return chosen["weight"].to_numpy() == 0

    def anchors_only(self, evidence: Path, anchors: int) -> pa.Table:
        """All evidence about the first `anchors` training anchors."""
        split = self.recipe.collection.train_split
        smaller = restrict(self.task, {split: anchors}, self.seed)
        table = Evidence.open(evidence).read()
        return table.filter(pc.is_in(table["anchor"], value_set=smaller.queries["id"].combine_chunks()))

    def _evaluation(
        self, name: str, encoder: Encoder | None, model: Path | None = None, about: dict[str, Any] | None = None
    ) -> Evaluation:
        file = self.path / "evaluations" / f"{name}.parquet"
        section = self.recipe.evaluate

        def work() -> dict[str, Any]:
            made = self._evaluate(encoder or self._encoder(str(model)))
            with atomic_path(file) as temporary:
                pq.write_table(pa.table({"query": made.queries, "query_id": made.query_ids, **made.values}), temporary)
            return {"without_positives": made.without_positives, "unanswered": made.unanswered, "depth": made.depth}

        measured = section.model_dump(include={"measures", "depth"})
        gives = self.folder.step(f"evaluate {name}", {**(about or self.base), "evaluate": measured}, work, [file])
        table = pq.read_table(file)
        values = {column: table[column].to_numpy() for column in table.column_names[2:]}
        return Evaluation(table["query"].to_numpy().astype(np.int32), table["query_id"].to_pylist(), values, **gives)

    def _evaluate(self, encoder: Encoder) -> Evaluation:
        split = self.recipe.collection.test_split
        rows = np.unique(self.task.judgements(split).query)
        texts = self.task.query_texts()
        queries = encoder.encode([texts[row] for row in rows], kind="query")
        corpus = encoder.encode(self.task.document_texts(), kind="document")
        space = Space(queries, corpus, encoder.similarity, encoder.name, encoder.checksum)
        depth = min(self.recipe.evaluate.depth, len(corpus))
        documents, _ = space.top_k(np.arange(len(rows)), depth)
        return evaluate(Ranking(rows, documents), self.task, split, tuple(self.recipe.evaluate.measures))

    def _encoder(self, model: str) -> Encoder:
        section = self.recipe.encoder
        return Encoder(
            model,
            query_prompt=section.query_prompt,
            document_prompt=section.document_prompt,
            max_length=section.max_length,
            dtype=section.dtype,
            cache=self.vectors,
        )


def _work_of(arm: Arm) -> dict[str, Any]:
    """What an arm does; its title is only what it is called."""
    return arm.model_dump(exclude={"title"})


def _seconds(train: float, evaluate: float, mine: float) -> dict[str, float]:
    return {"train": train, "evaluate": evaluate, "mine": mine, "total": train + evaluate + mine}
