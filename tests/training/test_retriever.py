"""Through the stock SentenceTransformerTrainer, with a BERT of 2 layers x 32 dimensions."""

import signal
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch

from litotes.batch import SignedBatch
from litotes.chain import Chain
from litotes.evidence import doubt, make
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.temperature import LearnedTemperature
from litotes.training.collator import EvidenceCollator
from litotes.training.retriever import train_retriever
from litotes.training.rows import TrainingRows


class Watched(InfoNCE):
    """InfoNCE that shows what it is given."""

    def __init__(self, temperature=0.05):
        super().__init__(temperature)
        self.watch: Callable[[SignedBatch], None] = lambda batch: None

    def forward(self, batch, *, now=None, generator=None):
        self.watch(batch)
        return super().forward(batch, now=now, generator=generator)


def train(tiny_model, world, out, objective=None, evidence=None, **options):
    settings = {"epochs": 2, "batch_size": 8, "n": 2, "learning_rate": 1e-3, "precision": "fp32", "log_every": 1}
    return train_retriever(
        tiny_model, world[1] if evidence is None else evidence, world[0], objective=objective or InfoNCE(), out=out,
        **(settings | options),
    )  # fmt: skip


def weights(path):
    from safetensors.torch import load_file

    return load_file(path / "model.safetensors")


def equal(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_is_gradient_descent_as_one_would_write_it_by_hand(tiny_model, world, tmp_path):
    from sentence_transformers import SentenceTransformer

    steps, rate = 8, 2e-3
    options = {
        "epochs": steps,
        "batch_size": 24,
        "learning_rate": rate,
        "warmup": 0.25,
        "weight_decay": 0.0,
        "dropout": 0.0,
    }
    done = train(tiny_model, world, tmp_path / "made", **options)
    assert done.steps == steps and [entry["step"] for entry in done.curve] == list(range(1, steps + 1))

    model = SentenceTransformer(tiny_model, device="cpu").eval()
    rows = TrainingRows.of(world[1], world[0], n=2)
    collator, objective = EvidenceCollator(model.preprocess, rows), Chain(InfoNCE())
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for collator.epoch in range(steps):
        batch = collator([{"row": row} for row in range(24)])
        sides = [{k[len(s) :]: v for k, v in batch.items() if k.startswith(s)} for s in ("anchor_", "candidate_")]
        anchors, candidates = (model(side)["sentence_embedding"] for side in sides)
        loss = objective(SignedBatch(None, batch["label"]["sign"], batch["label"]["weight"], anchors, candidates))
        assert done.curve[collator.epoch]["loss"] == pytest.approx(loss.item(), rel=1e-3)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = rate * min(collator.epoch / 2, (steps - collator.epoch) / (steps - 2))
        optimiser.step()
    assert done.curve[-1]["loss"] < done.curve[0]["loss"]
    trained = SentenceTransformer(str(done.path), device="cpu")
    np.testing.assert_allclose(trained.encode(["red cat 1"]), model.encode(["red cat 1"]), atol=1e-2)


def test_a_run_says_what_it_did_and_leaves_nothing_else_behind(tiny_model, world, tmp_path):
    done = train(tiny_model, world, tmp_path / "made", max_steps=4, log_every=2)
    assert done.steps == 4 and [entry["step"] for entry in done.curve] == [2, 4] and done.seconds > 0
    assert 8 * 2 <= done.texts_per_step <= 8 * 4 and done.counts["rows"] == 24 and done.counts["short"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_every_pair_of_every_step_has_the_sign_and_weight_that_evidence_gives_it(tiny_model, world, tmp_path):
    collection, evidence = world
    objective, seen = Watched(), []
    objective.watch = seen.append
    done = train(tiny_model, world, tmp_path / "made", objective, n=1)
    said = {(row["anchor"], row["candidate"]): row for row in evidence.to_pylist()}
    codes = {}  # codes are those of the first appearance in evidence, and no two texts are equal here
    for side in ("anchor", "candidate"):
        codes[side] = list(dict.fromkeys(evidence[side].to_pylist()))
    by_chance = short = 0
    for batch in seen:
        b = len(batch.sign)
        assert batch.scores.requires_grad and batch.rows["positive"].tolist() == list(range(b))
        short += batch.sign.shape[1] < 8 * 2
        for i, anchor in enumerate(batch.rows["id"].tolist()):
            for j, candidate in enumerate(batch.columns["id"].tolist()):
                row = said.get((codes["anchor"][anchor], codes["candidate"][candidate]))
                sign, weight = batch.sign[i, j].item(), batch.weight[i, j].item()
                if sign == -1:
                    assert weight == (1.0 if row is None else row["weight"])
                    by_chance += row is not None and row["weight"] < 1 and batch.columns["of"][j].item() != i
                else:
                    assert row is None or row["sign"] >= 0 or sign == 0
                assert (sign == 1) == (i == j)
    assert len(seen) == done.steps == 6 and short and by_chance


def test_a_belief_on_disk_changes_the_weights_also_of_pairs_that_are_no_ones_negative(tiny_model, world, tmp_path):
    collection, evidence = world
    known = set(zip(evidence["anchor"].to_pylist(), evidence["candidate"].to_pylist(), strict=True))
    candidates = sorted({candidate for _, candidate in known})
    free = [(f"q{i:02}", c) for i in range(24) for c in candidates if (f"q{i:02}", c) not in known]
    chance = make([a for a, _ in free], [c for _, c in free], -1, source="made")
    both = pa.concat_tables([evidence, chance.replace_schema_metadata(evidence.schema.metadata)])
    new = pa.array([False] * len(evidence) + [True] * len(chance))
    runs = {}
    for name, belief in (("one", 1.0), ("none", 0.0)):
        runs[name] = train(tiny_model, world, tmp_path / name, evidence=doubt(both, new, belief, "zeal"), n=0, epochs=1)
    assert not equal(runs["one"].path, runs["none"].path)
    # with a belief of 1, pairs that evidence names are what unnamed pairs are
    assert equal(runs["one"].path, train(tiny_model, world, tmp_path / "unnamed", n=0, epochs=1).path)
    # nobody believes in any other candidate: what is left is the few negatives that evidence believes in
    assert runs["none"].curve[0]["loss"] < 0.5 * runs["one"].curve[0]["loss"]


def test_one_seed_gives_the_same_bits_and_another_seed_others(tiny_model, world, tmp_path):
    runs = [train(tiny_model, world, tmp_path / str(i), seed=seed, epochs=1) for i, seed in enumerate([7, 7, 8])]
    assert equal(runs[0].path, runs[1].path) and runs[0].curve == runs[1].curve
    assert not equal(runs[0].path, runs[2].path)


@pytest.mark.parametrize("stop", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_to_the_weights_of_an_uninterrupted_one(tiny_model, world, tmp_path, stop):
    whole = Watched(LearnedTemperature())
    expected = train(tiny_model, world, tmp_path / "whole", whole)
    torn, count = Watched(LearnedTemperature()), []

    def interrupt(batch):
        count.append(batch)
        if len(count) == stop:
            signal.raise_signal(signal.SIGINT)

    torn.watch = interrupt
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop}"):
        train(tiny_model, world, tmp_path / "torn", torn)
    assert len(count) == stop and not (tmp_path / "torn").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (tmp_path / "torn.partial" / "checkpoint-99").mkdir()  # as a power cut leaves one

    fresh = Watched(LearnedTemperature())
    done = train(tiny_model, world, tmp_path / "torn", fresh)
    assert equal(done.path, expected.path) and done.curve == expected.curve
    for name, value in whole.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name])


@pytest.mark.parametrize("batcher", ["ngame(double_at=[1], refresh_every=1)", "tas_balanced(topics=3)"])
def test_a_batcher_says_what_meets_and_an_interrupted_run_meets_the_same(tiny_model, world, tmp_path, batcher):
    collection, evidence = world
    scored = evidence.set_column(
        evidence.schema.get_field_index("score"),
        evidence.schema.field("score"),
        pa.array(np.random.default_rng(0).random(len(evidence)), pa.float32()),
    )
    from litotes.evidence import with_scorer

    scored = with_scorer(scored, {"name": "m", "checksum": "c", "similarity": "cosine"})
    options = {"batcher": batcher, "per": "triple" if "tas" in batcher else "anchor", "epochs": 3, "evidence": scored}
    met: list[list[int]] = []

    def run(out, stop=None):
        objective, steps = Watched(), []

        def watch(batch):
            steps.append(batch.rows["id"].tolist())
            if stop is not None and len(steps) == stop:
                signal.raise_signal(signal.SIGINT)

        objective.watch = watch
        try:
            train(tiny_model, world, out, objective, **options)
        finally:
            met[:] = steps

    run(tmp_path / "whole")
    whole = list(met)
    assert all(len(set(batch)) == len(batch) for batch in whole)
    plain = Watched()
    seen: list[list[int]] = []
    plain.watch = lambda batch: seen.append(batch.rows["id"].tolist())
    train(tiny_model, world, tmp_path / "plain", plain, **(options | {"batcher": None}))
    assert seen != whole
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=4)
    begun = list(met)
    run(tmp_path / "cut")
    assert begun + met == whole and equal(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_what_a_chain_draws_is_drawn_again_by_a_run_that_goes_on(tiny_model, world, tmp_path):
    chain = "chain(cosine(), mochi(n_hard=8, n_mix=6, n_mix_query=2), infonce(temperature=0.05))"
    whole = train(tiny_model, world, tmp_path / "whole", chain)
    plain = train(tiny_model, world, tmp_path / "plain")
    other = train(tiny_model, world, tmp_path / "other", chain, seed=1)
    assert not equal(whole.path, plain.path) and not equal(whole.path, other.path)
    from litotes.training.callbacks import Clock

    begin, count = Clock.on_step_begin, []

    def stop(self, *args, **kwargs):
        count.append(1)
        if len(count) == 4:
            signal.raise_signal(signal.SIGINT)
        return begin(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "on_step_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_model, world, tmp_path / "torn", chain)
    assert equal(train(tiny_model, world, tmp_path / "torn", chain).path, whole.path)


def test_a_finished_run_is_not_repeated_and_other_arguments_are_refused(tiny_model, world, tmp_path):
    first = train(tiny_model, world, tmp_path / "made", max_steps=2)
    objective = Watched()
    objective.watch = lambda batch: pytest.fail("it was trained again")
    assert train(tiny_model, world, tmp_path / "made", max_steps=2) == first
    with pytest.raises(FileExistsError, match="no result of these arguments"):
        train(tiny_model, world, tmp_path / "made", max_steps=3)

    torn = Watched()
    torn.watch = lambda batch: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, world, tmp_path / "torn", torn, max_steps=3)
    with pytest.raises(ValueError, match=r"other arguments \(learning_rate differ\); resume=False throws it away"):
        train(tiny_model, world, tmp_path / "torn", Watched(), max_steps=3, learning_rate=2e-3)
    assert train(tiny_model, world, tmp_path / "torn", Watched(), max_steps=2, resume=False).steps == 2


def test_bfloat16_is_for_the_run_only(tiny_model, world, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, device="cpu")
    before = model.encode(["red cat"]), model[0].auto_model.config._attn_implementation
    low = train(model, world, tmp_path / "low", precision="bf16", max_steps=1, learning_rate=1e-12)
    high = train(tiny_model, world, tmp_path / "high", max_steps=1, learning_rate=1e-12)
    assert low.curve != high.curve and low.curve[0]["loss"] == pytest.approx(high.curve[0]["loss"], rel=0.05)
    assert all(value.dtype == torch.float32 for value in weights(low.path).values())
    assert model[0].auto_model.config._attn_implementation == before[1]
    np.testing.assert_allclose(model.eval().encode(["red cat"]), before[0], atol=1e-6)


def test_small_pieces_with_cached_gradients_train_alike(tiny_model, world, tmp_path):
    whole = train(tiny_model, world, tmp_path / "whole", dropout=0.0)
    pieces = train(tiny_model, world, tmp_path / "pieces", dropout=0.0, mini_batch_size=3)
    assert [e["loss"] for e in pieces.curve] == pytest.approx([e["loss"] for e in whole.curve], rel=1e-3)


def test_the_stock_trainer_evaluates_held_out_rows_by_the_same_evidence(tiny_model, world, tmp_path):
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    from litotes.integrations.sentence_transformers import Loss
    from litotes.training.callbacks import Clock

    model = SentenceTransformer(tiny_model, device="cpu")
    rows = TrainingRows.of(world[1], world[0], n=2)
    collator, loss = EvidenceCollator(model.preprocess, rows), Loss(model, InfoNCE())
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=8, per_device_eval_batch_size=8,
        report_to="none", dataloader_drop_last=True, max_steps=3, disable_tqdm=True,
        save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=rows.dataset(np.arange(20)),
        eval_dataset=rows.dataset(np.arange(20, 24)), loss=loss, data_collator=collator,
        callbacks=[Clock(collator, loss)],
    )  # fmt: skip
    assert len(trainer.get_train_dataloader()) == 2
    trainer.train()
    assert collator.epoch == 1 and loss.now.step == 2
    trainer.args.dataloader_drop_last = False
    found = trainer.evaluate()["eval_loss"]
    model.eval()
    with torch.no_grad():
        batch = collator([{"row": row} for row in range(20, 24)])
        features, labels = trainer.collect_features(batch)
        assert found == pytest.approx(loss(features, labels).item(), rel=1e-5)


@pytest.mark.parametrize(
    "name, value, range_",
    [
        ("epochs", 0, "> 0"), ("learning_rate", float("nan"), "> 0"), ("warmup", 1, r"in \[0, 1\)"),
        ("dropout", 1.0, r"in \[0, 1\)"),
        ("weight_decay", -1, ">= 0"), ("batch_size", 0, ">= 1"), ("log_every", 0, ">= 1"), ("checkpoints", 0, ">= 1"),
        ("max_steps", 0, ">= 1"), ("precision", "fp8", "'auto', 'fp32' or 'bf16'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_range(tiny_model, world, tmp_path, name, value, range_):
    with pytest.raises(
        ValueError,
        match=f"train_retriever: {name} must be .*{range_}.*, got {value}" if name != "precision" else range_,
    ):
        train(tiny_model, world, tmp_path / "made", **{name: value})
    assert not list(tmp_path.iterdir())
