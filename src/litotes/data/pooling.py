"""From hidden states laid end to end to vectors of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class PlainPooling:
    """The mean of a text's tokens, or its first, scaled to length 1 where the model does so.

    Args:
        way: "mean" or "cls".
        normalize: scale to length 1.
        width: dimensions of a state.
    """

    def __init__(self, way: str, normalize: bool, width: int):
        self.way, self.normalize, self.width = way, normalize, width

    def __call__(self, hidden: Tensor, ids: np.ndarray, starts: np.ndarray, rest: dict[str, Any]) -> Tensor:
        pooled = pool(self.way, hidden, starts)
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


class PoolingModules:
    """What a SentenceTransformer does after its first module, in float32, and its truncation.

    A mean or a first token is taken where it lies; every other pooling sees padded states, as it expects.

    Args:
        model: a SentenceTransformer nobody else uses; all but its first module is moved to the CPU and float32.
    """

    def __init__(self, model: Any):
        modules = list(model)[1:]
        for module in modules:
            module.to("cpu", torch.float32)
        self._way = _way(modules[0]) if modules else None
        self._keeps_prompt = self._way is None or bool(modules[0].include_prompt)
        self._modules, self._truncate = modules, model.truncate_dim
        self._padding = getattr(getattr(model, "tokenizer", None), "pad_token_id", None) or 0
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.width = int(size())  # after truncation

    def __call__(self, hidden: Tensor, ids: np.ndarray, starts: np.ndarray, rest: dict[str, Any]) -> Tensor:
        modules = self._modules
        if self._way is None or ("prompt_length" in rest and not self._keeps_prompt):
            features = rest | self._padded(hidden, ids, starts)
        else:
            modules = modules[1:]
            features = rest | {"sentence_embedding": pool(self._way, hidden, starts)}
        for module in modules:
            features = module(features)
        return features["sentence_embedding"].float()[:, : self._truncate]

    def _padded(self, hidden: Tensor, ids: np.ndarray, starts: np.ndarray) -> dict[str, Tensor]:
        lengths = np.diff(starts)
        mask = torch.from_numpy(np.arange(int(lengths.max())) < lengths[:, None])
        states = torch.zeros(*mask.shape, hidden.shape[1])
        states[mask] = hidden
        padded = torch.full(mask.shape, self._padding)
        padded[mask] = torch.from_numpy(ids)
        return {"token_embeddings": states, "attention_mask": mask.long(), "input_ids": padded}


def pool(way: str, hidden: Tensor, starts: np.ndarray) -> Tensor:
    """Vectors float32 [n, D] of the texts that begin at `starts` in hidden [T, D]: "mean" of all tokens or "cls"."""
    if way == "cls":
        return hidden[torch.from_numpy(starts[:-1])]
    # compiled on first use: a model that goes another way never waits for it
    from litotes.data.kernels import mean_rows

    pooled = torch.empty(len(starts) - 1, hidden.shape[1])
    mean_rows(hidden.view(-1).numpy(), starts, hidden.shape[1], pooled.view(-1).numpy())
    return pooled


def _way(module: Any) -> str | None:
    """ "mean" or "cls" where that is all the module does, else None."""
    if type(module).__name__ != "Pooling" or module._forward_hooks or module._forward_pre_hooks:
        return None
    way = module.pooling_mode
    return way if way in ("mean", "cls") and (module.include_prompt or way == "mean") else None
