"""Refresh: which batch meets which negatives, exactly, however long mining takes and wherever a run was cut."""

import dataclasses
import signal
import threading
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from litotes.catalog import parse
from litotes.data.collection import Collection
from litotes.evidence import Evidence, doubt
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.sources.found import from_matrix
from litotes.sources.mined.dense import Mined
from litotes.training.collator import EvidenceCollator
from litotes.training.refresh import Refresh
from litotes.training.retriever import train_retriever
from litotes.training.rows import TrainingRows
from litotes.vetting.relative_margin import RelativeMargin


class Watched(InfoNCE):
    """InfoNCE that raises SIGINT in a given step."""

    def __init__(self, temperature=0.05):
        super().__init__(temperature)
        self.stop, self.count = None, 0

    def forward(self, batch, *, now=None, generator=None):
        self.count += 1
        if self.count == self.stop:
            signal.raise_signal(signal.SIGINT)
        return super().forward(batch, now=now, generator=generator)


def train(tiny_model, world, out, objective=None, refresh=None, **options):
    settings = {"max_steps": 9, "batch_size": 8, "n": 2, "learning_rate": 2e-3, "precision": "fp32", "log_every": 1}
    return train_retriever(
        tiny_model, world[1], world[0], objective=objective or Watched(), out=out, refresh=refresh, **settings | options
    )


def equal(one, other):
    from safetensors.torch import load_file

    a, b = (load_file(run.path / "model.safetensors") for run in (one, other))
    return all(torch.equal(a[name], b[name]) for name in a)


def told(run):
    """The report without clocks."""
    return [{k: v for k, v in entry.items() if k not in ("seconds", "waited")} for entry in run.refreshes]


@dataclass(frozen=True)
class Counting:
    """Finds document 39 + k for all anchors when it is asked for the k-th time, slowly; a vetter doubts all others."""

    seconds: float = 0.0
    name = "counting"
    asked = []

    def prepare(self, collection, space):
        self.asked.append(threading.current_thread())
        time.sleep(self.seconds)
        ids = lambda anchors: np.full((len(anchors), 1), 39 + len(self.asked), np.int32)
        return lambda anchors: from_matrix("counting", ids(anchors), np.ones((len(anchors), 1), np.float32), 1)

    def __str__(self):
        return "counting()"


@dataclass(frozen=True)
class OnlyCounting:
    def __call__(self, evidence, collection=None):
        late = pc.greater_equal(evidence["candidate"], "d40")
        old = pc.and_(pc.equal(evidence["sign"], -1), pc.invert(late))
        return doubt(evidence, old, 0.0, "only_counting()")

    def __str__(self):
        return "only_counting()"


def run_plainly(tiny_model, world, folder, refresh, steps=11, **arguments):
    """A script on the stock trainer, over ten more documents; per batch, in order, which of these it holds."""
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    from litotes.integrations.sentence_transformers import Loss
    from litotes.training.callbacks import Clock

    model = SentenceTransformer(tiny_model, device="cpu")
    collection, evidence = world
    more = pa.table({"id": [f"d{i}" for i in range(40, 50)], "text": [f"old new {i}" for i in range(40, 50)]})
    collection = Collection("more", collection.queries, pa.concat_tables([collection.corpus, more]))
    rows = TrainingRows.of(evidence, collection, n=1)
    number = {text: i for i, text in enumerate(collection.document_texts())}
    batches = []

    calls = []

    def preprocess(texts, **options):
        calls.append(texts)
        if len(calls) % 2 == 0:  # anchors, then candidates
            batches.append(sorted(number[text] for text in texts if number[text] >= 40))
        return model.preprocess(texts, **options)

    collator = EvidenceCollator(preprocess, rows)
    refreshing = refresh.over(collator, evidence)
    loss = Loss(model, InfoNCE())
    options = {
        "output_dir": str(folder), "use_cpu": True, "per_device_train_batch_size": 8, "max_steps": steps,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no",
        "gradient_accumulation_steps": 1,
    }  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=SentenceTransformerTrainingArguments(**options | arguments), train_dataset=rows.dataset(),
        loss=loss, data_collator=collator, callbacks=[Clock(collator, loss), refreshing],
    )  # fmt: skip
    trainer.train()
    return batches, refreshing


@pytest.mark.parametrize(
    "every, unit, lag, accumulate, asynchronous",
    [
        (1, "step", 1, 1, False), (2, "step", 1, 1, False), (3, "step", 2, 1, False), (2, "step", 3, 1, True),
        (1, "epoch", 1, 1, False), (2, "step", 1, 2, False), (3, "step", 3, 1, True),
    ],
)  # fmt: skip
def test_a_refresh_is_used_from_exactly_its_step_on(
    tiny_model, world, tmp_path, every, unit, lag, accumulate, asynchronous
):
    Counting.asked.clear()
    source = Counting(0.05 if asynchronous else 0.0)
    refresh = Refresh(every, unit, sources=[source], vetters=[OnlyCounting()], lag=lag, asynchronous=asynchronous)
    batches, refreshing = run_plainly(
        tiny_model, world, tmp_path, refresh, steps=8, gradient_accumulation_steps=accumulate
    )
    interval = every * (-(-3 // accumulate) if unit == "epoch" else 1)  # 24 rows: 3 batches of 8
    mined = [s for s in range(interval, 8, interval) if s + lag < 8]
    assert [entry["mined_at"] for entry in refreshing.report] == mined and len(Counting.asked) == len(mined)
    assert [entry["used_from"] for entry in refreshing.report] == [s + lag for s in mined]
    assert len(batches) >= 8
    for i, documents in enumerate(batches):
        step = i // 3 * -(-3 // accumulate) + i % 3 // accumulate
        k = sum(s + lag <= step for s in mined)
        assert documents == ([39 + k] if k else [])
    main = threading.current_thread() in Counting.asked
    assert main is not asynchronous and "litotes-refresh" not in {t.name.split("_")[0] for t in threading.enumerate()}


def test_the_scores_are_those_of_the_weights_of_the_step(tiny_model, world, tmp_path):
    from sentence_transformers import SentenceTransformer

    torn = Watched()
    torn.stop = 7
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, world, tmp_path / "made", torn, Refresh(3, lag=2), checkpoints=3)
    folder = tmp_path / "made.partial"
    model = SentenceTransformer(str(folder / "checkpoint-6"), device="cpu")
    made = Evidence.open(folder / "refreshes" / "step-00000006").read()
    collection = world[0]
    queries, documents = model.encode(collection.query_texts()), model.encode(collection.document_texts())
    pairs = collection.query_rows(made["anchor"]), collection.document_rows(made["candidate"])
    expected = (queries[pairs[0]] * documents[pairs[1]]).sum(axis=1)
    np.testing.assert_allclose(made["score"].to_numpy(), expected, atol=3e-2)  # bfloat16 where there is a unit for it
    assert np.abs(made["score"].to_numpy() - expected).mean() < 3e-3
    first = SentenceTransformer(tiny_model, device="cpu")
    queries, documents = first.encode(collection.query_texts()), first.encode(collection.document_texts())
    before = (queries[pairs[0]] * documents[pairs[1]]).sum(axis=1)
    assert np.abs(before - expected).mean() > 3e-2  # the weights have moved farther than that


@dataclass(frozen=True)
class Sleepy(Mined):
    """A search that takes longer than a step, so that the next refresh waits behind it."""

    def prepare(self, collection, space):
        time.sleep(0.3)
        return super().prepare(collection, space)


@pytest.mark.slow
def test_weights_are_those_of_their_step_however_long_a_refresh_had_to_wait(tiny_model, world, tmp_path):
    settings = {"sources": [Sleepy(depth=9)], "vetters": (), "lag": 3}
    runs = [
        train(
            tiny_model, world, tmp_path / str(beside), refresh=Refresh(1, asynchronous=beside, **settings), max_steps=7
        )
        for beside in (False, True)
    ]
    assert equal(*runs) and told(runs[0]) == told(runs[1])
    assert [(entry["mined_at"], entry["used_from"]) for entry in runs[1].refreshes] == [(1, 4), (2, 5), (3, 6)]


def test_beside_training_or_not_the_weights_are_the_same_and_not_those_of_no_refresh(tiny_model, world, tmp_path):
    runs = [
        train(tiny_model, world, tmp_path / str(beside), refresh=Refresh(2, vetters=(), lag=3, asynchronous=beside))
        for beside in (False, True)
    ]
    assert equal(*runs) and told(runs[0]) == told(runs[1]) and runs[0].curve == runs[1].curve
    assert [entry["mined_at"] for entry in runs[0].refreshes] == [2, 4]
    for entry in runs[0].refreshes:
        assert entry["found"] == 24 * 30 and 0 <= entry["new"] <= 1 and entry["negatives"] > 0 and entry["waited"] > 0
    assert runs[0].refreshes[0]["new"] > 0
    assert not equal(runs[0], train(tiny_model, world, tmp_path / "none"))
    assert [path.name for path in (tmp_path / "True").parent.glob("*.partial")] == []
    # how it was done is no part of what was done: the finished run is the result of the other way, too
    again = train(tiny_model, world, tmp_path / "True", refresh=Refresh(2, vetters=(), lag=3))
    assert again == runs[1]
    with pytest.raises(FileExistsError, match="no result of these arguments"):
        train(tiny_model, world, tmp_path / "True", refresh=Refresh(2, vetters=(), lag=2))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "stop, beside", [(3, True), pytest.param(4, False, marks=slow), pytest.param(6, True, marks=slow)]
)
def test_an_interrupted_run_goes_on_with_the_negatives_it_had(tiny_model, world, tmp_path, stop, beside):
    expected = train(tiny_model, world, tmp_path / "whole", refresh=Refresh(2, vetters=(), lag=2))
    torn = Watched()
    torn.stop = stop
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop}"):
        train(tiny_model, world, tmp_path / "torn", torn, Refresh(2, vetters=(), lag=2, asynchronous=beside))
    with pytest.raises(ValueError, match="refresh differ"):
        train(tiny_model, world, tmp_path / "torn", refresh=Refresh(2, lag=1))
    with pytest.raises(ValueError, match="refresh differ"):
        train(tiny_model, world, tmp_path / "torn")
    done = train(tiny_model, world, tmp_path / "torn", refresh=Refresh(2, vetters=(), lag=2, asynchronous=not beside))
    assert equal(done, expected) and done.curve == expected.curve and told(done) == told(expected)


@pytest.mark.slow
def test_what_no_checkpoint_needs_is_deleted(tiny_model, world, tmp_path):
    torn = Watched()
    torn.stop = 8
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, world, tmp_path / "torn", torn, Refresh(1), checkpoints=4)
    folder = tmp_path / "torn.partial"
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    there = sorted(int(path.name[5:]) for path in (folder / "refreshes").iterdir())
    assert there == [3, 4, 7]  # in force (3) and begun (4) at step 4; at step 8 that of step 7 (the last batch's)


@pytest.mark.slow
def test_a_checkpoint_without_its_refreshes_is_refused(tiny_model, world, tmp_path):
    torn = Watched()
    torn.stop = 4
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, world, tmp_path / "torn", torn, Refresh(2))
    (tmp_path / "torn.partial" / "checkpoint-4" / "refresh.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"refresh\.json is missing"):
        train(tiny_model, world, tmp_path / "torn", refresh=Refresh(2))


def test_an_error_in_the_thread_ends_the_run(tiny_model, world, tmp_path):
    @dataclass(frozen=True)
    class Broken(Counting):
        def prepare(self, collection, space):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        train(tiny_model, world, tmp_path / "made", refresh=Refresh(2, sources=[Broken()], asynchronous=True))
    assert not (tmp_path / "made").exists() and not [t for t in threading.enumerate() if "litotes" in t.name]


class Fed:
    def __init__(self):
        self.given = []

    def refresh(self, embeddings):
        self.given.append(embeddings)


def test_a_batcher_is_fed_the_vectors_of_the_rows_and_nothing_else_need_be_done(tiny_model, world, tmp_path):
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    from litotes.integrations.sentence_transformers import Loss
    from litotes.training.callbacks import Clock

    collection, evidence = world
    model = SentenceTransformer(tiny_model, device="cpu")
    rows = TrainingRows.of(evidence, collection, per="pair")
    collator, fed = EvidenceCollator(model.preprocess, rows), Fed()
    refreshing = Refresh(2, sources=(), vetters=()).over(collator, evidence, into=fed)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=12, max_steps=4, learning_rate=1e-9,
        report_to="none", disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    loss = Loss(model, InfoNCE())
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=rows.dataset(), loss=loss, data_collator=collator,
        callbacks=[Clock(collator, loss), refreshing],
    )  # fmt: skip
    trainer.train()
    assert len(fed.given) == 1 and collator.rows is rows
    texts = collection.query_texts()
    expected = model.eval().encode([texts[row] for row in rows.anchor])
    np.testing.assert_allclose(fed.given[0], expected, atol=3e-2)
    with pytest.raises(ValueError, match="nothing to mine"):
        Refresh(2, sources=(), vetters=()).over(collator, evidence)


@dataclass
class Gives:
    """`batch_sampler=` that is this batcher; the trainer pickles its arguments."""

    batcher: object

    def __call__(self, dataset, **given):
        return self.batcher


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_batches_that_a_fed_batcher_would_have_made(tiny_model, world, tmp_path):
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    from litotes.batching import Ngame
    from litotes.integrations.sentence_transformers import Loss
    from litotes.training.callbacks import Clock

    collection, evidence = world

    def go(folder, resume):
        model = SentenceTransformer(tiny_model, device="cpu")
        rows = TrainingRows.of(evidence, collection)
        met = []
        collator = EvidenceCollator(model.preprocess, rows)
        batcher = Ngame(double_at=[1, 2]).over(rows.anchor, 4, seed=0)
        batcher.refresh(np.random.default_rng(0).standard_normal((len(rows), 32)).astype(np.float32))
        refreshing = Refresh(4, sources=(), vetters=()).over(collator, evidence, into=batcher)
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(folder), use_cpu=True, per_device_train_batch_size=4, max_steps=18, learning_rate=3e-3,
            report_to="none", disable_tqdm=True, save_steps=8, logging_strategy="no",
            batch_sampler=Gives(batcher),
        )  # fmt: skip
        loss = Loss(model, InfoNCE())

        def collate(features):
            met.append([feature["row"] for feature in features])
            return collator(features)

        collate.valid_label_columns = ("label",)
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=rows.dataset(), loss=loss, data_collator=collate,
            callbacks=[Clock(collator, loss), refreshing],
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return met, model.state_dict()

    whole, weights = go(tmp_path, None)
    rest, again = go(tmp_path, str(tmp_path / "checkpoint-8"))
    assert len(whole) == 18 and rest == whole[8:]  # in the middle of the second epoch
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_the_interval_follows_from_counts(world):
    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=2)  # 24 anchors, 40 documents
    negatives = rows.counts["negatives"] / 24
    texts = 3 * 8 * (2 + negatives)
    assert Refresh().steps(rows, 8, 3) == int(np.ceil(64 / (0.1 * texts)))
    assert Refresh(share=1.0).steps(rows, 8, 3) == 1 and Refresh(5).steps(rows, 8, 3) == 5
    assert Refresh(2, "epoch").steps(rows, 8, 3) == 6


def test_it_has_one_spelling_and_reads_as_parts():
    refresh = Refresh(5, sources=[Mined(depth=7)], vetters=[RelativeMargin(0.1)], asynchronous=True, device="cpu")
    assert str(refresh).startswith("refresh(every=5, unit=step, share=0.1, sources=[dense(depth=7")
    assert refresh.identity == dataclasses.replace(refresh, asynchronous=False, device=None).identity
    assert refresh.identity != dataclasses.replace(refresh, lag=2).identity
    assert parse("dense(depth=7)") == refresh.sources[0]


@pytest.mark.parametrize(
    "name, value, range_",
    [
        ("every", 0, ">= 1"), ("every", 1.5, "whole number"), ("lag", 0, ">= 1"), ("lag", None, ">= 1"),
        ("unit", "hour", "'step' or 'epoch'"), ("unit", "epoch", "needs a number of epochs"),
        ("share", 0, r"in \(0, 1\]"), ("share", float("nan"), r"in \(0, 1\]"), ("share", 1.5, r"in \(0, 1\]"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_range(name, value, range_):
    with pytest.raises(ValueError, match=f"Refresh: .*{name}.*{range_}|Refresh: .*{range_}"):
        Refresh(**{name: value})


def test_batches_made_in_other_processes_are_refused(tiny_model, world, tmp_path):
    with pytest.raises(ValueError, match="dataloader_num_workers=2"):
        run_plainly(tiny_model, world, tmp_path, Refresh(2), dataloader_num_workers=2)
