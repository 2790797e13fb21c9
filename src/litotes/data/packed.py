"""Transformer layers made fast for bfloat16 on the CPU: the same sums from better laid out memory."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

_SHORT = 24  # tokens; from about 30 on the fused kernel is as fast
_NAME = "litotes_short"


class PackedLinear(nn.Module):
    """act(x W^T + b) with W laid out once for oneDNN instead of at every call.

    For inference only: no gradient, no `state_dict`.

    In:   [..., in_features] in the layer's dtype, on the CPU.
    Out:  [..., out_features] in that dtype: summed in float32, then the activation, rounded once.

    Args:
        linear: a layer in bfloat16 or float32.
        activation: "none", or "gelu" (by erf) fused into the product.
    """

    def __init__(self, linear: nn.Linear, activation: str = "none"):
        super().__init__()
        if activation not in ("none", "gelu"):
            raise ValueError(f"PackedLinear: activation must be 'none' or 'gelu', got {activation!r}")
        self.bias, self.activation = linear.bias, activation
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 2048)

    def forward(self, x: Tensor) -> Tensor:
        algorithm = "none" if self.activation == "gelu" else ""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, self.activation, [], algorithm)


def can_pack() -> bool:
    """Does this torch lay out weights for oneDNN?"""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def has_bfloat16_unit() -> bool:
    """Does this CPU multiply bfloat16 in hardware (AVX-512 BF16 or AMX)?"""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def make_fast(module: nn.Module) -> None:
    """Repack the bfloat16 layers of a CPU module in place, where CPU and torch can; elsewhere it stays as it is.

    Every `nn.Linear` (subclasses are left alone) becomes a `PackedLinear`, a GELU right after it in a BERT-like
    intermediate layer goes into the product, and attention over at most 24 unmasked tokens is two plain matrix
    products, because the fused kernel is made for long texts.
    """
    if not (has_bfloat16_unit() and can_pack()):
        return
    keep_few_products()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.weight.dtype == torch.bfloat16:
                after = getattr(parent, "intermediate_act_fn", None) if name == "dense" else None
                fused = type(after).__name__ == "GELUActivation"
                setattr(parent, name, PackedLinear(child, "gelu" if fused else "none"))
                if fused:
                    parent.intermediate_act_fn = nn.Identity()
    _use_short_attention(module)


def keep_few_products() -> None:
    """Let oneDNN keep 64 of the products it has compiled instead of 1,024, of up to a megabyte each.

    Batches of ever new shapes need ever new products; compiling one again costs little beside running it.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def _use_short_attention(module: nn.Module) -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(_NAME, short_attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if getattr(config, "_attn_implementation", None) == "sdpa":
            config._attn_implementation = _NAME


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,  # transformers calls every attention function with whatever its model has to say
) -> tuple[Tensor, Tensor | None]:
    """softmax(scaling Q K^T) V as two plain products for short unmasked texts; all else goes to transformers' own.

    In:   query, key, value [B, heads, L, head_dim].
    Out:  [B, L, heads, head_dim], and no weights.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = attention_mask is None and not causal and not dropout and options.get("position_bias") is None
    if plain and query.shape[2] <= _SHORT and query.shape == key.shape == value.shape and not options.get("softcap"):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        weights = torch.matmul(query * scale, key.transpose(2, 3)).softmax(dim=-1)
        return torch.matmul(weights, value).transpose(1, 2).contiguous(), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rest = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **options}
    return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
