"""A tiny BERT and a tiny world, made here: nothing is downloaded."""

from __future__ import annotations

import pyarrow as pa
import pytest

from litotes.data.collection import Collection
from litotes.evidence import make

COLOURS, SIZES = ["red", "green", "blue", "round", "square"], ["small", "large", "old", "new"]
WORDS = [*COLOURS, *SIZES, "cat", "dog", "bird", "fish", "runs", "sleeps", "eats"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a sentence-transformers model: BERT of 2 layers x 32 dimensions over a WordPiece vocabulary."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bert, out = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("tiny") / "model"
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *"0123456789",
        *(f"##{d}" for d in "0123456789"),
    ]
    (bert / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(bert / "vocab.txt"), do_lower_case=True).save_pretrained(bert)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64, initializer_range=0.2,
        )  # fmt: skip
        BertModel(config).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=32)
    SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu").save_pretrained(str(out))
    return str(out)


@pytest.fixture(scope="session")
def world():
    """(collection, evidence): 24 queries with 1 or 2 positives and 0 to 3 negatives, 40 documents of 2 to 9 words."""
    queries = [f"{WORDS[i % 16]} {WORDS[(3 * i) % 7]} {i}" for i in range(24)]
    documents = [" ".join(WORDS[(i * j + i) % 16] for j in range(2 + i % 8)) + f" {i}" for i in range(40)]
    collection = Collection(
        "tiny",
        pa.table({"id": [f"q{i:02}" for i in range(24)], "text": queries}),
        pa.table({"id": [f"d{i:02}" for i in range(40)], "text": documents}),
    )
    pairs = {}
    for i in range(24):
        for k in range(1 + i % 2):
            pairs[i, (i + 7 * k) % 40] = (1, 1.0)
        for k in range(i % 4):
            pairs.setdefault((i, (2 * i + 3 * k + 11) % 40), (-1, [1.0, 0.5, 0.25][k]))
    evidence = make(
        [f"q{i:02}" for i, _ in pairs],
        [f"d{j:02}" for _, j in pairs],
        [sign for sign, _ in pairs.values()],
        prior=[weight for _, weight in pairs.values()],
        source="made",
    )
    return collection, evidence
