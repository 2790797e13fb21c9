"""Learner: one of several models in training, with an optimiser and a learning rate that follow its own steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Learner:
    """A module, its optimiser, linear warm-up and decay over its own steps, and clipping of its gradients.

        rate at own step k of n = base rate * min(k / warm, (n - k) / (n - warm)),    warm = ceil(warmup n)

    which is 1 everywhere with steps=None. The rate is computed from k, so nothing but the count is kept.

    Args:
        module: what is trained; parameters that ask for no gradient now never get one.
        optimiser: over parameters of the module; its learning rates are the base rates.
        steps: n, the steps this learner will take in all, >= 1; None = a constant rate.
        warmup: share of the steps in [0, 1).
        clip: largest norm of the gradient, > 0; None = as it is.
    Raises:
        ValueError: an argument is out of range, or the module has nothing to train.
    """

    def __init__(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        steps: int | None = None,
        warmup: float = 0.0,
        clip: float | None = None,
    ):
        if steps is not None and not (isinstance(steps, int) and steps >= 1):
            raise ValueError(f"Learner: steps must be a whole number >= 1 or None, got {steps!r}")
        if not 0 <= warmup < 1:
            raise ValueError(f"Learner: warmup must be in [0, 1), got {warmup!r}")
        if clip is not None and not clip > 0:
            raise ValueError(f"Learner: clip must be > 0 or None, got {clip!r}")
        self.module, self.optimiser = module, optimiser
        self.steps, self.warmup, self.clip = steps, float(warmup), clip
        self.taken = 0
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("Learner: the module has no parameter that asks for a gradient")
        self._rates = [group["lr"] for group in optimiser.param_groups]

    @property
    def device(self) -> torch.device:
        """Where the first trained parameter lies."""
        return self.parameters[0].device

    def gradients(self, cost: Tensor, *, again: bool = False) -> list[Tensor | None]:
        """Gradient of a scalar for each parameter, None where it has no part; no other module gets one.

        Args:
            again: another learner's gradient is asked of the same graph afterwards.
        """
        return list(torch.autograd.grad(cost, self.parameters, retain_graph=again, allow_unused=True))

    def update(self, gradients: list[Tensor | None]) -> None:
        """One step of the optimiser with these gradients, clipped together, at the rate of this step."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        share = self._share()
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.taken += 1

    def _share(self) -> float:
        if self.steps is None:
            return 1.0
        warm = -int(-self.warmup * self.steps // 1)
        rising = self.taken / warm if warm else 1.0
        return max(min(rising, (self.steps - self.taken) / (self.steps - warm)), 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and own steps."""
        return {"module": self.module.state_dict(), "optimiser": self.optimiser.state_dict(), "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.taken = int(state["taken"])


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Modules at rest: eval mode and no gradient inside; each submodule gets its own mode back."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def added(totals: list[Tensor | None] | None, more: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Two lists of gradients, added up; None is 0."""
    more = list(more)
    if totals is None:
        return more
    return [b if a is None else a if b is None else a + b for a, b in zip(totals, more, strict=True)]
