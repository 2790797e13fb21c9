"""Temperatures: a number, a learned one, or one that follows training. Calling gives T, which divides scores."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment
from litotes.spelling import spell


class LearnedTemperature(nn.Module):
    """A temperature that is trained with the model, held between 1 / max_scale and 1 / min_scale.

        T = exp(-clamp(s, log min_scale, log max_scale)),    s = log(1 / T) is the parameter

    At a bound the gradient that points outwards is cut and the one that points back passes: a plain clamp would hold
    the parameter there for good.

    Out:  0-d tensor > 0, dtype of the parameter.

    Args:
        init: temperature at the start, > 0 and finite.
        min_scale: lowest 1 / T, > 0; None = no bound.
        max_scale: highest 1 / T, > 0; None = no bound.
    Raises:
        ValueError: an argument is out of range, or 1 / init is outside the bounds.
    Source: Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020), section 2.5.
    """

    def __init__(self, init: float = 0.07, min_scale: float | None = None, max_scale: float | None = 100.0):
        super().__init__()
        self.init = _positive(init, "LearnedTemperature", "init")
        self.min_scale = None if min_scale is None else _positive(min_scale, "LearnedTemperature", "min_scale")
        self.max_scale = None if max_scale is None else _positive(max_scale, "LearnedTemperature", "max_scale")
        low, high = self.min_scale or 0.0, self.max_scale or math.inf
        if not low * (1 - 1e-9) <= 1 / self.init <= high * (1 + 1e-9):
            raise ValueError(f"LearnedTemperature: 1 / init must be in [{low!r}, {high!r}], got init={init!r}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(self.init)))

    def forward(self, now: Moment | None = None) -> Tensor:
        low = -math.inf if self.min_scale is None else math.log(self.min_scale)
        high = math.inf if self.max_scale is None else math.log(self.max_scale)
        bounded: Tensor = _Bounded.apply(self.log_scale, low, high)
        return torch.exp(-bounded)

    def __str__(self) -> str:
        return spell(self)


class ScheduledTemperature(nn.Module):
    """A temperature that goes from `start` to `end` with the progress of training, x in [0, 1].

        linear     start + (end - start) x
        geometric  start (end / start)^x
        cosine     end + (start - end) (1 + cos(pi x)) / 2

    Out:  float > 0.

    Args:
        start, end: > 0 and finite.
        shape: "linear", "geometric" or "cosine".
    Raises:
        ValueError: an argument is out of range, or the call does not say where training stands.
    """

    def __init__(self, start: float, end: float, shape: Literal["linear", "geometric", "cosine"] = "cosine"):
        super().__init__()
        self.start = _positive(start, "ScheduledTemperature", "start")
        self.end = _positive(end, "ScheduledTemperature", "end")
        if shape not in ("linear", "geometric", "cosine"):
            raise ValueError(f"ScheduledTemperature: shape must be 'linear', 'geometric' or 'cosine', got {shape!r}")
        self.shape = shape

    def forward(self, now: Moment | None = None) -> float:
        if now is None:
            raise ValueError("ScheduledTemperature: needs to know where training stands: pass now=Moment(...)")
        x = min(max(now.progress, 0.0), 1.0)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * x
        if self.shape == "geometric":
            return float(self.start * (self.end / self.start) ** x)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * x)) / 2

    def __str__(self) -> str:
        return spell(self)


Temperature = float | LearnedTemperature | ScheduledTemperature


def checked_temperature(temperature: Any, part: str) -> Any:
    """A float > 0, or the module as it is.

    Raises:
        ValueError: a number that is not > 0 and finite; `part` is named.
    """
    return temperature if isinstance(temperature, nn.Module) else _positive(temperature, part, "temperature")


def temperature_at(temperature: Any, now: Moment | None) -> float | Tensor:
    """The value of a temperature, whatever its kind."""
    return temperature(now) if isinstance(temperature, nn.Module) else temperature


class _Bounded(torch.autograd.Function):
    """clamp(x, low, high) whose gradient is cut only where a descent step would lead further out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        outwards = ((x >= ctx.high) & (gradient < 0)) | ((x <= ctx.low) & (gradient > 0))
        return gradient.masked_fill(outwards, 0), None, None


def _positive(value: float, part: str, name: str) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{part}: {name} must be > 0 and finite, got {value!r}")
    return float(value)
