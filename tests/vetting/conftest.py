"""Tiny models with random weights, and a collection that gives every vetter something to do."""

import numpy as np
import pyarrow as pa
import pytest

from litotes.data.collection import Collection
from litotes.evidence import SCHEMA, with_scorer

WORDS = ["red", "green", "blue", "sea", "sky", "storm", "wind", "rain", "sun", "moon"]


def _bert(folder, kind, labels=None):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(special + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(
        vocab_size=len(tokenizer.get_vocab()), max_position_embeddings=40, initializer_range=0.5, **sizes
    )
    if labels:
        config.num_labels = labels
    torch.manual_seed(0)
    (BertForSequenceClassification if kind == "cross" else BertModel)(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def bi_encoder(tmp_path_factory):
    from sentence_transformers import SentenceTransformer

    folder = tmp_path_factory.mktemp("guide")
    SentenceTransformer(_bert(tmp_path_factory.mktemp("bert"), "bi"), device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory):
    return _bert(tmp_path_factory.mktemp("cross"), "cross", 1)


@pytest.fixture(scope="session")
def two_headed(tmp_path_factory):
    return _bert(tmp_path_factory.mktemp("two"), "cross", 2)


@pytest.fixture(scope="session")
def collection():
    """8 queries, 40 documents of few words: copies, near copies and shared groups among them."""
    draw = np.random.default_rng(0)

    def text():
        return " ".join(draw.choice(WORDS, draw.integers(2, 6)))

    documents = [text() for _ in range(30)]
    documents += [documents[0].upper(), documents[1] + "  ", documents[2] + " sun", "wind " + documents[3]]
    queries = [text() for _ in range(6)]
    documents += [queries[0], queries[1] + " rain", *(text() for _ in range(4))]
    groups = [None if i % 7 == 0 else f"g{i % 5}" for i in range(40)]
    corpus = pa.table({"id": [f"d{i}" for i in range(40)], "text": documents, "group": groups})
    asked = pa.table({"id": [f"q{i}" for i in range(6)], "text": queries, "group": ["g1", None, "g3", "g0", None, "x"]})
    return Collection("words", asked, corpus)


@pytest.fixture(scope="session")
def evidence(collection):
    """Six anchors: two without a positive, one with three; negatives judged, unscored, or half doubted by others."""
    draw = np.random.default_rng(1)
    rows = []
    for q, positives in enumerate([1, 1, 3, 0, 2, 0]):
        for place, d in enumerate(draw.permutation(40)[:20]):
            sign = 1 if place < positives else int(draw.choice([-1, -1, -1, -1, 0]))
            score = float(np.float32(draw.normal())) if sign == 1 or draw.random() < 0.9 else None
            grade = 1.0 if sign == 1 else 0.0 if draw.random() < 0.15 and sign == -1 else None
            belief = 0.5 if draw.random() < 0.2 else None
            doubts = [] if belief is None else [{"part": "zeal", "belief": belief, "seen": None, "line": None}]
            rows.append(
                {"anchor": f"q{q}", "candidate": f"d{d}", "sign": sign, "grade": grade, "prior": 1.0, "score": score,
                 "weight": belief or 1.0, "found": [], "doubts": doubts}
            )  # fmt: skip
    for query, document in (("q0", "d34"), ("q1", "d35")):  # the query itself, and nearly
        if not any(row["anchor"] == query and row["candidate"] == document for row in rows):
            rows.append({"anchor": query, "candidate": document, "sign": -1, "grade": None, "prior": 1.0, "weight": 1.0,
                         "score": 0.0, "found": [], "doubts": []})  # fmt: skip
    about = {"name": "drawn", "checksum": "0", "similarity": "dot"}
    return with_scorer(pa.Table.from_pylist(rows, SCHEMA), about)
