import numpy as np
import pytest
import torch

from litotes.data.encoder import Encoder
from litotes.data.models import load_model
from litotes.training.retriever import train_retriever
from litotes.training.retriever.event_transformer import EventTransformer

TEXTS = ["red cat ||| small dog runs", "red cat", "bird ||| fish eats ||| old green dog", "bird|||", "small bird runs"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, request):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bare = tmp_path_factory.mktemp("bare")
    words = ["red", "cat", "small", "dog", "runs", "bird", "fish", "eats", "old", "green", "search", "|||", "|"]
    (bare / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(vocab=str(bare / "vocab.txt")).save_pretrained(bare)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        BertModel(
            BertConfig(vocab_size=18, max_position_embeddings=32, initializer_range=0.3, **sizes)
        ).save_pretrained(bare)
        first = EventTransformer(Transformer(str(bare), max_seq_length=16), heads=4, gate=0.7)
    return SentenceTransformer(modules=[first], device="cpu").eval()


def states(model, text):
    return model[0].transformer(model[0].transformer.preprocess([text]))["token_embeddings"]


@torch.no_grad()
def test_it_is_the_fusion_of_the_states_of_the_query_and_of_its_events(model):
    found = torch.from_numpy(model.encode(TEXTS))
    for vector, (query, events) in zip(
        found, [("red cat", "small dog runs"), ("red cat", None), ("bird", "fish eats old green dog"), ("bird", None)],
        strict=False,
    ):  # fmt: skip
        h_q = states(model, query)
        h_e = states(model, events) if events else h_q[:, :0]
        expected = model[0].fusion(h_q, torch.ones(h_q.shape[:2]), h_e, torch.ones(h_e.shape[:2]))[0][0]
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_a_batch_is_its_texts_alone_and_a_prompt_is_the_querys(model):
    together, alone = model.encode(TEXTS), np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    prompted = model.encode(["cat ||| dog"], prompt="search ")
    np.testing.assert_allclose(prompted, model.encode(["search cat ||| dog"]), atol=1e-6)


def test_it_saves_loads_encodes_and_trains_like_any_model(model, tmp_path, world):
    from litotes.data.collection import Collection

    model.save_pretrained(str(tmp_path / "model"))
    loaded = load_model(tmp_path / "model", "cpu")
    assert (loaded.encode(TEXTS) == model.encode(TEXTS)).all() and loaded[0].get_config_dict()["gate"] == 0.7
    found = Encoder(tmp_path / "model", dtype="float32").encode(TEXTS, kind="query")
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-5)

    queries = world[0].queries
    texts = [f"{text} ||| {TEXTS[i % 3]}" if i % 2 else text for i, text in enumerate(queries["text"].to_pylist())]
    told = Collection("told", queries.set_column(1, "text", [texts]), world[0].corpus)
    before = {name: value.clone() for name, value in loaded[0].fusion.state_dict().items()}
    done = train_retriever(
        loaded, world[1], told, objective="infonce()", out=tmp_path / "made", max_steps=2, batch_size=8, n=1,
        learning_rate=1e-2, warmup=0.0, precision="fp32",
    )  # fmt: skip
    after = load_model(done.path, "cpu")[0].fusion.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same <= {"to_k.bias"}  # a softmax does not see what all keys share


def test_a_mark_of_white_space_is_refused(model):
    with pytest.raises(ValueError, match="EventTransformer: mark must be a text that is not only white space, got ' '"):
        EventTransformer(model[0].transformer, heads=4, mark=" ")
