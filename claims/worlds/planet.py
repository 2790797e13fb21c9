"""A planet: places whose look changes smoothly, seen in two views with noise that is drawn anew each time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

VIEW, LATENT = 64, 32


@dataclass(frozen=True, eq=False)
class Planet:
    """`places` float32 [N, 2] in the unit square; `clean` [2, N, 64]: both views without noise."""

    places: Tensor
    clean: Tensor
    noise: float

    def seen(self, view: int, rows: Tensor, generator: torch.Generator) -> Tensor:
        """A view of some places, with fresh noise: [n, 64]."""
        clean = self.clean[view, rows]
        return clean + self.noise * torch.randn(clean.shape, generator=generator)


def make_planet(places: int, seed: int, noise: float = 0.3) -> Planet:
    """Looks are tanh of two linear maps of a random Fourier field of three length scales: 0.3, 0.1 and 0.03."""
    random = torch.Generator().manual_seed(seed)
    where = torch.rand(places, 2, generator=random)
    scales, waves = torch.tensor([0.3, 0.1, 0.03]), 64
    field = torch.zeros(places, LATENT)
    for scale in scales:
        frequency = torch.randn(2, waves, generator=random) / scale
        phase = 2 * math.pi * torch.rand(waves, generator=random)
        mix = torch.randn(waves, LATENT, generator=random)
        field += (where @ frequency + phase).cos() @ mix * math.sqrt(2 / waves / len(scales))
    views = torch.randn(2, LATENT, VIEW, generator=random) / math.sqrt(LATENT)
    return Planet(where, (field @ views).tanh(), noise)
