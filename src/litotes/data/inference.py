"""A sentence-transformers model at work on shards of texts: tokenised once, batched by length, in one precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litotes.data.batch_plan import batch_plan
from litotes.data.packed import has_bfloat16_unit, make_fast

_TOKENIZED_AT_ONCE = 256  # texts of about one length: what the tokenizer pads stays small


@dataclass(frozen=True)
class Tokens:
    """A shard as its model's tokenizer sees it, without padding.

    `columns` holds the inputs that have one number per token (each a list of n integer vectors of the texts' lengths),
    `rest` all other features, which are the same for every text; `left` = padding goes before the tokens.
    """

    columns: dict[str, list[np.ndarray]]
    rest: dict[str, Any]
    lengths: np.ndarray
    left: bool


class Inference:
    """Runs the modules of a SentenceTransformer one after the other, the first (the transformer) in `dtype`, the others
    (pooling, dense, normalisation, whatever the model says) in float32.

    Owns `model`: it is moved, cast, and on a CPU with a bfloat16 unit its linear layers are repacked.

    Args:
        model: a SentenceTransformer nobody else uses.
        dtype: "float32", "bfloat16" or "float16".
        device: as torch spells it.
        normalize: scale vectors to length 1 (after truncation to the model's `truncate_dim`).
        tokens_per_batch: padded tokens a batch may hold.
    """

    def __init__(self, model: Any, dtype: str, device: str, normalize: bool, tokens_per_batch: int):
        self._device, self._normalize, self._budget = torch.device(device), normalize, tokens_per_batch
        self._model = model.eval().requires_grad_(False).to(self._device)
        modules = list(self._model)
        modules[0].to(getattr(torch, dtype))
        for module in modules[1:]:
            module.float()
        if self._device.type == "cpu" and dtype == "bfloat16":
            make_fast(modules[0])
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.width = int(size())  # after truncation
        self._padding = {"input_ids": getattr(getattr(model, "tokenizer", None), "pad_token_id", None) or 0}

    def tokens(self, texts: Sequence[str], prompt: str, kind: str) -> Tokens | None:
        """The shard, tokenised by the model's own preprocessing; None where that gives no plain padded token ids."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        columns: dict[str, list[Any]] = {}
        rest: dict[str, Any] = {}
        left = False
        for lo in range(0, len(order), _TOKENIZED_AT_ONCE):
            rows = order[lo : lo + _TOKENIZED_AT_ONCE]
            features = self._preprocess([texts[row] for row in rows], prompt, kind)
            mask = features.get("attention_mask")
            if mask is None or mask.ndim != 2:
                return None
            lengths = mask.sum(dim=1)
            starts = mask.argmax(dim=1)
            left |= bool((starts > 0).any())
            places = torch.arange(mask.shape[1])
            expected = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
            if not torch.equal(mask.bool(), expected):
                return None
            for name, value in features.items():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    column = columns.setdefault(name, [None] * len(texts))
                    spans = zip(rows.tolist(), value.numpy(), starts.tolist(), (starts + lengths).tolist(), strict=True)
                    for row, line, start, stop in spans:
                        column[row] = line[start:stop]
                elif isinstance(value, Tensor) or rest.setdefault(name, value) != value:
                    return None
        counts = np.array([len(line) for line in columns["attention_mask"]])
        return Tokens(columns, rest, counts, left)

    def vectors(
        self, texts: Sequence[str], prompt: str, kind: str, tokens: Tokens | None, tick: Callable[[int], object]
    ) -> tuple[np.ndarray, list[list[int]]]:
        """Vectors float32 [n, D] of a shard and the plan by which they were computed ([texts, padded tokens], ...).

        `tokens` is what `tokens` gave for the same texts; `tick` is told how many texts are done.
        """
        about = np.array([len(text) // 4 + 2 for text in texts])  # only to balance batches of an unknown tokenizer
        lengths = about if tokens is None else tokens.lengths
        plan = batch_plan(lengths, self._budget)
        parts = []
        with torch.inference_mode():
            for rows in plan:
                if tokens is None:
                    features = self._preprocess([texts[row] for row in rows], prompt, kind)
                else:
                    features = self._padded(tokens, rows)
                parts.append(self._forward(features, kind))
                tick(len(rows))
            shard = torch.cat(parts)
            order = torch.from_numpy(np.concatenate(plan)).to(shard.device)
            vectors = torch.empty_like(shard).index_copy_(0, order, shard)
        return vectors.cpu().numpy(), [[len(rows), int(lengths[rows].max())] for rows in plan]

    def _preprocess(self, texts: list[str], prompt: str, kind: str) -> dict[str, Any]:
        task = {"task": kind} if _wants_task(self._model[0]) else {}
        return self._model.preprocess(texts, prompt=prompt or None, **task)

    def _padded(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        wide = int(tokens.lengths[rows].max())
        features = dict(tokens.rest)
        for name, column in tokens.columns.items():
            block = np.full((len(rows), wide), self._padding.get(name, 0), column[rows[0]].dtype)
            for line, row in zip(block, rows.tolist(), strict=True):
                ids = column[row]
                line[wide - len(ids) if tokens.left else 0 :][: len(ids)] = ids
            features[name] = torch.from_numpy(block)
        return features

    def _forward(self, features: dict[str, Any], kind: str) -> Tensor:
        features = {name: self._moved(value) for name, value in features.items()}
        for number, module in enumerate(self._model):
            features = module(features, task=kind) if _wants_task(module) else module(features)
            if number == 0:
                features = {name: _wide(value) for name, value in features.items()}
        vectors = features["sentence_embedding"].float()
        if self._model.truncate_dim is not None:
            vectors = vectors[:, : self._model.truncate_dim]
        return torch.nn.functional.normalize(vectors, dim=1) if self._normalize else vectors

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or self._device.type == "cpu":
            return value
        value = value.pin_memory() if self._device.type == "cuda" else value
        return value.to(self._device, non_blocking=True)


def best_dtype(model: Any, device: str) -> str:
    """bfloat16 where the hardware multiplies it and the model has a transformer to gain from it; else float32."""
    if type(model[0]).__name__ != "Transformer":
        return "float32"
    kind = torch.device(device).type
    fast = has_bfloat16_unit() if kind == "cpu" else kind == "cuda" and torch.cuda.is_bf16_supported(False)
    return "bfloat16" if fast else "float32"


def best_device() -> str:
    """The CUDA device if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _wants_task(module: Any) -> bool:
    return "task" in getattr(module, "forward_kwargs", ())


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
