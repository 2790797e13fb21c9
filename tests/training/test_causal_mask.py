"""Tiny decoders with random weights, built here."""

import pytest
import torch

from litotes.training.retriever.causal_mask import DECODERS, make_bidirectional, remove_causal_mask

COMMON = ["llama", "mistral", "qwen2", "qwen3"]


def decoder(kind, attention="sdpa", **options):
    from transformers import AutoConfig, AutoModel

    sizes = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3, "init_std": 0.3,
        "word_embed_proj_dim": 32, "ffn_dim": 48,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **(sizes | options))
        return AutoModel.from_config(config, attn_implementation=attention).eval()


@pytest.fixture
def tokens():
    return torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(1))


def states(model, ids, mask=None):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state


def changed(ids, column):
    other = ids.clone()
    other[:, column] = (other[:, column] - 3 + 11) % 61 + 3
    return other


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [*COMMON, "stablelm"])  # the last asks its attention modules, not its configuration
def test_the_first_token_sees_the_last_one_inside_the_block_only(kind, attention, tokens):
    model, other = decoder(kind, attention), changed(tokens, -1)
    before = states(model, tokens)
    assert torch.equal(before[:, 0], states(model, other)[:, 0])
    with remove_causal_mask(model) as same:
        assert same is model
        inside = states(model, tokens)
        assert ((inside - states(model, other))[:, 0].abs().amax(dim=1) > 1e-3).all()
        assert ((inside - before)[:, 0].abs().amax(dim=1) > 1e-3).all()
    assert torch.equal(states(model, tokens), before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECODERS)
def test_every_architecture_of_the_list_sees_the_later_tokens_and_no_padding(kind, tokens):
    model = decoder(kind, attention=None)  # as the architecture would have it
    with remove_causal_mask(model):
        seen = states(model, tokens)
        assert ((seen - states(model, changed(tokens, -1)))[:, 0].abs().amax(dim=1) > 1e-4).all()
        longer = torch.cat([tokens, torch.full((2, 2), 9)], dim=1)
        mask = torch.ones(2, 9, dtype=torch.long)
        mask[:, 7:] = 0
        torch.testing.assert_close(states(model, longer, mask)[:, :7], seen, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", COMMON)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_leak(kind, attention, side, tokens):
    model = decoder(kind, attention)
    whole = torch.ones(2, 10, dtype=torch.long)
    padding, text = (slice(0, 3), slice(3, 10)) if side == "left" else (slice(7, 10), slice(0, 7))
    whole[1, padding] = 0  # row 0 is longer, row 1 is padded
    with remove_causal_mask(model):
        ids = torch.full((2, 10), 5)
        ids[1, text] = tokens[1]
        found = states(model, ids, whole)
        ids[1, padding] = 40
        torch.testing.assert_close(states(model, ids, whole)[1, text], found[1, text], atol=0, rtol=0)
        # rotary positions are relative, so shifting a text by its padding changes nothing either
        torch.testing.assert_close(found[1, text], states(model, tokens)[1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", COMMON)
def test_a_causal_mask_that_is_asked_for_gives_the_causal_model_back(kind, attention, tokens):
    model = decoder(kind, attention)
    expected = states(model, tokens)
    allowed = torch.ones(7, 7, dtype=torch.bool).tril()
    mask = torch.zeros(2, 1, 7, 7).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with remove_causal_mask(model):
        torch.testing.assert_close(states(model, tokens, mask), expected, atol=1e-5, rtol=1e-4)
        full = states(model, tokens, torch.zeros(2, 1, 7, 7))
        torch.testing.assert_close(full, states(model, tokens), atol=1e-5, rtol=1e-4)


def test_it_is_undone_after_an_exception_and_says_nothing_that_was_not_said_before(tokens):
    model = decoder("llama")
    before, said = states(model, tokens), dict(vars(model.config))
    with pytest.raises(RuntimeError, match="within"), remove_causal_mask(model):
        raise RuntimeError("within")
    assert torch.equal(states(model, tokens), before) and vars(model.config) == said
    assert all(part.is_causal for part in model.modules() if hasattr(part, "is_causal"))
    with remove_causal_mask(model), remove_causal_mask(model):
        pass
    assert torch.equal(states(model, tokens), before)


def test_a_sliding_window_stays_on_both_sides(tokens):
    one_layer = decoder("mistral", num_hidden_layers=1, sliding_window=2)
    with remove_causal_mask(one_layer):
        moved = (states(one_layer, tokens) - states(one_layer, changed(tokens, 3))).abs().amax(dim=(0, 2))
    assert ((moved > 0) == torch.tensor([False, True, True, True, True, True, False])).all()


def test_for_good_is_also_for_whoever_loads_the_model(tokens, tmp_path):
    from transformers import AutoModel

    model = make_bidirectional(decoder("qwen3"))
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(states(loaded, tokens), states(model, tokens))
    assert not torch.equal(states(loaded, tokens)[:, 0], states(loaded, changed(tokens, -1))[:, 0])


def test_what_is_no_known_decoder_is_refused_with_the_list():
    for kind in ("bert", "t5"):
        options = {"d_model": 32, "num_layers": 1, "d_kv": 8, "d_ff": 16} if kind == "t5" else {}
        with pytest.raises(ValueError, match=rf"one of cohere, .*llama.*, got '{kind}'"), \
             remove_causal_mask(decoder(kind, "eager", **options)):  # fmt: skip
            pass
    with pytest.raises(ValueError, match="must hold a decoder of transformers, got Linear"):
        make_bidirectional(torch.nn.Linear(2, 2))
