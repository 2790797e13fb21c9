"""BERT-like encoders over texts laid end to end: no padding anywhere, one thread per batch, few passes over memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litotes.data.lanes import WIDTH
from litotes.data.packed import PackedLinear, can_pack, has_bfloat16_unit

_FAMILIES = {"BertModel": "bert", "RobertaModel": "roberta", "XLMRobertaModel": "xlm_roberta"}
_PLAIN = {
    nn.Embedding: {"word_embeddings", "position_embeddings", "token_type_embeddings"},
    nn.LayerNorm: {"LayerNorm"},
    nn.Linear: {"query", "key", "value", "dense"},
    nn.Dropout: {"dropout"},
    nn.ModuleList: {"layer"},
    nn.Tanh: {"activation"},
}


@dataclass(frozen=True, eq=False)
class _Norm:
    weight: np.ndarray
    bias: np.ndarray
    epsilon: np.float32


@dataclass(frozen=True, eq=False)
class _Layer:
    joined: PackedLinear  # query, key and value
    attended: PackedLinear
    after_attention: _Norm
    up: PackedLinear
    down: PackedLinear
    after: _Norm


class EndToEnd:
    """The hidden states of a BERT, RoBERTa or XLM-RoBERTa encoder for texts laid end to end.

    The same sums as transformers' own in another order: query, key and value are one product, GELU is part of the
    product before it, the residual of the layer norm after it, and between products float32 is used whatever the
    dtype. Products get one of few row counts (powers of two up to the budget, then multiples of it), so that oneDNN
    compiles each once.

    A call runs where it is called and may run in several threads at once; each keeps its own buffers.

    Args:
        weights: float tensors by the names that transformers gives them ("encoder.layer.0.output.dense.weight"); they
            are copied, not kept.
        sizes: hidden_size, intermediate_size, num_attention_heads, num_hidden_layers.
        epsilon: of the layer norms.
        dtype: "float32" or "bfloat16".
        budget: tokens of a batch, >= 1; longer texts make larger batches.
        padding: token from which RoBERTa counts positions; None = they count from 0, as BERT's.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        sizes: Mapping[str, int],
        epsilon: float,
        dtype: str,
        budget: int,
        padding: int | None = None,
    ):
        self.dtype, self.budget = getattr(torch, dtype), budget
        self.width, self.heads = sizes["hidden_size"], sizes["num_attention_heads"]
        self.inner = sizes["intermediate_size"]
        self._padding = padding
        places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._words, self._places = (
            self._numbers(table) for table in (weights["embeddings.word_embeddings.weight"], places)
        )
        self._after_words = _norm(weights, "embeddings.LayerNorm", epsilon)
        self._layers = [
            self._layer(weights, f"encoder.layer.{number}", epsilon) for number in range(sizes["num_hidden_layers"])
        ]
        self._own = threading.local()

    @classmethod
    def of(cls, network: nn.Module, dtype: str, budget: int) -> EndToEnd:
        """The same for a model that `can_run` accepts; it is read, not kept."""
        config: Any = network.config
        padding = None if type(network).__name__ == "BertModel" else int(config.pad_token_id)
        return cls(network.state_dict(), vars(config), config.layer_norm_eps, dtype, budget, padding)

    def __call__(self, ids: np.ndarray, starts: np.ndarray) -> Tensor:
        """Last hidden states of texts that begin at `starts`.

        In:   ids int64 [T]; starts int64 [n + 1], 0 first, T last.
        Out:  float32 [T, D]; it lies in a buffer that this thread's next call writes to.
        """
        # compiled on first use: a model that goes another way never waits for it
        from litotes.data.kernels import add_norm, attend, attention_scratch, embed

        count, width, size = len(ids), self.width, self.width // self.heads
        rows = self._rows(count)
        x, mixed, final = self._buffers(rows)
        flat_x, flat_mixed, row = _flat(x), _flat(mixed), np.empty(width, np.float32)
        scratch = np.empty(attention_scratch(int(np.diff(starts).max()), size), np.float32)
        norm, scale = self._after_words, np.float32(size**-0.5)
        positions = self._positions(ids, starts)
        for what, asked, table in (("position", positions, self._places), ("token", ids, self._words)):
            if (int(asked.max()) + 1) * width > len(table):
                raise ValueError(
                    f"EndToEnd: {what} {int(asked.max())} in a text of {int(np.diff(starts).max())} tokens, but the "
                    f"model knows {len(table) // width}; give a max_length that it can take"
                )
        embed(ids, positions, self._words, self._places, width, norm.weight, norm.bias, norm.epsilon, row, flat_x)
        for number, layer in enumerate(self._layers):
            attend(_flat(layer.joined(x)), starts, self.heads, width, scale, flat_mixed, scratch)
            made, norm = _flat(layer.attended(mixed)), layer.after_attention
            add_norm(made, flat_x, count, width, norm.weight, norm.bias, norm.epsilon, row, flat_x)
            made, norm = _flat(layer.down(layer.up(x))), layer.after
            target = _flat(final) if number == len(self._layers) - 1 else flat_x
            add_norm(made, flat_x, count, width, norm.weight, norm.bias, norm.epsilon, row, target)
        return final[:count]

    def scratch_bytes(self, longest: int) -> int:
        """What one thread needs at most for a batch, with texts of up to `longest` tokens."""
        rows, item = self._rows(max(self.budget, longest)), self.dtype.itemsize
        width = self.width
        products = max(3 * width, self.inner + width)  # the outputs that are alive at one time
        return rows * ((2 * width + products) * item + 4 * width) + 4 * (4 + width // self.heads) * (longest + WIDTH)

    def _rows(self, count: int) -> int:
        if count > self.budget:
            return -(-count // self.budget) * self.budget
        return min(max(WIDTH, 1 << (count - 1).bit_length()), max(self.budget, WIDTH))

    def _buffers(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        held = getattr(self._own, "buffers", None)
        if held is None or len(held[0]) < rows:
            kinds = (self.dtype, self.dtype, torch.float32)
            held = self._own.buffers = tuple(torch.zeros(rows, self.width, dtype=kind) for kind in kinds)
        return tuple(buffer[:rows] for buffer in held)

    def _positions(self, ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
        lengths = np.diff(starts)
        if self._padding is None:
            return np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
        counted = np.concatenate([[0], np.cumsum(ids != self._padding)])
        own = counted[1:] - np.repeat(counted[starts[:-1]], lengths)
        return own * (ids != self._padding) + self._padding  # a text may spell the padding token out

    def _layer(self, weights: Mapping[str, Tensor], name: str, epsilon: float) -> _Layer:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weight, bias = (torch.cat([weights[f"{part}.{kind}"] for part in parts]) for kind in ("weight", "bias"))

        def packed(part: str, activation: str = "none") -> PackedLinear:
            return self._packed(weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"], activation)

        return _Layer(
            self._packed(weight, bias),
            packed("attention.output.dense"),
            _norm(weights, f"{name}.attention.output.LayerNorm", epsilon),
            packed("intermediate.dense", "gelu"),
            packed("output.dense"),
            _norm(weights, f"{name}.output.LayerNorm", epsilon),
        )

    def _packed(self, weight: Tensor, bias: Tensor, activation: str = "none") -> PackedLinear:
        own = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        own.weight, own.bias = (
            nn.Parameter(part.detach().to(self.dtype), requires_grad=False) for part in (weight, bias)
        )
        return PackedLinear(own, activation)

    def _numbers(self, weight: Tensor) -> np.ndarray:
        return _flat(weight.detach().to(self.dtype).clone())


def gains(sizes: Mapping[str, int], dtype: str, device: str) -> bool:
    """Can `EndToEnd` run a network of these sizes, in this precision, on this hardware?"""
    if torch.device(device).type != "cpu" or not can_pack():
        return False
    if dtype not in ("float32", "bfloat16") or (dtype == "bfloat16" and not has_bfloat16_unit()):
        return False
    size, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    return not size % heads and not (size // heads) % WIDTH and sizes["num_hidden_layers"] >= 1


def can_run(network: Any, dtype: str, device: str) -> bool:
    """Is this a network whose every part `EndToEnd` knows, on hardware where it gains?

    True only for an encoder built of exactly the classes that transformers builds it of, with GELU by erf, absolute
    positions, no cross-attention, and nobody's hook or override on any part of it. Everything else runs as it is.
    """
    config: Any = getattr(network, "config", None)
    family = _FAMILIES.get(type(network).__name__)
    if family is None or not gains(vars(config), dtype, device):
        return False
    home = f"transformers.models.{family}.modeling_{family}"
    if type(network).__module__ != home:
        return False
    settings = {
        "hidden_act": "gelu",
        "is_decoder": False,
        "add_cross_attention": False,
        "chunk_size_feed_forward": 0,
        "position_embedding_type": "absolute",
    }
    if any(getattr(config, name, value) != value for name, value in settings.items()):
        return False
    return all(_plain(name, part, home) for name, part in network.named_modules())


def _plain(name: str, part: nn.Module, home: str) -> bool:
    """Is this part, under this name, what transformers puts there, and untouched?"""
    hooks = (part._forward_hooks, part._forward_pre_hooks)
    if any(hooks) or "forward" in vars(part) or part.training:
        return False
    last = name.split(".")[-1]
    if type(part).__name__ == "GELUActivation":
        return last == "intermediate_act_fn" and type(part).__module__ == "transformers.activations"
    if isinstance(part, nn.Linear) and part.bias is None:
        return False
    if isinstance(part, nn.LayerNorm) and (part.weight is None or part.bias is None):
        return False
    return type(part).__module__ == home or last in _PLAIN.get(type(part), ())


def _norm(weights: Mapping[str, Tensor], name: str, epsilon: float) -> _Norm:
    weight, bias = (weights[f"{name}.{kind}"].detach().float().clone() for kind in ("weight", "bias"))
    return _Norm(weight.numpy(), bias.numpy(), np.float32(epsilon))


def _flat(x: Tensor) -> np.ndarray:
    """The memory of a contiguous matrix as a vector; bfloat16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).view(-1).numpy()
