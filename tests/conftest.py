"""What all tests share: hypothesis profiles, quiet progress bars, no network, models made on the spot."""

from __future__ import annotations

import os
import signal
import string

os.environ.setdefault("LITOTES_QUIET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup or `&`; the tests of Ctrl-C send it themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.register_profile("full", max_examples=200, deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("LITOTES_HYPOTHESIS", "fast"))


def make_bert(folder, seed=0, pooling="mean", max_length=32, modules=(), similarity=None, prompts=None, side="right"):
    """A BERT of 2 layers and 32 dimensions with letters and a few words as vocabulary, saved in `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = string.ascii_lowercase
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words += ["wing", "lift", "drag", "flow", "the", "of", ":", "query", "document"]
    bare = folder / "bare"
    bare.mkdir(parents=True)
    (bare / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=64, initializer_range=0.2, **sizes)
    BertModel(config).save_pretrained(bare)
    BertTokenizerFast(vocab=str(bare / "vocab.txt"), padding_side=side).save_pretrained(bare)
    parts = [Transformer(str(bare), max_seq_length=max_length), Pooling(32, pooling_mode=pooling), *modules]
    model = SentenceTransformer(modules=parts, device="cpu", similarity_fn_name=similarity, prompts=prompts)
    model.save(str(folder / "model"))
    return folder / "model"


def make_static(folder, vectors):
    """A static model whose words are w0, w1, ... with the given vectors, saved in `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(len(vectors))}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.as_tensor(vectors, dtype=torch.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_bert():
    return make_bert


@pytest.fixture(scope="session")
def tiny_static():
    return make_static
