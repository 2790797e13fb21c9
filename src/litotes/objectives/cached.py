"""Cached: a loss over a large batch with the activations of a small one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

from litotes.batch import Moment, SignedBatch
from litotes.spelling import spell

Cut = Callable[[Any, int, int], Any]


class Cached(nn.Module):
    """A chain whose features come from an encoder that sees `chunk` inputs at a time (gradient caching).

    Three passes. All inputs are encoded without gradient, chunk by chunk; the chain forms the loss over the features
    of the whole batch and gives the gradient of each of them; in the backward pass of the loss every chunk is encoded
    again, with its randomness and its autocast settings replayed, and its part of the gradient goes through the
    encoder. Value and gradient are those of the uncached loss, and the memory for activations is that of one chunk.

    In:   `encode`: one chunk of a column -> features [n, D]. A SignedBatch in its place has its features already, and
          costs what it costs the chain.
          `columns`: what is to be encoded, each a tensor [N, ...] or a mapping of such tensors.
          `form`: features of all columns, [N, D] each -> SignedBatch.
          `model`: the module that synchronises gradients in `backward`, if there is one (it has `no_sync`, as
          DistributedDataParallel has): it does so once a step, in the last chunk.
    Out:  scalar loss. `loss.backward()` fills the gradients of encoder and chain, times the gradient that comes in;
          `torch.autograd.grad` sees those of the chain only. Without gradients (evaluation) it is the plain loss.
    Cost: one more forward pass of the encoder; scores O(B C) as without caching. Modules with running statistics
          (batch norm) see every chunk twice, and by itself.

    Args:
        chain: what the uncached loss would be: a Chain or objective.
        chunk: inputs encoded at a time, >= 1.
    Raises:
        ValueError: `chunk` is out of range, a column is not cut along its first axis, or the loss reads no column.
    Source: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (arXiv:2101.06983), section 3.
    """

    stage = "objective"
    citation = """@inproceedings{gao2021scaling,
    title = {Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup},
    author = {Gao, Luyu and Zhang, Yunyi and Han, Jiawei and Callan, Jamie},
    booktitle = {Proceedings of the 6th Workshop on Representation Learning for NLP},
    year = {2021}
}"""

    def __init__(self, chain: nn.Module, chunk: int = 32):
        super().__init__()
        if getattr(chain, "stage", None) != "objective":
            raise ValueError(f"Cached: chain must be a Chain or an objective, got {chain}")
        if not (isinstance(chunk, int) and chunk >= 1):
            raise ValueError(f"Cached: chunk must be an integer >= 1, got {chunk!r}")
        self.chain = chain
        self.chunk = chunk
        self.needs = chain.needs

    def forward(
        self,
        encode: Callable[[Any], Tensor] | SignedBatch,
        columns: Sequence[Any] = (),
        form: Callable[[list[Tensor]], SignedBatch] | None = None,
        *,
        model: nn.Module | None = None,
        cut: Cut | None = None,
        now: Moment | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        loss: Tensor
        if isinstance(encode, SignedBatch):
            loss = self.chain(encode, now=now, generator=generator)
            return loss
        if form is None or not columns:
            raise ValueError("Cached: needs columns to encode and form, which makes a batch of their features")
        cut = cut or cut_rows
        chunks: list[_Chunk] = []
        features: list[Tensor] = []
        replayed = torch.is_grad_enabled()
        for column in columns:
            parts = []
            for start in range(0, rows_of(column), self.chunk):
                inputs = cut(column, start, start + self.chunk)
                state = _Surroundings(inputs) if replayed else None
                with torch.no_grad(), state.autocast() if state is not None else nullcontext():
                    part = encode(inputs)
                if state is not None:
                    chunks.append(_Chunk(cut, column, start, start + self.chunk, state))
                parts.append(part)
            features.append(torch.cat(parts))
        if not replayed:
            loss = self.chain(form(features), now=now, generator=generator)
            return loss

        leaves = [feature.requires_grad_() for feature in features]
        loss = self.chain(form(leaves), now=now, generator=generator)
        own = [parameter for parameter in self.chain.parameters() if parameter.requires_grad]
        # a backward pass belongs outside autocast, which would round its products; this one may stand inside
        with torch.autocast(loss.device.type, enabled=False):
            gradients = torch.autograd.grad(loss, [*leaves, *own], allow_unused=True) if loss.requires_grad else ()
        of_features = gradients[: len(leaves)]
        if all(gradient is None for gradient in of_features):
            raise ValueError(f"Cached: the loss of {self.chain} does not depend on any of the {len(leaves)} columns")
        pieces = [
            piece
            for leaf, gradient in zip(leaves, of_features, strict=True)
            for piece in (torch.zeros_like(leaf) if gradient is None else gradient).split(self.chunk)
        ]
        replay = _Replay(encode, chunks, pieces, model)
        hook = torch.zeros((), device=loss.device, requires_grad=True)  # so that the loss has a graph to walk
        value: Tensor = _Deferred.apply(loss.detach(), replay, gradients[len(leaves) :], hook, *own)
        return value

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The named parts of the loss, for a batch that has its features."""
        return self.chain.terms(batch, now=now)  # type: ignore[operator]

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Unreduced losses (cost [B], believed [B]), for a batch that has its features."""
        return self.chain.per_anchor(batch, now=now)  # type: ignore[operator]

    def __str__(self) -> str:
        return spell(self)


def rows_of(column: Any) -> int:
    """Number of inputs in a column: the length of the tensor, or of the first tensor with an axis in the mapping."""
    if isinstance(column, Tensor):
        return len(column)
    for value in column.values():
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    raise ValueError(f"Cached: a column must be a tensor or a mapping with tensors, got keys {list(column)}")


def cut_rows(column: Any, start: int, stop: int) -> Any:
    """Inputs start:stop of a column. What is no tensor, or has no axis, is the same for all inputs.

    Raises:
        ValueError: a tensor does not have one entry per input.
    """
    if isinstance(column, Tensor):
        return column[start:stop]
    n = rows_of(column)
    taken = {}
    for name, value in column.items():
        if isinstance(value, Tensor) and value.ndim and len(value) != n:
            raise ValueError(f"Cached: {name!r} has {len(value)} entries for {n} inputs, so it cannot be cut in chunks")
        taken[name] = value[start:stop] if isinstance(value, Tensor) and value.ndim else value
    return taken


class _Surroundings:
    """What a forward pass depends on beside its inputs: random states and autocast, taken now, restored on demand."""

    def __init__(self, inputs: Any):
        tensors = [inputs] if isinstance(inputs, Tensor) else [v for v in inputs.values() if isinstance(v, Tensor)]
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(*tensors)
        kinds = {tensor.device.type for tensor in tensors} | {"cpu"}
        self.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in sorted(kinds)]

    def autocast(self) -> ExitStack:
        """The autocast settings, without its cache of weights: older torch gives no gradient through one filled
        without."""
        stack = ExitStack()
        for kind, enabled, dtype in self.casts:
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False))
        return stack

    def restored(self) -> ExitStack:
        """A context with these states in force; the present ones come back behind it."""
        stack = self.autocast()
        stack.enter_context(torch.random.fork_rng(devices=self.devices))
        torch.set_rng_state(self.cpu)
        set_device_states(self.devices, self.states)
        return stack


class _Chunk:
    """One piece of a column, cut again when it is needed, and the surroundings of its first pass."""

    def __init__(self, cut: Cut, column: Any, start: int, stop: int, state: _Surroundings):
        self.cut, self.start, self.stop, self.state = cut, start, stop, state
        # modules may write into the mapping they are given, or replace its entries
        self.column = dict(column) if isinstance(column, Mapping) else column

    def encoded(self, encode: Callable[[Any], Tensor]) -> Tensor:
        with self.state.restored():
            return encode(self.cut(self.column, self.start, self.stop))


class _Replay:
    """The second pass: every chunk is encoded with gradients, and its cached gradient goes through the encoder."""

    def __init__(
        self, encode: Callable[[Any], Tensor], chunks: list[_Chunk], pieces: list[Tensor], model: nn.Module | None
    ):
        self.encode, self.chunks, self.pieces = encode, chunks, pieces
        self.quiet: Callable[[], Any] = getattr(model, "no_sync", nullcontext)

    def __call__(self, incoming: Tensor) -> None:
        last = len(self.chunks) - 1
        trained: _Chunk | None = None
        told = False
        with torch.enable_grad():
            for index, (chunk, piece) in enumerate(zip(self.chunks, self.pieces, strict=True)):
                # the forward pass too must stand inside: it decides whether the backward pass synchronises
                with nullcontext() if index == last else self.quiet():
                    features = chunk.encoded(self.encode)
                    if features.requires_grad:
                        features.backward((piece * incoming).to(features.dtype))
                        trained, told = chunk, index == last
            if trained is not None and not told:  # the last column is frozen, so nobody has synchronised yet
                features = trained.encoded(self.encode)
                features.backward(torch.zeros_like(features))


class _Deferred(torch.autograd.Function):
    """A loss value whose backward pass replays the encoder and hands the chain's own parameters their gradients."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, replay: _Replay, gradients: tuple[Tensor | None, ...], hook: Tensor, *own: Tensor
    ) -> Tensor:
        ctx.replay, ctx.gradients = replay, gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Any) -> Any:
        (scale,) = incoming
        ctx.replay(scale)
        return None, None, None, None, *(None if g is None else g * scale for g in ctx.gradients)
