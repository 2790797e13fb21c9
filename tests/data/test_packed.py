"""Fast layers give what torch's own give, to the rounding of bfloat16."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from litotes.data.packed import PackedLinear, has_bfloat16_unit, make_fast, short_attention

needs_unit = pytest.mark.skipif(not has_bfloat16_unit(), reason="this CPU has no bfloat16 unit")


@needs_unit
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("shape", [(7, 48), (3, 5, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer_rounded_once(activation, shape, bias):
    torch.manual_seed(0)
    linear = nn.Linear(48, 96, bias=bias).bfloat16()
    x = torch.randn(shape).bfloat16()
    with torch.inference_mode():
        exact = F.linear(x.float(), linear.weight.float(), None if linear.bias is None else linear.bias.float())
        exact = F.gelu(exact) if activation == "gelu" else exact
        made = PackedLinear(linear, activation)(x)
    assert made.dtype == torch.bfloat16 and made.shape == (*shape[:-1], 96)
    assert torch.allclose(made.float(), exact, rtol=2**-8, atol=1e-3)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation must be 'none' or 'gelu', got 'relu'"):
        PackedLinear(nn.Linear(2, 2).bfloat16(), "relu")


@needs_unit
def test_only_plain_bfloat16_layers_are_replaced():
    class Special(nn.Linear):
        pass

    module = nn.ModuleDict(
        {"plain": nn.Linear(8, 8).bfloat16(), "wide": nn.Linear(8, 8), "own": Special(8, 8).bfloat16()}
    )
    make_fast(module)
    assert [type(part) for part in module.values()] == [PackedLinear, nn.Linear, Special]


class Layer(nn.Module):
    is_causal = False


@pytest.mark.parametrize("length", [1, 13, 24, 25, 40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_attention_whichever_way_it_goes(length, masked, causal):
    torch.manual_seed(length)
    query, key, value = torch.randn(3, 4, 2, length, 16)
    mask = torch.rand(4, 1, length, length) > 0.3 if masked else None
    if masked:
        mask |= torch.eye(length, dtype=torch.bool)
    scores = query @ key.transpose(2, 3) * 0.5
    if masked:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif causal:
        scores = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf)
    wanted = (scores.softmax(-1) @ value).transpose(1, 2)
    made, weights = short_attention(Layer(), query, key, value, mask, scaling=0.5, is_causal=causal)
    assert weights is None and made.shape == (4, length, 2, 16) and torch.allclose(made, wanted, atol=1e-5)
