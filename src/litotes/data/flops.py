"""How much a model computes, from its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def products(model: Any) -> tuple[int, int]:
    """Multiplications of a model per token, and per two tokens of one text (attention).

    Per token every linear layer multiplies once by each of its weights; attention forms, in each layer, a score and a
    weighted sum over the hidden width for every pair of tokens. Embeddings are looked up, so a static model has (0, 0);
    a pooler works once a text and does not count. A floating-point operation is a multiplication or an addition: two
    for each product.
    """
    from torch import nn

    layers = [module for name, module in model.named_modules() if ".pooler." not in f".{name}."]
    linear = sum(module.weight.numel() for module in layers if isinstance(module, nn.Linear))
    config = next((module.config for module in model.modules() if hasattr(module, "config")), None)
    count, width = (getattr(config, name, 0) or 0 for name in ("num_hidden_layers", "hidden_size"))
    return linear, 2 * count * width


def products_of_bert(sizes: Mapping[str, int]) -> tuple[int, int]:
    """The same of a BERT of these sizes."""
    layers, width, inner = (sizes[name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    return layers * (4 * width * width + 2 * width * inner), 2 * layers * width
