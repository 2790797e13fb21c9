"""A plan counts what can be counted, exactly, and measures the rest; it starts and writes nothing."""

import json
import os
import time

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from litotes.cli.app import app
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.flops import products
from litotes.mining import mine
from litotes.mining.plan import plan
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.vetting.same_text import SameText


def collection_of(queries, documents, words=8, seed=0):
    draw = np.random.default_rng(seed)
    text = lambda: " ".join(f"w{number}" for number in draw.integers(0, 50, words))
    side = lambda letter, count: pa.table(
        {"id": [f"{letter}{i}" for i in range(count)], "text": [text() for _ in range(count)]}
    )
    judged = {
        "query": [f"q{i}" for i in range(0, queries, 2)],
        "document": [f"d{i}" for i in range(0, queries, 2)],
        "grade": pa.array([1.0] * len(range(0, queries, 2)), pa.float32()),
    }
    return Collection("c", side("q", queries), side("d", documents), {"train": pa.table(judged)})


def space_of(collection, width=16):
    draw = np.random.default_rng(0)
    sides = len(collection.queries), len(collection.corpus)
    return Space(*(draw.standard_normal((rows, width)).astype(np.float32) for rows in sides))


def test_what_can_be_counted_is_counted():
    data = collection_of(300, 400)
    made = plan(data, space=space_of(data), sources=[Mined(7, 3)], workers=(1, 3), probe=0.05)
    assert (made.queries, made.documents, made.anchors, made.texts, made.depth) == (300, 400, 150, 0, 10)
    assert made.vector_bytes == 700 * 16 * 4 and made.disk_bytes == 0 and made.encode_flops == 0
    assert made.search_flops == 2 * 16 * 150 * 400
    # queries go to every worker, ten ids and scores come back from every worker
    assert [made.workers[count].network for count in (1, 3)] == [count * 150 * (64 + 80) for count in (1, 3)]
    assert made.workers[3].search == pytest.approx(made.workers[1].search / 3)
    assert made.seconds["total"] >= made.seconds["search"] > 0 and made.rates["search_gflops"] > 0


def test_texts_are_counted_once_and_those_that_are_stored_not_at_all(tiny_static, tmp_path):
    model = tiny_static(tmp_path / "m", np.random.default_rng(0).standard_normal((50, 16)))
    data = collection_of(40, 60)
    twice = Collection(
        "c",
        data.queries,
        pa.concat_tables([data.corpus, data.corpus.set_column(0, "id", pa.array([f"e{i}" for i in range(60)]))]),
        data.qrels,
    )
    made = plan(twice, encoder=Encoder(model), sources=[Mined(5)], workers=(2,), probe=0.05)
    texts = data.queries["text"].to_pylist() + data.corpus["text"].to_pylist()
    assert made.texts == 100 and made.text_bytes == sum(map(len, texts)) and made.encode_flops == 0
    assert made.workers[2].network == made.text_bytes + 100 * 64 + 2 * 20 * (64 + 8 * 5)
    encoder = Encoder(model, cache=tmp_path / "cache")
    encoder.encode(texts[:70], "document")
    assert plan(twice, encoder=encoder, sources=[Mined(5)], workers=(1,), probe=0.05).texts == 30
    encoder.encode(texts, "document")
    done = plan(twice, encoder=encoder, sources=[Mined(5)], workers=(1,), probe=0.05)
    assert (done.texts, done.tokens, done.seconds["encode"]) == (0, 0, 0)


def test_products_of_a_transformer_by_hand(tiny_bert, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_bert(tmp_path)), device="cpu")
    layer = 4 * 32 * 32 + 2 * 32 * 64  # query, key, value, output; up, down
    pooler = 32 * 32
    assert products(model) in [(2 * layer, 2 * 2 * 32), (2 * layer + pooler, 2 * 2 * 32)]


def test_tokens_and_operations_are_those_of_the_texts(tiny_bert, tmp_path):
    data = collection_of(10, 200, words=3)  # "w12 w3 w45": words of known letters, one length in tokens for most
    encoder = Encoder(tiny_bert(tmp_path))
    made = plan(data, encoder=encoder, workers=(1,), probe=0.2)
    texts = data.queries["text"].to_pylist() + data.corpus["text"].to_pylist()
    _, batches = encoder.compute_shard(texts, "document")
    assert made.tokens == pytest.approx(sum(rows * wide for rows, wide in batches), rel=0.05)
    linear, attention = encoder.products
    operations = 2 * sum(rows * wide * (linear + attention * wide) for rows, wide in batches)
    assert made.encode_flops == pytest.approx(operations, rel=0.05)


def test_evidence_is_about_as_large_as_said(tmp_path):
    data = collection_of(2000, 3000)
    sources = [Mined(50)]
    made = plan(data, space=space_of(data), sources=sources, workers=(1,), probe=0.05)
    mine(data, space=space_of(data), sources=sources, out=tmp_path / "e", vetters=())
    written = sum(file.stat().st_size for file in (tmp_path / "e").glob("*.parquet"))
    assert 0.4 < made.evidence_bytes / written < 2.5


@pytest.mark.slow
def test_the_time_is_about_what_was_said(tmp_path):
    """Within a factor of 3, machines being what they are under load; measured by itself it is 1.2."""
    from litotes.data.wordnet import load_wordnet

    data = load_wordnet(4000)
    encoder = Encoder("all-MiniLM-L6-v2")
    made = plan(data, encoder=encoder)
    start = time.perf_counter()
    mine(data, model=encoder, out=tmp_path / "e")
    taken = time.perf_counter() - start
    assert 1 / 3 < taken / made.seconds["total"] < 3


def test_what_is_not_in_the_figures_is_said():
    data = collection_of(20, 60)
    made = plan(data, space=space_of(data), sources=[Mined(5), Bm25(5)], vetters=[SameText()], workers=(1,), probe=0.02)
    said = " ".join(made.assumed)
    assert "sources other than dense: bm25(" in said and "same_text" in said


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probe": float("nan")}, "probe must be > 0 and finite, got nan"),
        ({"workers": (0,)}, r"workers must be whole numbers >= 1, got \[0\]"),
        ({"space": None}, "give an encoder or a space"),
    ],
)
def test_a_bad_plan_is_refused(options, message):
    data = collection_of(4, 4)
    with pytest.raises(ValueError, match=message):
        plan(data, **({"space": space_of(data)} | options))


def test_the_command_prints_a_plan_and_leaves_nothing(tiny_static, tmp_path, monkeypatch):
    model = tiny_static(tmp_path / "m", np.eye(50))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    command = ["mine", "wordnet:300", "--model", str(model), "--plan"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0 and "would mine wordnet-300" in shown.stdout and "16 on Ray" in shown.stdout, (
        shown.output
    )
    told = CliRunner().invoke(app, [*command, "--json", "--workers", "5", "--cache", "no"])
    made = json.loads(told.stdout)
    assert made["queries"] > 0 and list(made["workers"]) == ["5"] and not os.listdir(work)
    for options, message in (
        (["--workers", "2"], "--workers needs --ray or --plan"),
        (["--plan", "--no-model"], "--plan is for vectors"),
        (["--ray", "auto", "--memory", "9GB"], "--memory bounds one process"),
        (["--plan", "--like", "nemo"], "--plan has no meaning with --like"),
    ):
        refused = CliRunner().invoke(app, ["mine", "wordnet:300", *options])
        assert refused.exit_code == 2 and message in refused.output
