"""A sentence-transformers model at work on shards of texts: tokenised once, batched by length, in one precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litotes.data.batch_plan import batch_plan
from litotes.data.bert import can_run
from litotes.data.packed import has_bfloat16_unit, make_fast
from litotes.data.tokens import is_plain

Vectors = tuple[np.ndarray, list[list[int]]]
Start = Callable[[Sequence[str], str, str, Callable[[int], object]], Callable[[], Vectors]]

_AFTER = {"Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"}  # read no more than hidden states and their mask
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


def best_layout(model: Any, dtype: str, device: str) -> str:
    """How texts of a batch lie in memory: "end to end" for models that `EndToEnd` can run, else "padded"."""
    modules = list(model)
    first = modules[0]
    known = type(first).__name__ == "Transformer" and type(first).__module__.startswith("sentence_transformers.")
    if not known or first._forward_hooks or first._forward_pre_hooks or "forward" in vars(first):
        return "padded"
    said = getattr(first, "modality_config", {}).get("text")
    if said != {"method": "forward", "method_output_name": "last_hidden_state"} or _wants_task(first):
        return "padded"
    if getattr(first, "module_output_name", None) != "token_embeddings" or getattr(first, "backend", "") != "torch":
        return "padded"
    for module in modules[1:]:
        kind = type(module)
        if kind.__name__ not in _AFTER or not kind.__module__.startswith("sentence_transformers."):
            return "padded"
    runs = can_run(first.model.eval(), dtype, device) and is_plain(model)
    return "end to end" if runs else "padded"


class PaddedInference:
    """Runs the modules of a SentenceTransformer one after the other, the first (the transformer) in `dtype`, the others
    (pooling, dense, normalisation, whatever the model says) in float32.

    Batches run one after the other on all threads, or on the device, where the next batch is copied while one is
    computed.

    Owns `model`: it is moved, cast, and on a CPU its linear layers are repacked.

    Args:
        model: a SentenceTransformer nobody else uses.
        dtype: "float32", "bfloat16" or "float16".
        device: as torch spells it.
        normalize: scale vectors to length 1 (after truncation to the model's `truncate_dim`).
        tokens_per_batch: tokens a batch may hold, padding included.
    """

    def __init__(self, model: Any, dtype: str, device: str, normalize: bool, tokens_per_batch: int):
        self._device, self._normalize, self._budget = torch.device(device), normalize, tokens_per_batch
        self._model = model.eval().requires_grad_(False)
        modules = list(self._model)
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        self.width = int(size())  # after truncation
        modules[0].to(self._device, getattr(torch, dtype))
        if self._device.type == "cpu" and dtype == "bfloat16":
            make_fast(modules[0])
        for module in modules[1:]:
            module.to(self._device, torch.float32)
        self._padding = {"input_ids": getattr(getattr(model, "tokenizer", None), "pad_token_id", None) or 0}
        copies = self._device.type == "cuda"
        self._copying = torch.cuda.Stream(self._device) if copies else None

    @contextmanager
    def working(self) -> Iterator[Start]:
        """Gives start(texts, prompt, kind, tick), which tokenises a shard and returns finish().

        finish() gives the vectors float32 [n, D] of the shard and the plan by which they were computed ([texts, padded
        tokens], ...); it tells `tick` how many texts are done.
        """
        yield self._start

    def scratch_bytes(self, longest: int, shard: int) -> int:
        """What encoding needs at most beside the weights, by an estimate from the layers' widths."""
        shards = 3 * shard * (4 * self.width + 16 * longest)
        config = getattr(self._model[0], "config", None)
        hidden = getattr(config, "hidden_size", self.width)
        inner, heads = getattr(config, "intermediate_size", 4 * hidden), getattr(config, "num_attention_heads", 1)
        tokens = max(self._budget, longest)
        return shards + 4 * tokens * (8 * hidden + 2 * inner + 2 * heads * longest)

    def _start(
        self, texts: Sequence[str], prompt: str, kind: str, tick: Callable[[int], object]
    ) -> Callable[[], Vectors]:
        return partial(self.vectors, texts, prompt, kind, self.tokens(texts, prompt, kind), tick)

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
            following = self._features(texts, prompt, kind, tokens, plan[0])
            for rows, after in zip(plan, [*plan[1:], None], strict=True):
                features = following
                if self._copying is not None:
                    torch.cuda.current_stream(self._device).wait_stream(self._copying)
                parts.append(self._forward(features, kind))
                if after is not None:  # while a device computes, the next batch is laid out and copied
                    following = self._features(texts, prompt, kind, tokens, after)
                tick(len(rows))
            shard = torch.cat(parts)
            order = torch.from_numpy(np.concatenate(plan)).to(shard.device)
            vectors = torch.empty_like(shard).index_copy_(0, order, shard)
        return vectors.cpu().numpy(), [[len(rows), int(lengths[rows].max())] for rows in plan]

    def _features(
        self, texts: Sequence[str], prompt: str, kind: str, tokens: Tokens | None, rows: np.ndarray
    ) -> dict[str, Any]:
        """A batch on its device; there it may still be on its way, in the stream for copies."""
        if tokens is None:
            features = self._preprocess([texts[row] for row in rows], prompt, kind)
        else:
            features = self._padded(tokens, rows)
        with torch.cuda.stream(self._copying) if self._copying is not None else nullcontext():
            return {name: self._moved(value) for name, value in features.items()}

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
        if self._copying is not None:
            for value in features.values():
                if isinstance(value, Tensor):  # else its memory could be given away while it is still read here
                    value.record_stream(torch.cuda.current_stream(self._device))
        for number, module in enumerate(self._model):
            features = module(features, task=kind) if _wants_task(module) else module(features)
            if number == 0:
                features = {name: _wide(value) for name, value in features.items()}
        return self._finished(features)

    def _finished(self, features: dict[str, Any]) -> Tensor:
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
    return fast_dtype(device) if type(model[0]).__name__ == "Transformer" else "float32"


def fast_dtype(device: str) -> str:
    """bfloat16 where the hardware multiplies it; else float32."""
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
