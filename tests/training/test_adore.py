"""The steps of dynamic negatives over tensors, and the whole recipe with a BERT of 2 layers x 32 dimensions."""

import math
import os
import signal

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.catalog import parse
from litotes.chain import Chain
from litotes.data.collection import judgements_table
from litotes.data.encoder import Encoder
from litotes.evidence import doubt, make
from litotes.objectives.listwise.adore import Adore
from litotes.scoring import Cosine, Dot
from litotes.training.retriever.adore import DynamicNegatives
from litotes.training.retriever.current_top import CurrentTop, Known, current_top, ranked_batch, with_positives
from litotes.training.retriever.two_sides import asymmetric, query_side
from litotes.training.rows import TrainingRows

# ---- one step --------------------------------------------------------------------------------------------------------


def step(queries, documents, positives, k, objective=None):
    """Loss of one step, lists and batch, with positives given as a list of rows per query."""
    ids = current_top(queries, documents, k)
    relevant = [np.isin(row, own) for row, own in zip(ids, positives, strict=True)]
    lists = with_positives(ids, np.array(relevant), [np.array(own) for own in positives])
    sign = np.array(
        [np.where(row < 0, 0, np.where(np.isin(row, own), 1, -1)) for row, own in zip(lists, positives, strict=True)]
    )
    batch = ranked_batch(queries, torch.from_numpy(documents[np.maximum(lists, 0)]), sign)
    return Chain(Dot(), objective or Adore(metric_cut=None))(batch), lists, batch


def test_without_a_positive_in_the_list_its_positives_stand_behind_it_once():
    documents = np.array([[3.0, 0], [2, 0], [1, 0], [0, 0]], np.float32)
    query = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss, lists, _ = step(query, documents, [[3]], 2)
    assert lists.tolist() == [[0, 1, 3]]
    want = ((1 - 1 / 3) * math.log1p(math.exp(3)) + (1 / 2 - 1 / 3) * math.log1p(math.exp(2))) / 2
    assert loss.item() == pytest.approx(want, abs=1e-6)
    cut, *_ = step(
        query, documents, [[3]], 2, Adore(metric_cut=2)
    )  # an appended positive has g = 0, the others weight 1/b
    assert cut.item() == pytest.approx((math.log1p(math.exp(3)) + math.log1p(math.exp(2)) / 2) / 2, abs=1e-6)
    loss.backward()
    after = torch.from_numpy(documents) @ (query - 0.1 * query.grad)[0].detach()
    before = torch.from_numpy(documents) @ query[0].detach()
    assert (after[3] - before[3]) > (after[:2] - before[:2]).max()  # the positive gains on the listed negatives


def test_one_positive_in_the_list_is_enough_and_rows_are_padded_where_others_have_more():
    ids = np.array([[5, 1], [2, 0], [3, 4]])
    there = np.array([[True, False], [False, False], [False, False]])
    lists = with_positives(ids, there, [np.array([5, 9]), np.array([7, 8]), np.array([], int)])
    assert lists.tolist() == [[5, 1, -1, -1], [2, 0, 7, 8], [3, 4, -1, -1]]


def test_a_list_of_positives_only_has_no_pair_and_costs_nothing():
    documents = np.eye(3, dtype=np.float32)
    query = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    loss, lists, _ = step(query, documents, [[0, 1]], 2)
    loss.backward()
    assert lists.tolist() == [[0, 1]] and loss.item() == 0 and query.grad.eq(0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_what_is_found_is_the_true_top_of_the_query_as_it_is_now(seed, k):
    random = np.random.default_rng(seed)
    documents = random.integers(-3, 4, (9, 3)).astype(np.float32)  # few values: many ties
    queries = torch.from_numpy(random.integers(-3, 4, (4, 3)).astype(np.float32)).requires_grad_()
    optimiser = torch.optim.SGD([queries], lr=1.0)
    positives = [[int(row)] for row in random.integers(0, 9, 4)]
    before = documents.copy()
    for _ in range(3):
        loss, lists, _ = step(queries, documents, positives, k)
        scores = queries.detach().double().numpy() @ documents.T.astype(np.float64)
        want = np.argsort(-scores.astype(np.float32), axis=1, kind="stable")[:, :k]
        assert (lists[:, : want.shape[1]] == want).all()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (documents == before).all()


def test_a_step_that_moves_the_query_changes_its_list():
    documents = np.eye(4, dtype=np.float32)
    query = torch.tensor([[1.0, 0.9, 0.5, 0.0]], requires_grad=True)
    optimiser = torch.optim.SGD([query], lr=2.0)
    seen = []
    for _ in range(3):
        loss, lists, _ = step(query, documents, [[3]], 2)
        seen.append(lists[0, :2].tolist())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert seen[0] == [0, 1] and seen[-1][0] == 3  # the answer has risen to the top, and others with it
    assert seen[1] != seen[0]


def test_no_gradient_reaches_the_documents():
    queries = torch.randn(2, 3, requires_grad=True)
    vectors = torch.randn(2, 4, 3, requires_grad=True)
    batch = ranked_batch(queries, vectors, np.array([[1, -1, -1, -1]] * 2))
    Chain(Dot(), Adore())(batch).backward()
    assert vectors.grad is None and queries.grad.abs().sum() > 0
    loss = CurrentTop(torch.nn.Identity(), Chain(Dot(), Adore()), np.eye(3, dtype=np.float32), None, 2)
    assert not list(loss.parameters()) and not list(loss.buffers())


# ---- what is known of any document -----------------------------------------------------------------------------------


def test_evidence_judgements_and_copies_decide_what_a_document_is(world):
    from litotes.data.collection import Collection

    collection, _ = world
    texts = collection.document_texts()
    texts[20] = texts[3].upper()  # a copy of d03
    collection = Collection(
        "tiny", collection.queries, pa.table({"id": collection.corpus["id"], "text": texts}),
        {"train": judgements_table(["q00", "q00", "q00"], ["d07", "d05", "d08"], [1.0, 2.0, 0.0])},
    )  # fmt: skip
    evidence = make(["q00"] * 4 + ["q01"], ["d03", "d04", "d05", "d06", "d07"], [1, -1, -1, 0, 1], source="made")
    evidence = doubt(evidence, pa.array([False, True, False, False, False]), 0.25, "guide")
    known = Known.of(TrainingRows.of(evidence, collection, n=0), "train")
    documents = np.array([3, 20, 4, 5, 6, 7, 8, 9, -1])
    sign, weight = known(np.array([0, 1]), np.stack([documents, documents]))
    assert sign[0].tolist() == [1, 1, -1, -1, 0, 1, -1, -1, 0]  # what evidence says of d05 stands before the judgement
    assert weight[0].tolist() == [1, 1, 0.25, 1, 1, 1, 1, 1, 1]
    assert sign[1].tolist() == [-1, -1, -1, -1, -1, 1, -1, -1, 0] and weight[1].tolist() == [1] * 9
    assert known.positives(0).tolist() == [3]
    with pytest.raises(ValueError, match="has no split 'test'"):
        Known.of(known.rows, "test")


def test_believed_positives_are_appended_where_the_top_holds_none(world):
    collection, _ = world
    documents = np.eye(40, dtype=np.float32)
    evidence = make(["q00", "q00", "q01", "q01"], ["d05", "d01", "d06", "d00"], [1, 1, 1, 1], source="made")
    evidence = doubt(evidence, pa.array([False, False, False, True]), 0.0, "guide")
    rows = TrainingRows.of(evidence, collection, n=0)
    loss = CurrentTop(torch.nn.Identity(), Chain(Dot(), Adore()), documents, Known.of(rows, "train"), 2)
    queries = torch.zeros(2, 40)
    queries[:, [0, 1, 2]] = torch.tensor([[0.5, 0.0, 0.4], [0.5, 0.4, 0.0]])
    batch = loss.batch(queries, [0, 1])
    assert batch.own.argmax(dim=2).tolist() == [[0, 2, 1, 5], [0, 1, 6, 0]]
    assert batch.sign.tolist() == [[-1, -1, 1, 1], [1, -1, 1, 0]]
    assert batch.weight[1, 0] == 0  # nobody believes in it, so it does not stand for a positive in the list


# ---- the two sides of a model ----------------------------------------------------------------------------------------


def test_both_routes_are_saved_and_each_encodes_as_its_own_model(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    base = SentenceTransformer(tiny_model, device="cpu", prompts={"query": "small ", "document": "large "})
    other = query_side(base)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    asymmetric(other, base).save_pretrained(str(tmp_path / "both"))
    both = SentenceTransformer(str(tmp_path / "both"), device="cpu")
    text = ["red cat 1", "old dog"]
    np.testing.assert_allclose(both.encode_query(text), other.encode_query(text), atol=1e-6)
    np.testing.assert_allclose(both.encode_document(text), base.encode_document(text), atol=1e-6)
    assert np.abs(both.encode_query(text) - base.encode_query(text)).max() > 1e-3
    again = query_side(both)  # taken apart again
    np.testing.assert_allclose(again.encode_query(text), other.encode_query(text), atol=1e-6)
    twice = asymmetric(base, both)
    np.testing.assert_allclose(twice.encode_query(text), base.encode_query(text), atol=1e-6)
    np.testing.assert_allclose(twice.encode_document(text), base.encode_document(text), atol=1e-6)


# ---- the recipe ------------------------------------------------------------------------------------------------------

SETTINGS = {"top_k": 5, "epochs": 4.0, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32", "log_every": 1}


def train(tiny_model, world, out, documents=None, resume=True, seed=0, evidence=None, **settings):
    part = DynamicNegatives(**{**SETTINGS, **settings})
    return part.train(
        tiny_model, world[1] if evidence is None else evidence, world[0], out=out, documents=documents, seed=seed,
        resume=resume,
    )  # fmt: skip


def weights(path):
    from safetensors.torch import load_file

    return {
        f"{file.parent.name}/{k}": v for file in sorted(path.rglob("*.safetensors")) for k, v in load_file(file).items()
    }


def test_the_query_side_learns_and_the_documents_stay_bit_for_bit(tiny_model, world, tmp_path):
    from sentence_transformers import SentenceTransformer

    collection, _ = world
    base = SentenceTransformer(tiny_model, device="cpu")
    given = Encoder(base, device="cpu", dtype="float32").encode(collection.document_texts(), "document")
    kept = given.copy()
    done = train(base, world, tmp_path / "made", documents=given)
    assert done.steps == 12 and done.texts_per_step == 8 and done.counts["rows"] == 24
    assert done.curve[-1]["loss"] < done.curve[0]["loss"]
    stored = np.load(done.path / "documents.npy")
    assert (given == kept).all() and stored.dtype == np.float32 and (stored == kept).all()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]

    made = SentenceTransformer(str(done.path), device="cpu")
    np.testing.assert_allclose(made.encode_document(collection.document_texts()), kept, atol=1e-5)
    untouched = SentenceTransformer(tiny_model, device="cpu")
    for name, value in untouched.state_dict().items():
        assert torch.equal(value, base.state_dict()[name])  # the model given is left as it is
    moved = np.abs(made.encode_query(["red cat 1"]) - base.encode(["red cat 1"])).max()
    assert moved > 1e-3
    again = train(base, world, tmp_path / "made", documents=given)
    assert again == done  # a finished run is not repeated


def test_a_run_is_the_step_over_tensors_with_a_plain_optimiser(tiny_model, world, tmp_path):
    from sentence_transformers import SentenceTransformer

    steps, rate = 5, 2e-3
    collection, evidence = world
    evidence = doubt(evidence, pa.array(np.arange(len(evidence)) % 3 == 0), 0.5, "guide")
    options = {"epochs": float(steps), "batch_size": 24, "learning_rate": rate, "warmup": 0.2, "weight_decay": 0.0}
    done = train(tiny_model, world, tmp_path / "made", evidence=evidence, dropout=0.0, **options)

    model = SentenceTransformer(tiny_model, device="cpu").eval()
    documents = np.load(done.path / "documents.npy")
    rows = TrainingRows.of(evidence, collection, n=0)
    loss = CurrentTop(model, Chain(Cosine(), Adore(temperature=0.05)), documents, Known.of(rows, "train"), 5, "cosine")
    features = model.preprocess([rows.query_texts[row] for row in rows.anchor], prompt="")
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for now in range(steps):
        value = loss([features], {"row": list(range(24))})
        assert done.curve[now]["loss"] == pytest.approx(value.item(), rel=2e-3)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = rate * min(now / 1, (steps - now) / (steps - 1))
        optimiser.step()
    trained = SentenceTransformer(str(done.path), device="cpu")
    np.testing.assert_allclose(trained.encode_query(["red cat 1"]), model.encode(["red cat 1"]), atol=1e-2)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(tiny_model, world, tmp_path, monkeypatch):
    whole = train(tiny_model, world, tmp_path / "whole")
    forward, calls = CurrentTop.forward, []

    def interrupting(self, features, labels):
        calls.append(len(labels["row"]))
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, features, labels)

    with monkeypatch.context() as patch:
        patch.setattr(CurrentTop, "forward", interrupting)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 5; call again to go on"):
            train(tiny_model, world, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    with pytest.raises(ValueError, match="unfinished run with other arguments"):
        train(tiny_model, world, tmp_path / "parts", top_k=4)
    vectors = tmp_path / "parts.partial" / "documents.npy"
    encoded = vectors.stat().st_mtime_ns
    done = train(tiny_model, world, tmp_path / "parts")
    assert (done.path / "documents.npy").stat().st_mtime_ns == encoded  # not encoded again
    assert done.steps == whole.steps and [e["step"] for e in done.curve] == [e["step"] for e in whole.curve]
    one, other = weights(whole.path), weights(done.path)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    other = weights(train(tiny_model, world, tmp_path / "other", seed=1).path)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"top_k": 0}, "top_k must be a whole number >= 1, got 0"),
        ({"temperature": math.nan}, "temperature must be > 0 and finite or None, got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0 and finite, got 0.0"),
        ({"warmup": math.nan}, r"warmup must be in \[0, 1\), got nan"),
    ],
)
def test_what_it_cannot_take_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"DynamicNegatives: {message}"):
        DynamicNegatives(**arguments)
    with pytest.raises(ValueError, match="Adore: metric must be 'rr', 'ndcg' or 'none', got 'map'"):
        DynamicNegatives(metric="map")


def test_vectors_that_do_not_fit_the_corpus_are_refused(tiny_model, world, tmp_path):
    with pytest.raises(ValueError, match=r"DynamicNegatives: documents must be \[40, 32\], got \[39, 32\]"):
        train(tiny_model, world, tmp_path / "made", documents=np.zeros((39, 32), np.float32))


def test_its_spelling_reads_back():
    part = DynamicNegatives(top_k=50, metric="ndcg", temperature=0.05)
    assert parse(str(part)) == part and str(part).startswith("dynamic_negatives(top_k=50, metric=ndcg")
