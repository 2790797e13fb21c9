"""Texts laid end to end get transformers' own hidden states, and whatever is not exactly known goes another way."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from litotes.data.bert import EndToEnd, can_run
from litotes.data.packed import has_bfloat16_unit

SIZES = {
    "hidden_size": 48,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 80,
    "vocab_size": 50,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
MAKERS = {
    "bert": lambda **more: BertModel(BertConfig(**(SIZES | more))),
    "roberta": lambda **more: RobertaModel(RobertaConfig(**(SIZES | {"pad_token_id": 1} | more))),
    "xlm": lambda **more: XLMRobertaModel(XLMRobertaConfig(**(SIZES | {"pad_token_id": 1} | more))),
}
NARROW = pytest.param("bfloat16", marks=pytest.mark.skipif(not has_bfloat16_unit(), reason="no bfloat16 unit"))


def network(family="bert", **more):
    torch.manual_seed(0)
    return MAKERS[family](**more).eval()


def drawn(lengths, seed=0):
    """Ids of texts end to end; now and then one spells a padding token out."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return np.random.default_rng(seed).integers(0, 50, starts[-1]), starts


@pytest.mark.parametrize("dtype", ["float32", NARROW])
@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.parametrize("lengths", [[1], [3, 1, 17, 30, 2], [16] * 5])
def test_hidden_states_are_those_of_each_text_alone(family, dtype, lengths):
    own = network(family)
    assert can_run(own, dtype, "cpu")
    ids, starts = drawn(lengths)
    with torch.inference_mode():
        fast = EndToEnd.of(own, dtype, budget=64)
        made = fast(ids, starts).clone()
        for lo, hi in zip(starts[:-1], starts[1:], strict=True):
            text = torch.from_numpy(ids[None, lo:hi])
            wanted = own(text, attention_mask=torch.ones_like(text)).last_hidden_state[0]
            if dtype == "float32":
                assert torch.allclose(made[lo:hi], wanted, atol=1e-4)
            else:
                assert torch.cosine_similarity(made[lo:hi], wanted).min() > 0.995
                assert (made[lo:hi] - wanted).abs().max() < 0.25


@pytest.mark.parametrize("dtype", ["float32", NARROW])
def test_a_text_is_the_same_whatever_came_before_and_in_whichever_thread(dtype):
    from concurrent.futures import ThreadPoolExecutor

    with torch.inference_mode():
        fast = EndToEnd.of(network(), dtype, budget=64)
        small, large = drawn([5, 7]), drawn([30, 30, 20], seed=1)
        first = fast(*small).clone()
        fast(*large)
        assert torch.equal(fast(*small), first)

    def one(_):
        with torch.inference_mode():
            return fast(*small).clone()

    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(made, first) for made in pool.map(one, range(12)))


class Hooked(nn.Linear):
    pass


def hook(own):
    own.encoder.layer[1].attention.self.query.register_forward_hook(lambda module, given, made: made * 2)


def override(own):
    own.encoder.layer[0].forward = lambda *given, **named: given


def adapt(own):
    part = own.encoder.layer[0].output
    part.dense = Hooked(80, 48)


def scale(own):
    own.encoder.layer[0].output.LayerNorm = nn.RMSNorm(48)


def extra(own):
    own.encoder.layer[0].adapter = nn.Linear(48, 48)


def activation(own):
    own.encoder.layer[1].intermediate.intermediate_act_fn = nn.GELU("tanh")


def bare(own):
    own.encoder.layer[1].output.dense.bias = None


@pytest.mark.parametrize("change", [hook, override, adapt, scale, extra, activation, bare])
def test_a_touched_network_is_left_to_its_own_code(change):
    own = network()
    assert can_run(own, "float32", "cpu")
    change(own)
    assert not can_run(own, "float32", "cpu")


@pytest.mark.parametrize(
    "more",
    [
        {"hidden_act": "relu"},
        {"hidden_act": "gelu_new"},
        {"is_decoder": True},
        {"is_decoder": True, "add_cross_attention": True},
        {"chunk_size_feed_forward": 4},
        {"position_embedding_type": "relative_key"},
        {"num_attention_heads": 6},  # 8 dimensions a head
    ],
)
def test_another_architecture_is_left_to_its_own_code(more):
    assert not can_run(network(**more), "float32", "cpu")


def test_other_precisions_devices_and_objects_are_not_ours():
    class Own(BertModel):
        pass

    own = network()
    assert not can_run(own, "float16", "cpu") and not can_run(own, "float32", "cuda") and not can_run(None, "x", "cpu")
    assert not can_run(Own(BertConfig(**SIZES)).eval(), "float32", "cpu")
    assert not can_run(copy.deepcopy(own).train(), "float32", "cpu")


def test_a_text_beyond_the_models_positions_is_refused():
    with torch.inference_mode(), pytest.raises(ValueError, match="position 40 in a text of 41 tokens.*max_length"):
        EndToEnd.of(network(), "float32", 64)(*drawn([3, 41]))
    ids, starts = drawn([3])
    ids[1] = 50
    with torch.inference_mode(), pytest.raises(ValueError, match="token 50 .* the model knows 50"):
        EndToEnd.of(network(), "float32", 64)(ids, starts)
