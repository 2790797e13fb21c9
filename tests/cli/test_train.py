"""`litotes train`: a batcher, refreshed negatives, a ranker, a whole trainer; options that are not read are refused."""

import pytest


@pytest.fixture
def evidence(litotes, world, model):
    litotes("mine", world, "--model", model, "--split", "train", "--depth", 4, "--no-vet", "--out", "evidence")
    return "evidence"


def test_a_batcher_and_refreshed_negatives(litotes, world, model, evidence):
    call = ("train", evidence, world, "--model", model, "--batch-size", 4, "--epochs", 3, "--n", 2, "--json")
    said = litotes(*call, "--batcher", "ngame(double_at=[1], refresh_every=1)", "--refresh", 4, "--out", "made").json()
    assert said["steps"] == 9 and [entry["mined_at"] for entry in said["refreshes"]] == [4, 8][: len(said["refreshes"])]
    assert said["refreshes"] and all(0 <= entry["new"] <= 1 for entry in said["refreshes"])


def test_a_ranker_is_a_cross_encoder(litotes, world, model, evidence, tmp_path):
    from sentence_transformers import CrossEncoder

    said = litotes(
        "train", evidence, world, "--ranker", "--model", model, "--batch-size", 2, "--n", 3, "--out", "ranker", "--json"
    ).json()
    assert said["steps"] == 5
    assert CrossEncoder(str(tmp_path / "ranker"), device="cpu").predict([("wing", "lift drag")]).shape == (1,)


def test_a_trainer_trains_by_its_own_settings(litotes, world, model, evidence):
    trainer = "two_stage(max_steps=[2, 1], batch_size=4, n=1)"
    said = litotes("train", evidence, world, "--model", model, "--trainer", trainer, "--out", "two", "--json").json()
    assert said["steps"] == 3


def test_a_trainer_of_rankers_leaves_its_models_and_evidence(litotes, world, model, evidence, tmp_path):
    trainer = "coupled_ranker(max_steps=2, batch_size=4)"
    litotes("train", evidence, world, "--ranker", "--model", model, "--max-steps", 1, "--n", 1, "--out", "start")
    said = litotes("train", evidence, world, "--model", "start", "--trainer", trainer, "--out", "both", "--json").json()
    assert said["steps"] == 2
    assert (tmp_path / "both" / "selection" / "config.json").exists() and (tmp_path / "both" / "evidence").is_dir()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--ranker", "--batcher", "ngame()", "--guide", "x"), "--ranker: has no use for --batcher, --guide"),
        (("--trainer", "two_stage()", "--lr", "1e-5"), "--trainer: has no use for --lr"),
        (("--refresh", "often"), "--refresh: expected a number of steps >= 1, or auto, got 'often'"),
        (("--batcher", "infonce()"), "infonce is a objective"),
        (("--per", "row"), "--per"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(litotes, options, message, no_model):
    said = litotes("train", "nowhere", *options, code=2)
    assert message in " ".join(said.err.split()) or message in said.err.replace("\n", "")
