"""Whole runs with real models of two kinds: a bi-encoder and cross-encoders of 2 layers x 32 dimensions."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from litotes.evidence import Evidence, doubt_entries
from litotes.training.ranker.cet import CoupledRanker
from litotes.training.retriever.ar2 import AdversarialRetriever
from litotes.training.text_scores import PairScores, VectorScores


@pytest.fixture(scope="session")
def tiny_cross(tiny_model, tmp_path_factory):
    """Folder of a CrossEncoder over the vocabulary of the tiny model, with dropout."""
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    bare, out = tmp_path_factory.mktemp("bare"), tmp_path_factory.mktemp("cross") / "model"
    tokenizer = BertTokenizerFast.from_pretrained(tiny_model)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_labels=1,
            intermediate_size=64, max_position_embeddings=64, initializer_range=0.2,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    CrossEncoder(str(bare), device="cpu").save_pretrained(str(out))
    return str(out)


def weights(path):
    from safetensors.torch import load_file

    return load_file(path / "model.safetensors")


def equal(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_scores_of_texts_are_those_of_the_models(tiny_model, tiny_cross, world):
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from litotes.scoring import Dot

    queries, documents = world[0].query_texts(), world[0].document_texts()
    query, document = np.array([3, 1]), np.array([[5, 9, 5], [0, 5, 2]])
    cross, model = CrossEncoder(tiny_cross, device="cpu").eval(), SentenceTransformer(tiny_model, device="cpu").eval()
    pairs = [[(queries[q], documents[d]) for d in line] for q, line in zip(query, document, strict=True)]
    raw = [cross.predict(line, activation_fn=torch.nn.Identity(), convert_to_tensor=True) for line in pairs]
    made = PairScores(cross, queries, documents)(query, document)
    torch.testing.assert_close(made, torch.stack(raw), rtol=1e-4, atol=1e-5)
    assert made.requires_grad
    vectors = VectorScores(model, Dot(), queries, documents)(query, document)
    u = model.encode([queries[q] for q in query], convert_to_tensor=True)
    v = model.encode([documents[d] for d in document.ravel()], convert_to_tensor=True).reshape(2, 3, -1)
    torch.testing.assert_close(vectors, (u[:, None, :] * v).sum(2), rtol=1e-4, atol=1e-5)


def game(ranker, **changes):
    settings = {"pool": 8, "group": 4, "iterations": 2, "iteration_steps": 4, "ranker_steps": 2, "batch_size": 6}
    settings |= {"lr_retriever": 1e-3, "lr_ranker": 1e-3, "precision": "fp32", "log_every": 1, "checkpoints": 3}
    return AdversarialRetriever(ranker, **(settings | changes))


def test_a_retriever_and_a_ranker_train_each_other_and_lie_in_one_folder(tiny_model, tiny_cross, world, tmp_path):
    from sentence_transformers import CrossEncoder, SentenceTransformer

    collection, evidence = world
    part = game(tiny_cross)
    trained = part.train(tiny_model, evidence, collection, out=tmp_path / "made")
    assert trained.steps == 8 and [entry["step"] for entry in trained.curve] == list(range(1, 9))
    assert ["ranker" in entry for entry in trained.curve] == [True, True, False, False] * 2
    assert trained.counts["without_pool"] == 0 and not (tmp_path / "made.partial").exists()
    assert not equal(tmp_path / "made", Path(tiny_model))
    assert not equal(tmp_path / "made" / "ranker", Path(tiny_cross))
    assert SentenceTransformer(str(tmp_path / "made")).encode(["red cat"]).shape == (1, 32)
    assert CrossEncoder(str(tmp_path / "made" / "ranker")).num_labels == 1
    again = part.train(tiny_model, evidence, collection, out=tmp_path / "made")
    assert again.path == trained.path and again.curve == trained.curve


def test_pools_never_hold_a_known_positive_and_are_the_best_of_the_rest(tiny_model, tiny_cross, world, tmp_path):
    from litotes.data.encoder import Encoder
    from litotes.sources.mined.dense import Mined
    from litotes.training.remine import Remine
    from litotes.training.retriever.game import pools_of
    from litotes.training.rows import TrainingRows

    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=0)
    encoder = Encoder(tiny_model)
    Remine(evidence, collection, rows.anchor, (Mined(depth=8),), ())(encoder, tmp_path / "pool")
    pools = pools_of(Evidence.open(tmp_path / "pool"), collection, rows, 8)
    queries = encoder.encode([collection.query_texts()[q] for q in rows.anchor], "query")
    similarity = queries @ encoder.encode(collection.document_texts(), "document").T
    for row in range(len(rows)):
        known = set(rows.positives.row(row).tolist())
        best = [d for d in np.argsort(-similarity[row], kind="stable") if d not in known][:8]
        assert not known & set(pools.documents[row].tolist())
        assert np.allclose(similarity[row][pools.documents[row]], similarity[row][best], atol=1e-5)
    by_pair = {(r["anchor"], r["candidate"]): r["weight"] for r in evidence.to_pylist() if r["sign"] < 0}
    doubted = 0
    for row, query in enumerate(rows.anchor.tolist()):
        for document, belief in zip(pools.documents[row].tolist(), pools.belief[row].tolist(), strict=True):
            expected = by_pair.get((f"q{query:02}", f"d{document:02}"), 1.0)
            assert belief == expected
            doubted += expected < 1
    assert doubted


class Interrupts:
    """A vetter that sends Ctrl-C when it is asked the n-th time."""

    def __init__(self, at):
        self.at = at

    def __call__(self, evidence, collection=None):
        self.at -= 1
        if self.at == 0:
            signal.raise_signal(signal.SIGINT)
        return evidence

    def __str__(self):
        return "interrupts()"


@pytest.mark.slow
def test_an_interrupted_game_goes_on_to_the_same_models(tiny_model, tiny_cross, world, tmp_path):
    collection, evidence = world
    whole = game(tiny_cross, vetters=[Interrupts(0)]).train(tiny_model, evidence, collection, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5"):
        game(tiny_cross, vetters=[Interrupts(2)]).train(tiny_model, evidence, collection, out=tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    with pytest.raises(ValueError, match="other arguments"):
        game(tiny_cross, vetters=[Interrupts(0)]).train(tiny_model, evidence, collection, out=tmp_path / "cut", seed=1)
    rest = game(tiny_cross, vetters=[Interrupts(0)]).train(tiny_model, evidence, collection, out=tmp_path / "cut")
    assert rest.curve == whole.curve
    for folder in ("", "ranker"):
        assert equal(tmp_path / "whole" / folder, tmp_path / "cut" / folder)


def couple(**changes):
    settings = {"batch_size": 6, "max_steps": 5, "learning_rate": 1e-3, "precision": "fp32", "log_every": 1}
    return CoupledRanker(**(settings | changes))


def test_a_coupled_run_leaves_two_models_and_vetted_evidence(tiny_cross, world, tmp_path):
    from litotes.vetting.cet import Cet

    collection, evidence = world
    trained = couple().train(tiny_cross, evidence, collection, out=tmp_path / "made", seed=3)
    assert trained.steps == 5 and set(trained.curve[0]) == {"step", "loss", "relevance", "selection"}
    assert trained.counts["bare"] > 0
    made = tmp_path / "made"
    assert not equal(made, made / "selection") and not equal(made, Path(tiny_cross))
    vetted = Evidence.open(made / "evidence").read()
    part = Cet(str(made / "selection"))
    assert {entry["part"] for entry in doubt_entries(vetted).to_pylist()} == {str(part)}
    torch.testing.assert_close(
        torch.tensor(part(vetted, collection)["weight"].to_pylist()), torch.tensor(vetted["weight"].to_pylist())
    )
    before = {(r["anchor"], r["candidate"]): r for r in evidence.to_pylist()}
    for row in vetted.to_pylist():
        assert row["weight"] <= before[row["anchor"], row["candidate"]]["weight"]
        if row["sign"] > 0:
            assert row["weight"] == before[row["anchor"], row["candidate"]]["weight"]


@pytest.mark.slow
@pytest.mark.parametrize("negatives", [1, 3])
def test_a_coupled_run_that_was_cut_goes_on_to_the_same_models(negatives, tiny_cross, world, tmp_path, monkeypatch):
    from litotes.training import phases

    collection, evidence = world
    part = couple(negatives=negatives, checkpoints=2)
    part.train(tiny_cross, evidence, collection, out=tmp_path / "whole")
    keep = phases.Phases.step

    def stops(self):
        if self.total == 3:
            raise OSError("the disk is full")
        return keep(self)

    monkeypatch.setattr(phases.Phases, "step", stops)
    with pytest.raises(OSError):
        part.train(tiny_cross, evidence, collection, out=tmp_path / "cut")
    monkeypatch.setattr(phases.Phases, "step", keep)
    part.train(tiny_cross, evidence, collection, out=tmp_path / "cut")
    for folder in ("", "selection"):
        assert equal(tmp_path / "whole" / folder, tmp_path / "cut" / folder)


def test_a_row_with_few_negatives_is_padded_with_belief_0(world):
    from litotes.training.ranker.cet import _groups
    from litotes.training.rows import TrainingRows

    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=3, per="pair")
    held = np.diff(rows.negatives.offsets)
    able = np.flatnonzero(held)
    query, documents, belief = _groups(rows, able, np.zeros(len(able), np.int64), 3)
    by_pair = {(r["anchor"], r["candidate"]): r["weight"] for r in evidence.to_pylist() if r["sign"] < 0}
    assert (query == rows.anchor[able]).all() and set(held[able]) == {1, 2, 3}
    for i, row in enumerate(able):
        assert documents[i, 0] == rows.positives.row(row)[0]
        expected = [by_pair[f"q{query[i]:02}", f"d{d:02}"] for d in rows.negatives.row(row)]
        assert belief[i].tolist() == [*expected, *[0.0] * (3 - len(expected))]
