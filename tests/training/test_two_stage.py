"""Two runs of the real trainer on a BERT of 2 layers x 32 dimensions."""

import signal
from collections.abc import Callable

import pyarrow as pa
import pytest
import torch

from litotes.batch import SignedBatch, from_pairs
from litotes.catalog import parse
from litotes.data.collection import Collection
from litotes.data.models import load_model
from litotes.evidence import make
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.temperature import LearnedTemperature
from litotes.scoring import Cosine
from litotes.training.retriever import train_retriever
from litotes.training.retriever.latent_attention import LatentAttention
from litotes.training.two_stage import TwoStage
from litotes.vetting.relative_margin import RelativeMargin


class Watched(InfoNCE):
    """InfoNCE that shows what it is given."""

    def __init__(self, temperature=0.05, watch: Callable[[SignedBatch], None] = lambda batch: None):
        super().__init__(temperature)
        self.watch = watch

    def forward(self, batch, *, now=None, generator=None):
        self.watch(batch)
        return super().forward(batch, now=now, generator=generator)

    def __str__(self):
        return "infonce()"


def recipe(**options):
    settings = {"max_steps": 3, "batch_size": 8, "n": 2, "learning_rate": [1e-3, 5e-4], "precision": "fp32"}
    return TwoStage(**(settings | {"log_every": 1} | options))


def weights(path):
    from safetensors.torch import load_file

    return {str(file.relative_to(path)): load_file(file) for file in path.rglob("*.safetensors")}


def equal(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[f][name], b[f][name]) for f in a for name in a[f])


@pytest.mark.slow
def test_it_is_two_runs_by_hand_the_second_from_the_first(tiny_model, world, tmp_path):
    collection, evidence = world
    part = recipe(objective="infonce(temperature=0.1)", max_steps=[3, 2], warmup=[0.0, 0.5])
    done = part.train(tiny_model, evidence, collection, out=tmp_path / "made", seed=5)
    shared = {"objective": "infonce(temperature=0.1)", "batch_size": 8, "n": 2, "precision": "fp32"}
    shared |= {"weight_decay": 0.03, "log_every": 1}
    first = train_retriever(
        tiny_model, evidence, collection, out=tmp_path / "one", max_steps=3, learning_rate=1e-3, warmup=0.0,
        in_batch=True, seed=5, **shared,
    )  # fmt: skip
    second = train_retriever(
        tmp_path / "one", evidence, collection, out=tmp_path / "two", max_steps=2, learning_rate=5e-4, warmup=0.5,
        in_batch=False, seed=6, **shared,
    )  # fmt: skip
    assert equal(tmp_path / "made-stage-1", first.path) and equal(done.path, second.path)
    assert not equal(first.path, second.path)
    assert done.path == tmp_path / "made" and done.steps == 5 and done.counts == second.counts
    assert [entry["step"] for entry in done.curve] == [1, 2, 3, 4, 5]
    assert [entry["loss"] for entry in done.curve] == [entry["loss"] for entry in [*first.curve, *second.curve]]
    again = part.train(tiny_model, evidence, collection, out=tmp_path / "made", seed=5)
    assert again == done


def test_other_rows_are_negatives_in_the_first_stage_and_not_in_the_second(tiny_model, world, tmp_path):
    seen = []
    recipe(objective=Watched(watch=lambda batch: seen.append(batch))).train(
        tiny_model, world[1], world[0], out=tmp_path / "made"
    )
    assert len(seen) == 6
    for number, batch in enumerate(seen):
        foreign = batch.columns["of"][None, :] != torch.arange(len(batch.sign))[:, None]
        assert ((batch.sign[foreign] == -1).any() if number < 3 else (batch.sign[foreign] == 0).all()).item()
        assert (batch.sign[~foreign] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 3, 5])
def test_interrupted_in_either_stage_it_goes_on_to_the_same_weights(tiny_model, world, tmp_path, stop):
    collection, evidence = world
    part = recipe(objective=Watched(LearnedTemperature()))
    whole = part.train(tiny_model, evidence, collection, out=tmp_path / "whole")
    count = []

    def interrupt(batch):
        count.append(batch)
        if len(count) == stop:
            signal.raise_signal(signal.SIGINT)

    torn = recipe(objective=Watched(LearnedTemperature(), interrupt))
    if stop == 3:  # the last step of a stage ends it all the same
        torn.train(tiny_model, evidence, collection, out=tmp_path / "torn")
    else:
        with pytest.raises(KeyboardInterrupt, match=f"stopped after step {stop if stop < 3 else stop - 3}"):
            torn.train(tiny_model, evidence, collection, out=tmp_path / "torn")
        assert (tmp_path / "torn-stage-1").exists() == (stop > 3) and not (tmp_path / "torn").exists()
    done = part.train(tiny_model, evidence, collection, out=tmp_path / "torn")
    assert equal(done.path, whole.path) and equal(tmp_path / "torn-stage-1", tmp_path / "whole-stage-1")
    assert done.curve == whole.curve and len(part.objective.state_dict()) > 0
    assert {name: float(value) for name, value in part.objective.state_dict().items()} == {
        name: float(value) for name, value in Watched(LearnedTemperature()).state_dict().items()
    }


@pytest.mark.slow
def test_a_model_in_memory_is_left_as_it_is_and_its_own_modules_come_through_an_interruption(
    tiny_model, world, tmp_path
):
    from sentence_transformers import SentenceTransformer

    base = SentenceTransformer(tiny_model, device="cpu")
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[base[0], LatentAttention(32, 4, 2)], device="cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collection, evidence = world
    whole = recipe().train(model, evidence, collection, out=tmp_path / "whole")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for stop in (2, 5):
        count = []

        def interrupt(batch, count=count, stop=stop):
            count.append(batch)
            if len(count) == stop:
                signal.raise_signal(signal.SIGINT)

        out = tmp_path / f"torn{stop}"
        with pytest.raises(KeyboardInterrupt):
            recipe(objective=Watched(0.02, interrupt)).train(model, evidence, collection, out=out)
        torn = recipe(objective=Watched(0.02)).train(model, evidence, collection, out=out)
        assert equal(torn.path, whole.path)


def tasked(world):
    """The world with a task column: even queries are "search", odd ones "class", every fifth has none."""
    collection, evidence = world
    tasks = [None if i % 5 == 4 else ("search", "class")[i % 2] for i in range(24)]
    queries = collection.queries.append_column("task", pa.array(tasks))
    return Collection("tasked", queries, collection.corpus), evidence, tasks


@pytest.mark.slow
def test_a_stage_trains_on_the_anchors_of_its_task_or_on_evidence_of_its_own(tiny_model, world, tmp_path):
    from litotes.evidence import Evidence

    collection, evidence, tasks = tasked(world)
    part = recipe(only=["task=search", None], max_steps=1, batch_size=24)
    done = part.train(tiny_model, evidence, collection, out=tmp_path / "made")
    assert done.counts["rows"] == 24
    ids = [f"q{i:02}" for i, task in enumerate(tasks) if task == "search"]
    fewer = evidence.filter(pa.compute.is_in(evidence["anchor"], value_set=pa.array(ids)))
    pair = recipe(max_steps=1, batch_size=24)
    other = pair.train(tiny_model, [fewer, evidence], collection, out=tmp_path / "pair")
    assert equal(other.path, done.path) and equal(tmp_path / "made-stage-1", tmp_path / "pair-stage-1")
    Evidence.of(tmp_path / "kept", evidence)
    stored = part.train(tiny_model, tmp_path / "kept", collection, out=tmp_path / "stored")
    assert stored.counts == done.counts
    for bad, message in {
        "task=chat": "no anchor of the evidence has this value; there are 'search', 'class'",
        "kind=search": "only names 'kind'; the columns of tasked/queries are id, text, task",
    }.items():
        with pytest.raises(ValueError, match=message):
            recipe(only=bad).train(tiny_model, evidence, collection, out=tmp_path / "bad")
    with pytest.raises(ValueError, match="evidence must be one, or one for each stage, got 3"):
        pair.train(tiny_model, [evidence] * 3, collection, out=tmp_path / "bad")


@pytest.mark.slow
def test_instructions_are_put_before_the_texts_and_stay_with_the_model(tiny_model, world, tmp_path):
    collection, evidence = world
    prompts = ["red ", "blue dog "]
    done = recipe(query_prompt=prompts, max_steps=2).train(tiny_model, evidence, collection, out=tmp_path / "made")
    assert load_model(done.path, "cpu").prompts["query"] == "blue dog "
    assert load_model(tmp_path / "made-stage-1", "cpu").prompts["query"] == "red "
    bare = recipe(max_steps=2).train(tiny_model, evidence, collection, out=tmp_path / "bare")
    assert not equal(tmp_path / "bare-stage-1", tmp_path / "made-stage-1")
    first = train_retriever(
        tiny_model, evidence, collection, objective="infonce(temperature=0.02)", out=tmp_path / "one", max_steps=2,
        batch_size=8, n=2, learning_rate=1e-3, precision="fp32", warmup=0.025, weight_decay=0.03, query_prompt="red ",
    )  # fmt: skip
    assert equal(tmp_path / "made-stage-1", first.path) and bare.steps == 4


@pytest.mark.slow
def test_a_decoder_sees_both_ways_in_both_stages_and_afterwards(world, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertTokenizerFast, LlamaConfig, LlamaModel

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat", "runs"]))
    tokenizer = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.2, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    model = SentenceTransformer(modules=[Transformer(str(tmp_path / "llama")), Pooling(32)], device="cpu")

    def first_token_moves(model):
        with torch.no_grad():
            states = model[0](model.preprocess(["red cat runs", "red cat eats"]))["token_embeddings"]
        return not torch.equal(states[0, 0], states[1, 0])

    assert not first_token_moves(model)
    done = recipe(bidirectional=True).train(model, world[1], world[0], out=tmp_path / "made")
    assert first_token_moves(load_model(done.path, "cpu")) and not first_token_moves(model)
    causal = recipe().train(model, world[1], world[0], out=tmp_path / "causal")
    assert not first_token_moves(load_model(causal.path, "cpu")) and not equal(done.path, causal.path)


def angled(*cosines):
    """Vectors of length 1 with these cosines to (1, 0)."""
    return torch.tensor([[c, (1 - c * c) ** 0.5] for c in cosines], dtype=torch.float64)


def costs(anchors, positives, negatives, **options):
    """Of each row, at temperature 0.1."""
    return InfoNCE(0.1).per_anchor(Cosine()(from_pairs(anchors, positives, negatives, **options)))[0]


def test_without_the_batch_a_row_costs_what_its_own_negatives_cost_and_other_rows_do_not_matter():
    one, other = angled(1.0), torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    found = costs(one, angled(0.5), angled(0.3)[None], in_batch=False)
    assert found.item() == pytest.approx(0.126928, abs=1e-6)
    anchors, positives = torch.cat([one, one]), angled(0.5, 0.4)
    negatives = angled(0.3, 0.2, 0.45, 0.0).view(2, 2, 2)
    before = costs(anchors, positives, negatives, in_batch=False)
    gaps = torch.tensor([0.3 - 0.5, 0.2 - 0.5], dtype=torch.float64)
    assert before[0].item() == pytest.approx((gaps / 0.1).exp().sum().log1p().item())
    for place in (anchors, positives, negatives):
        place[1] = other
    assert torch.equal(costs(anchors, positives, negatives, in_batch=False)[0], before[0])


def test_with_the_batch_and_without_own_negatives_it_is_the_cross_entropy_of_the_batch_and_rows_may_differ():
    numbers = torch.Generator().manual_seed(0)
    anchors, positives = (torch.randn(2, 5, generator=numbers, dtype=torch.float64) for _ in range(2))
    scores = torch.nn.functional.cosine_similarity(anchors[:, None], positives[None], dim=2) / 0.1
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(2), reduction="none")
    torch.testing.assert_close(costs(anchors, positives, None), expected)
    negatives = torch.randn(2, 3, 5, generator=numbers, dtype=torch.float64)
    both = [costs(anchors, positives, negatives, in_batch=flag) for flag in (True, False)]
    mixed = from_pairs(anchors, positives, negatives, in_batch=torch.tensor([True, False]))
    torch.testing.assert_close(InfoNCE(0.1)(Cosine()(mixed)), (both[0][0] + both[1][1]) / 2)


@pytest.mark.parametrize(("r", "kept", "dropped"), [(0.8, 0.759, 0.761), (-0.2, -0.211, -0.209)])
def test_positive_aware_mining_is_a_relative_margin_also_under_a_negative_score(r, kept, dropped):
    made = make(
        ["q"] * 3, ["p", "k", "d"], [1, -1, -1], score=[r, kept, dropped], source="made", scorer={"name": "teacher"}
    )
    assert RelativeMargin(0.05)(made)["weight"].to_pylist() == [1.0, 1.0, 0.0]


def test_its_spelling_reads_back():
    part = TwoStage(max_steps=[20000, 18000], only=["task=search", None], query_prompt="Instruct: find\nQuery: ")
    assert parse(str(part)) == part and part.stage(1)["max_steps"] == 18000 and part.stage(1)["only"] is None
    assert part.stage(0)["learning_rate"] == 2e-5 and part.stage(1)["learning_rate"] == 1.5e-5
    assert [part.stage(i)["in_batch"] for i in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": [1e-5, float("nan")]}, "stage 2: learning_rate must be > 0 and finite, got nan"),
        ({"learning_rate": 0.0}, "stage 1: learning_rate must be > 0"),
        ({"n": -1}, "stage 1: n must be a whole number >= 0, got -1"),
        ({"n": [1, 2, 3]}, r"n must be one value or a pair, got \[1, 2, 3\]"),
        ({"in_batch": [True, 1]}, "stage 2: in_batch must be True or False, got 1"),
        ({"only": "task"}, "stage 1: only must be 'column=value', or None, got 'task'"),
        ({"mini_batch_size": 0}, "stage 1: mini_batch_size must be a whole number >= 1 or None, got 0"),
        ({"max_steps": [1, 0]}, "stage 2: max_steps must be a whole number >= 1, got 0"),
        ({"bidirectional": 1}, "stage 1: bidirectional must be True or False, got 1"),
    ],
)
def test_the_gate(options, message):
    with pytest.raises(ValueError, match=f"TwoStage: {message}"):
        TwoStage(**options)


def test_an_objective_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no part is called 'nonsense'"):
        TwoStage(objective="nonsense()")
