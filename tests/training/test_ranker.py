"""Through the stock CrossEncoderTrainer, with a BERT of 2 layers x 32 dimensions that reads both texts together."""

import math
import signal

import numpy as np
import pyarrow as pa
import pytest
import torch

from litotes.batch import from_groups
from litotes.chain import Chain
from litotes.evidence import doubt, make, rescore
from litotes.integrations.cross_encoder import GroupLoss
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.objectives.pairwise.hinge import Hinge
from litotes.objectives.pairwise.logistic import PairwiseLogistic
from litotes.objectives.pairwise.margin_mse import MarginMSE
from litotes.objectives.temperature import LearnedTemperature
from litotes.scoring import Cosine
from litotes.training.groups import GroupCollator
from litotes.training.ranker import train_ranker
from litotes.training.rows import TrainingRows
from litotes.vetting.gist import Gist

QUERIES = ["red cat", "blue dog eats", "small fish"]
COLUMNS = [
    QUERIES,
    ["red cat runs 1", "dog", "fish sleeps 2"],
    ["bird", "old square 3", "cat"],
    ["new", "bird 4", "red"],
]


class Watched(InfoNCE):
    """InfoNCE that shows what it is given, and raises SIGINT in a given step."""

    def __init__(self, temperature=1.0):
        super().__init__(temperature)
        self.seen, self.stop = [], None

    def forward(self, batch, *, now=None, generator=None):
        self.seen.append(batch)
        if len(self.seen) == self.stop:
            signal.raise_signal(signal.SIGINT)
        return super().forward(batch, now=now, generator=generator)


@pytest.fixture(scope="module")
def ranker(tiny_model, tmp_path_factory):
    """Folder of a cross-encoder over the tiny BERT."""
    from litotes.data.models import load_ranker

    out = tmp_path_factory.mktemp("ranker") / "model"
    load_ranker(tiny_model, "cpu").save_pretrained(str(out))
    return str(out)


@pytest.fixture
def model(ranker):
    from sentence_transformers import CrossEncoder

    return CrossEncoder(ranker, device="cpu").eval()


def train(ranker, world, out, objective=None, evidence=None, **options):
    settings = {"epochs": 2, "batch_size": 8, "n": 3, "learning_rate": 1e-3, "precision": "fp32", "log_every": 1}
    return train_ranker(
        ranker, world[1] if evidence is None else evidence, world[0], objective=objective or InfoNCE(1.0), out=out,
        **(settings | options),
    )  # fmt: skip


def weights(path):
    from safetensors.torch import load_file

    return load_file(path / "model.safetensors")


def equal(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def scores(model, pairs):
    with torch.no_grad():
        return model(model.preprocess(pairs))["scores"].reshape(-1)


def test_a_group_is_the_drawn_positive_and_its_negatives_with_their_beliefs(world, model):
    collection, evidence = world
    teacher = rescore(evidence, np.linspace(-3, 3, len(evidence)), {"name": "t", "checksum": "0", "similarity": "x"})
    rows = TrainingRows.of(teacher, collection, n=3)
    asked = []
    collator = GroupCollator(lambda pairs, prompt: asked.extend(pairs) or model.preprocess(pairs), rows)
    batch = collator([{"row": row} for row in (3, 0, 7)])
    label, texts = batch["label"], collection.document_texts()
    said = {(row["anchor"], row["candidate"]): row for row in teacher.to_pylist()}
    ids = collection.corpus["id"].to_pylist()
    assert label["sign"].tolist() == [[1, -1, -1, -1], [1, 0, 0, 0], [1, -1, -1, -1]]
    for pair, i, j in zip(asked, label["row"].tolist(), label["column"].tolist(), strict=True):
        query = [f"q{k:02}" for k in (3, 0, 7)][i]
        assert pair[0] == collection.query_texts()[int(query[1:])]
        row = said[query, ids[texts.index(pair[1])]]
        assert row["sign"] == label["sign"][i, j] and row["weight"] == label["weight"][i, j]
        assert row["score"] == label["teacher"][i, j]
    assert (label["weight"][label["sign"] == 0] == 0).all()
    assert label["teacher"].isnan().sum() == 3 and len(asked) == 9 and collator.seen["pairs"] == 9
    assert len(batch["pairs"]["input_ids"]) == 9


def test_a_copy_of_the_positive_among_the_negatives_is_no_pair(world, model):
    collection, _ = world
    copied = collection.corpus.set_column(
        1, "text", pa.array(["RED  cat" if i in (5, 9) else f"dog {i}" for i in range(40)])
    )
    from litotes.data.collection import Collection

    other = Collection("copies", collection.queries, copied)
    evidence = make(["q00"] * 4, ["d05", "d09", "d01", "d02"], [1, -1, -1, -1], source="made")
    label = GroupCollator(model.preprocess, TrainingRows.of(evidence, other, n=3))([{"row": 0}])["label"]
    assert label["sign"].tolist() == [[1, -1, -1]]


def test_the_loss_is_listwise_cross_entropy_written_by_hand(world, model):
    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=3)
    batch = GroupCollator(model.preprocess, rows)([{"row": row} for row in range(8)])
    loss = GroupLoss(model, InfoNCE(1.0))
    made = loss([batch["pairs"]], batch["label"])
    texts, queries, total = collection.document_texts(), collection.query_texts(), 0.0
    held = {(row["anchor"], row["candidate"]): row["weight"] for row in evidence.to_pylist()}
    ids = collection.corpus["id"].to_pylist()
    for i in range(8):
        documents = [rows.draw(i, 0), *rows.negatives.row(i).tolist()]
        s = scores(model, [(queries[rows.anchor[i]], texts[d]) for d in documents])
        w = torch.tensor([1.0] + [held[f"q{i:02}", ids[d]] for d in documents[1:]])
        total += (w * s.exp()).sum().log() - s[0]
    assert made.item() == pytest.approx(total.item() / 8, rel=1e-5)


def test_a_pair_that_nobody_believes_is_silent(world, model):
    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=3)
    batch = GroupCollator(model.preprocess, rows)([{"row": row} for row in range(8)])
    label = dict(batch["label"])
    label["weight"] = label["weight"].clone()
    chosen = (label["sign"] < 0) & (torch.arange(4) == 1)
    label["weight"][chosen] = 0.0
    for objective in (InfoNCE(1.0), Hinge(1.0), PairwiseLogistic()):
        without = dict(label, sign=torch.where(chosen, 0, label["sign"]).to(torch.int8))
        grads = []
        for given in (label, without):
            model.zero_grad()
            loss = GroupLoss(model, objective)([batch["pairs"]], given)
            loss.backward()
            grads.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
        assert chosen.any() and grads[0][0] == grads[1][0]
        assert all(torch.equal(a, b) for a, b in zip(grads[0][1], grads[1][1], strict=True))


@pytest.mark.slow
def test_doubted_evidence_trains_as_if_it_were_not_there(ranker, world, tmp_path):
    collection, evidence = world
    half = np.zeros(len(evidence), bool)
    half[np.flatnonzero(evidence["sign"].to_numpy() < 0)[::2]] = True
    doubted = doubt(evidence, half, 0.0, "zeal")
    one = train(ranker, world, tmp_path / "doubted", evidence=doubted, epochs=1)
    other = train(ranker, world, tmp_path / "absent", evidence=evidence.filter(pa.array(~half)), epochs=1)
    assert equal(one.path, other.path)
    assert not equal(one.path, train(ranker, world, tmp_path / "believed", epochs=1).path)


def test_it_equals_the_losses_of_sentence_transformers_where_they_are_the_same(model):
    from sentence_transformers.cross_encoder import losses

    lists = [QUERIES, [list(texts) for texts in zip(*COLUMNS[1:], strict=True)]]
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(3, 3, generator=generator)
    identity = torch.nn.Identity()

    theirs = losses.MarginMSELoss(model)(COLUMNS, given)
    for labels in (given, given[:, :1] - given[:, 1:], list(given)):
        assert GroupLoss(model, MarginMSE())(COLUMNS, labels).item() == pytest.approx(theirs.item(), rel=1e-5)

    ranking = losses.MultipleNegativesRankingLoss(model, scale=4.0, activation_fn=identity)
    alone = [ranking([column[i : i + 1] for column in COLUMNS], None) for i in range(3)]  # it draws no other negatives
    assert GroupLoss(model, InfoNCE(0.25))(COLUMNS).item() == pytest.approx(sum(alone).item() / 3, rel=1e-5)

    pairs = [(query, text) for query, texts in zip(*lists, strict=True) for text in texts]
    batch = from_groups(scores(model, pairs).reshape(3, 3))
    theirs = losses.ListNetLoss(model)(lists, list(given))
    listnet = Chain(SoftTargetInfoNCE(1.0))(batch.replace(pairs={"target": given.softmax(dim=1)}))
    assert listnet.item() == pytest.approx(theirs.item(), rel=1e-5)

    hard = [torch.tensor([1.0, 0.0, 0.0])] * 3  # one positive: RankNet has the pairs of ours, and counts in bits
    theirs = losses.RankNetLoss(model)(lists, hard)
    ours = GroupLoss(model, PairwiseLogistic(average="term"))(COLUMNS)
    assert ours.item() / math.log(2) == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.slow
def test_a_plain_script_learns(model, tmp_path):
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    columns = dict(zip(("query", "positive", "negative_1", "negative_2"), COLUMNS, strict=True))
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=3, max_steps=40, learning_rate=3e-3,
        report_to="none", disable_tqdm=True, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    loss = GroupLoss(model, InfoNCE(1.0))
    before = loss(COLUMNS).item()
    CrossEncoderTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss).train()
    model.eval()
    assert loss(COLUMNS).item() < 0.5 * before


def test_a_run_is_gradient_descent_as_one_would_write_it_by_hand(ranker, world, tmp_path):
    from sentence_transformers import CrossEncoder

    steps, rate = 6, 2e-3
    options = {"epochs": steps, "batch_size": 24, "learning_rate": rate, "warmup": 0.0, "weight_decay": 0.0}
    done = train(ranker, world, tmp_path / "made", dropout=0.0, **options)
    assert done.steps == steps and [entry["step"] for entry in done.curve] == list(range(1, steps + 1))
    model = CrossEncoder(ranker, device="cpu").eval()
    rows = TrainingRows.of(world[1], world[0], n=3)
    collator, loss = GroupCollator(model.preprocess, rows), GroupLoss(model, InfoNCE(1.0))
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for collator.epoch in range(steps):
        batch = collator([{"row": row} for row in range(24)])
        value = loss([batch["pairs"]], batch["label"])
        assert done.curve[collator.epoch]["loss"] == pytest.approx(value.item(), rel=2e-3)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = rate * (steps - collator.epoch) / steps
        optimiser.step()
    assert done.curve[-1]["loss"] < done.curve[0]["loss"]
    trained = CrossEncoder(str(done.path), device="cpu")
    pair = [("red cat 1", "blue dog")]
    np.testing.assert_allclose(trained.predict(pair), model.predict(pair), atol=1e-2)
    assert done.texts_per_step == pytest.approx(24 + done.counts["negatives"])


@pytest.mark.parametrize("stop", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_to_the_weights_of_an_uninterrupted_one(ranker, world, tmp_path, stop):
    whole = Watched(LearnedTemperature(1.0))
    expected = train(ranker, world, tmp_path / "whole", whole)
    torn = Watched(LearnedTemperature(1.0))
    torn.stop = stop
    with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop}"):
        train(ranker, world, tmp_path / "torn", torn)
    assert not (tmp_path / "torn").exists()
    fresh = Watched(LearnedTemperature(1.0))
    done = train(ranker, world, tmp_path / "torn", fresh)
    assert equal(done.path, expected.path) and done.curve == expected.curve
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in whole.state_dict().items())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("torn")] == ["torn"]
    with pytest.raises(FileExistsError, match="no result of these arguments"):
        train(ranker, world, tmp_path / "torn", fresh, seed=1)
    assert train(ranker, world, tmp_path / "torn", fresh) == done


def test_an_encoder_gets_a_head_that_depends_on_the_seed_alone(tiny_model, world, tmp_path):
    before = torch.random.get_rng_state()
    from litotes.data.models import load_ranker

    heads = [load_ranker(tiny_model, "cpu", seed)[0].model.classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_a_teacher_reaches_margin_mse(ranker, world, tmp_path):
    collection, evidence = world
    about = {"name": "t", "checksum": "0", "similarity": "cross-encoder"}
    teacher = np.where(evidence["sign"].to_numpy() > 0, 2.0, -1.0) + np.arange(len(evidence)) / 100
    done = train(
        ranker, world, tmp_path / "made", MarginMSE(), rescore(evidence, teacher, about),
        epochs=12, batch_size=24, learning_rate=3e-3, dropout=0.0,
    )  # fmt: skip
    assert done.curve[-1]["loss"] < 0.35 * done.curve[0]["loss"]


def test_what_reads_vectors_is_refused(model):
    for chain in (Chain(Cosine(), InfoNCE()), Chain(Gist(), InfoNCE())):
        with pytest.raises(ValueError, match="a cross-encoder gives scores"):
            GroupLoss(model, chain)


@pytest.mark.parametrize(
    "columns, labels, said",
    [
        (COLUMNS[:1], None, "query and positive at least, got 1"),
        (COLUMNS, torch.ones(3, 5), r"\[3, 3\] or margins \[3, 2\]"),
        (COLUMNS[:2], torch.ones(3), "labels must be teacher scores"),
        (COLUMNS, {"sign": 0}, r"labels without \['row', 'column', 'weight'\]"),
    ],
)
def test_columns_that_cannot_be_read_are_named(model, columns, labels, said):
    with pytest.raises(ValueError, match=said):
        GroupLoss(model, InfoNCE())(columns, labels)


@pytest.mark.parametrize("name, value", [("max_length", 0), ("warmup", 1), ("batch_size", 0), ("learning_rate", -1)])
def test_a_bad_argument_is_named_with_its_range(ranker, world, tmp_path, name, value):
    with pytest.raises(ValueError, match=f"train_ranker: {name} must be"):
        train(ranker, world, tmp_path / "made", **{name: value})


def test_two_outputs_are_refused(tiny_model):
    from sentence_transformers import CrossEncoder

    with pytest.raises(ValueError, match="one output, got 2"):
        GroupLoss(CrossEncoder(tiny_model, num_labels=2, device="cpu"), InfoNCE())
