"""A tiny BERT and a tiny recipe over WordNet, and one run of it that several tests read."""

from __future__ import annotations

import string
from typing import NamedTuple

import pytest

TINY = """
[collection]
documents = 600
train_anchors = 60
test_queries = 30

[encoder]
model = "{model}"
dtype = "float32"

[mine]
sources = ["dense(depth=150)"]

[vet]
vetters = ["relative_margin(margin=0.005)"]

[train]
batch_size = 20
lr = 1e-3
precision = "fp32"

[evaluate]
measures = ["nDCG@10", "MRR@10", "MAP"]
depth = 20
resamples = 200

[report]
examples = 7

[[arms]]
name = "plain"
title = "as it is"
train = false

[[arms]]
name = "mined"
title = "mined"
vetters = []

[[arms]]
name = "vetted"
title = "mined and vetted"
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a BERT of 1 layer x 16 dimensions that reads letters."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    letters = string.ascii_lowercase
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=40, initializer_range=0.2,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder / "bare")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bare")
    parts = [Transformer(str(folder / "bare"), max_seq_length=32), Pooling(16)]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture
def tiny_recipe(tmp_path, tiny_model):
    """The path of a recipe of three arms, in a folder of the test's own; a run takes about a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.format(model=tiny_model))
    return path


class Ran(NamedTuple):
    recipe: object
    folder: object
    results: dict


@pytest.fixture(scope="session")
def ran(tmp_path_factory, tiny_model):
    """The tiny recipe after one run under seed 0: read it, do not change it."""
    from litotes.recipe.run import run

    folder = tmp_path_factory.mktemp("ran")
    path = folder / "tiny.toml"
    path.write_text(TINY.format(model=tiny_model))
    return Ran(path, folder / "runs" / "tiny", run(path, runs=folder / "runs"))
