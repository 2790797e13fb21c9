"""Token ids straight from the Rust core are those of the model's own preprocessing."""

import random

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from litotes.data.tokens import Tokenizer, is_plain

PIECES = ["wing", "Lift", "of", "abc", "ﬁn", "é", "[SEP]", "[PAD]", "[UNK]", "?", "東", "\u00a0", "\n", "query:", "##a"]


@pytest.fixture(scope="module")
def model(tiny_bert, tmp_path_factory):
    return SentenceTransformer(str(tiny_bert(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.mark.parametrize("prompt", ["", "query: ", "of"])
@pytest.mark.parametrize("longest", [32, 5])
def test_ids_are_the_models_own_text_by_text(model, prompt, longest):
    model.max_seq_length = longest
    assert is_plain(model)
    draw = random.Random(0)
    texts = [" ".join(draw.choice(PIECES) for _ in range(draw.choice([1, 2, 5, 60]))) for _ in range(50)]
    tokens = Tokenizer(model)(texts, prompt, "query")
    own = model.preprocess(texts, prompt=prompt or None)
    wanted = [row[mask.bool()].tolist() for row, mask in zip(own["input_ids"], own["attention_mask"], strict=True)]
    made = [tokens.ids[lo:hi].tolist() for lo, hi in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)]
    assert made == wanted and max(map(len, made)) == longest
    assert tokens.rest.get("prompt_length") == own.get("prompt_length")
    some = np.array([7, 3])
    ids, starts = tokens.of(some)
    assert [ids[lo:hi].tolist() for lo, hi in zip(starts[:-1], starts[1:], strict=True)] == [wanted[7], wanted[3]]


def test_preprocessing_that_does_more_is_not_plain(tiny_bert, tmp_path, monkeypatch):
    left = SentenceTransformer(str(tiny_bert(tmp_path, side="left")), device="cpu")
    assert not is_plain(left)
    model = SentenceTransformer(str(tiny_bert(tmp_path / "own")), device="cpu")
    before = type(model[0]).preprocess
    assert is_plain(model)
    monkeypatch.setattr(
        model[0], "preprocess", lambda texts, **more: before(model[0], [t.upper() + "x" for t in texts])
    )
    assert not is_plain(model)
