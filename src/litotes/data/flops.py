"""How much a model computes, from its layers."""

from __future__ import annotations

from typing import Any


def products(model: Any) -> tuple[int, int]:
    """Multiplications of a model per token, and per two tokens of one text (attention).

    Per token every linear layer multiplies once by each of its weights; attention forms, in each layer, a score and a
    weighted sum over the hidden width for every pair of tokens. Embeddings are looked up, so a static model has (0, 0).
    A floating-point operation is a multiplication or an addition: two for each product.
    """
    from torch import nn

    linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    config = next((module.config for module in model.modules() if hasattr(module, "config")), None)
    layers, width = (getattr(config, name, 0) or 0 for name in ("num_hidden_layers", "hidden_size"))
    return linear, 2 * layers * width
