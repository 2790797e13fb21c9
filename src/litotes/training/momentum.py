"""MomentumEncoder: a slow copy of a model, whose features stay comparable over many steps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from litotes.ops import ema_


class MomentumEncoder(nn.Module):
    """A copy of `model` that follows it: after `update()` each parameter is  momentum * old + (1 - momentum) * model's.

    Calls go to the copy, without gradient, in evaluation mode unless `train_mode` (batch norm then uses the batch's own
    statistics, as MoCo's). Buffers (running statistics) are copied as they are. The model itself is not kept in this
    module: its parameters appear once, in whoever owns it.

    Args:
        model: what is followed; it must keep its parameters' names and shapes.
        momentum: share of the old that is kept, in [0, 1). 0 = an exact copy after every update.
        train_mode: run the copy in training mode.
    Raises:
        ValueError: momentum is out of range.
    Source: MoCo (arXiv:1911.05722), equation 2.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.999, train_mode: bool = False):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"MomentumEncoder: momentum must be in [0, 1), got {momentum!r}")
        self.momentum, self.train_mode = momentum, train_mode
        self.copy = copy.deepcopy(model).requires_grad_(False)
        self._followed = [model]  # in a list: a submodule would put its parameters into ours

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model one step; call it before the step's features are computed, or after the optimiser's."""
        ema_(self.copy, self._followed[0], self.momentum)

    def train(self, mode: bool = True) -> MomentumEncoder:
        """The copy's own mode does not change with that of the model around it."""
        super().train(mode)
        self.copy.train(self.train_mode)
        return self

    @torch.no_grad()
    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the copy gives."""
        self.copy.train(self.train_mode)
        return self.copy(*inputs, **named)
