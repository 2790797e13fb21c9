"""Batchers in the trainer of sentence-transformers itself."""

import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset

from litotes.batching import Ngame, TasBalanced
from litotes.data.encoder import Encoder
from litotes.integrations.sentence_transformers import Loss
from litotes.search.clusters import balanced_clusters
from litotes.training.batching import STATE, Batches, FreshBatches, load_state, save_state
from litotes.training.chains import dual_supervision, ngame_loss

ROWS = 30


@pytest.fixture(scope="module")
def letters(tiny_bert, tmp_path_factory):
    """A tiny BERT that reads letters, so that different texts have different vectors."""
    return str(tiny_bert(tmp_path_factory.mktemp("letters")))


@pytest.fixture
def pairs():
    words = ["red", "green", "blue", "cat", "dog", "bird"]
    return Dataset.from_dict(
        {
            "anchor": [f"{words[i % 6]} {words[(i // 6) % 6]} {i}" for i in range(ROWS)],
            "positive": [f"{words[i % 6]} runs {i}" for i in range(ROWS)],
        }
    )


class Seen:
    """The trainer's own collator, with a note of the anchors of each batch."""

    def __init__(self, collator):
        self.collator, self.batches = collator, []
        self.valid_label_columns = collator.valid_label_columns

    def __call__(self, features):
        self.batches.append([row["anchor"] for row in features])
        return self.collator(features)

    def __getattr__(self, name):
        return getattr(self.collator, name)


def trainer(model, data, batches, out, callbacks, loss=None, evaluated=None, **arguments):
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    args = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        batch_sampler=batches,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        learning_rate=0.05,
        **{"save_strategy": "no", "per_device_train_batch_size": 8, "num_train_epochs": 4, **arguments},
    )
    made = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=evaluated,
        loss=loss or Loss(model, ngame_loss()),
        callbacks=callbacks,
    )
    made.data_collator = Seen(made.data_collator)
    return made


def fresh(path):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(path, device="cpu")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="plain columns say nothing")
        yield


class Remembers(FreshBatches):
    """What was encoded, and at which step."""

    def __init__(self, batches):
        super().__init__(batches)
        self.given = []

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        before = self.batches.batcher._newest
        super().on_epoch_begin(args, state, control, model=model, **kwargs)
        if self.batches.batcher._newest is not before:
            self.given.append((state.global_step, self.batches.batcher._newest))


def test_a_plain_training_script_meets_the_batches_of_the_batcher(letters, pairs, tmp_path):
    part = Ngame(double_at=[1, 2], refresh_every=2)
    batches = Batches(part, pairs)
    callback = Remembers(batches)
    run = trainer(fresh(letters), pairs, batches, tmp_path, [callback])
    run.train()
    seen, steps = run.data_collator.batches, -(-ROWS // 8)
    assert run.state.global_step == 4 * steps and [step for step, _ in callback.given] == [steps, 2 * steps]
    row_of = {text: row for row, text in enumerate(pairs["anchor"])}
    per_epoch = [[[row_of[text] for text in batch] for batch in seen[e * steps : (e + 1) * steps]] for e in range(4)]
    for rows in per_epoch:
        assert sorted(row for batch in rows for row in batch) == list(range(ROWS))
    twin = part.over(ROWS, 8, seed=3)
    for number in range(4):
        twin.set_epoch(number)
        if twin.renews(number):
            twin.refresh(callback.given[number - 1][1])
        assert per_epoch[number] == list(twin)  # set_epoch arrives, and embeddings of just then
    assert not np.allclose(callback.given[0][1], callback.given[1][1], atol=1e-3)
    labels = balanced_clusters(callback.given[1][1], 4, seed=3)
    together = [len(set(labels[rows].tolist())) for rows in per_epoch[2][:-1]]
    assert max(together) <= 4 < len(set(labels.tolist()))


@pytest.mark.parametrize("stop", [pytest.param(3, marks=pytest.mark.slow), 6, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_that_is_gone_on_with_meets_the_same_batches(stop, letters, pairs, tmp_path):
    def make(out):
        batches = Batches(Ngame(double_at=[1, 2], refresh_every=1), pairs)
        return trainer(
            fresh(letters), pairs, batches, out, [FreshBatches(batches)], save_strategy="steps", save_steps=stop
        )

    whole = make(tmp_path / "whole")
    whole.train()
    cut = make(tmp_path / "cut")
    cut.train()  # its checkpoint of step `stop` is the one to go on from
    again = make(tmp_path / "cut")
    again.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    want = whole.data_collator.batches
    assert again.data_collator.batches == want[len(want) - len(again.data_collator.batches) :]
    assert len(again.data_collator.batches) == len(want) - stop
    state = [whole.model.state_dict(), again.model.state_dict()]
    assert all(torch.equal(state[0][name], state[1][name]) for name in state[0])


def test_a_checkpoint_without_the_state_is_refused(letters, pairs, tmp_path):
    batches = Batches(Ngame(double_at=[1]), pairs)
    run = trainer(
        fresh(letters), pairs, batches, tmp_path, [FreshBatches(batches)], save_strategy="steps", save_steps=2
    )
    run.train()
    saved = tmp_path / "checkpoint-2"
    moved = tmp_path / "elsewhere"
    (saved / STATE).rename(moved)
    with pytest.raises(FileNotFoundError, match=r"checkpoint-2/batcher.npz is not there"):
        run.train(resume_from_checkpoint=str(saved))


def test_evaluation_gets_the_sampler_of_the_trainer(letters, pairs, tmp_path):
    from sentence_transformers.base.sampler import DefaultBatchSampler

    batches = Batches(Ngame(double_at=[1]), pairs)
    held_out = pairs.select(range(9))
    run = trainer(
        fresh(letters), pairs, batches, tmp_path, [FreshBatches(batches)],
        evaluated=held_out, eval_strategy="epoch", num_train_epochs=2,
    )  # fmt: skip
    run.train()
    assert sum("eval_loss" in entry for entry in run.state.log_history) == 2
    assert isinstance(batches(held_out, 4), DefaultBatchSampler)
    other = Dataset.from_dict({"anchor": list(reversed(pairs["anchor"])), "positive": pairs["positive"]})
    assert isinstance(batches(other, 4), DefaultBatchSampler)
    kept = batches.batcher
    assert batches(pairs.select(range(ROWS)), 4) is batches.batcher is not kept  # the same rows, read anew


def test_pairs_of_one_topic_reach_the_loss_with_both_teachers(letters, tmp_path):
    random = np.random.default_rng(0)
    words = ["red", "green", "blue", "cat", "dog", "bird"]
    queries = [f"{words[q % 2]} {words[q % 2]} {q}" for q in range(12)]
    data = Dataset.from_dict(
        {
            "query": [queries[row // 3] for row in range(36)],
            "positive": [f"{words[row % 5]} {row}" for row in range(36)],
            "negative": [f"{words[row % 4]} runs {row}" for row in range(36)],
            "label": random.random(36).tolist(),
        }
    )
    guide, model = fresh(letters), fresh(letters)
    part = TasBalanced(topics=2)
    plain = Batches(part, data)
    assert plain.texts == queries
    batches = Batches(part, data, gaps=data["label"], embeddings=guide.encode(plain.texts))
    loss = Loss(model, dual_supervision(guide=True), guide=guide)
    run = trainer(model, data, batches, tmp_path, [], loss, per_device_train_batch_size=4)
    run.data_collator.__class__ = type("Queries", (Seen,), {"__call__": _queries})
    run.train()
    seen = run.data_collator.batches
    assert len(seen) == 4 * 3 and all(len(set(batch)) == 4 == len(batch) for batch in seen)
    topics = batches.batcher._labels
    assert all(len({int(topics[queries.index(text)]) for text in batch}) == 1 for batch in seen)
    assert run.state.log_history[-1]["train_loss"] > 0


def _queries(self, features):
    self.batches.append([row["query"] for row in features])
    return self.collator(features)


def test_topics_come_from_the_model_before_training_where_none_are_given(letters, tmp_path):
    words = ["red", "green", "blue", "cat", "dog", "bird"]
    anchors = [f"{words[i % 6]} {words[i // 6]} {words[i % 5]}" for i in range(12)]
    data = Dataset.from_dict({"anchor": anchors, "positive": anchors[::-1]})
    batches = Batches(TasBalanced(topics=2, balance="random"), data)
    model = fresh(letters)
    vectors = Encoder(model).encode(batches.texts, kind="query")
    run = trainer(model, data, batches, tmp_path, [FreshBatches(batches)], per_device_train_batch_size=2)
    run.train()
    want = TasBalanced(topics=2, balance="random").over(12, 2, seed=3, embeddings=vectors)
    assert run.data_collator.batches[:6] == [[batches.texts[row] for row in batch] for batch in want]
    assert batches.batcher.report()["topics"] == 2 and batches.batcher._labels.tolist() == want._labels.tolist()


def test_rows_of_one_anchor_share_its_vector():
    data = Dataset.from_dict({"text": [1, 2, 3, 4, 5, 6], "anchor": ["a", "b", "a", "c", "d", "b"]})
    batches = Batches(Ngame(double_at=[1]), data, anchor="anchor")
    assert batches.texts == ["a", "b", "c", "d"]
    batcher = batches(data, 2)
    batches.refresh(np.array([[1, 0], [0, 1], [-1, 0], [-1, -0.1]], np.float32))
    batcher.set_epoch(1)
    assert sorted(map(sorted, batcher)) == [[0, 2], [1, 5], [3, 4]]
    topics = Batches(TasBalanced(topics=2, balance="random"), data, anchor="anchor")
    chosen = topics(data, 2)
    topics.refresh(np.array([[1, 0], [1, 0.1], [-1, 0], [-1, -0.1]], np.float32))
    assert all({row in (0, 1, 2, 5) for row in batch} in ({True}, {False}) for batch in chosen)


def test_what_is_kept_reads_back(tmp_path):
    batcher = Ngame(double_at=[1]).over(20, 4)
    batcher.refresh(np.random.default_rng(0).standard_normal((20, 3)))
    state = batcher.state_dict()
    save_state(state, tmp_path / "state.npz")
    back = load_state(tmp_path / "state.npz")
    assert back.keys() == state.keys() and back["tree"] is None and back["settings"] == state["settings"]
    assert np.array_equal(back["waiting"], state["waiting"]) and back["waiting"].dtype == np.int32


def test_what_does_not_fit_is_refused(pairs):
    with pytest.raises(ValueError, match=r"Batches: anchor must be one of the columns .*, got 'query'"):
        Batches(Ngame(), pairs, anchor="query")
    batches = Batches(Ngame(), pairs)
    with pytest.raises(ValueError, match="Batches: no trainer has asked for batches yet"):
        batches.refresh(np.zeros((ROWS, 2)))
    with pytest.raises(ValueError, match="FreshBatches: its Batches are not the batch_sampler of this trainer"):
        FreshBatches(batches).on_epoch_begin(None, None, None)
    batches(pairs, 8)
    with pytest.raises(ValueError, match=r"embeddings must be \[30, D\], got 3 of them"):
        batches.refresh(np.zeros((3, 2)))


def _one_of_two(rank, port, path, out):
    import os

    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    words = ["red", "green", "blue", "cat", "dog"]
    data = Dataset.from_dict({"anchor": [f"{words[i % 5]} {i}" for i in range(21)], "positive": ["x"] * 21})
    batches = Batches(Ngame(double_at=[1]), data)
    batcher = batches(data, 4)
    made = FreshBatches(batches, encode=lambda texts: np.array([[len(t), sum(map(ord, t))] for t in texts], "f4"))
    encoded = made._encoded(None)
    batches.refresh(encoded)
    batcher.set_epoch(1)
    np.save(f"{out}/{rank}.npy", np.array(list(batcher)))
    np.save(f"{out}/vectors-{rank}.npy", encoded)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_on_vectors_and_batches(tmp_path):
    import socket

    import torch.multiprocessing as mp

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_one_of_two, (port, "", str(tmp_path)), nprocs=2)
    vectors = [np.load(tmp_path / f"vectors-{rank}.npy") for rank in (0, 1)]
    found = [np.load(tmp_path / f"{rank}.npy") for rank in (0, 1)]
    assert np.array_equal(vectors[0], vectors[1]) and len(vectors[0]) == 21
    words = ["red", "green", "blue", "cat", "dog"]
    assert vectors[0][:, 0].tolist() == [len(f"{words[i % 5]} {i}") for i in range(21)]
    assert np.array_equal(found[0], found[1]) and found[0].shape == (6, 4)
    assert set(found[0].ravel().tolist()) == set(range(21))
