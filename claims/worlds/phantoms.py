"""Phantoms: bodies of nine soft organs in a steady layout, warped, textured, noisy, some organs blank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CELL, GRID, DEPTH, BLANK, NOISE = 16, 3, 16, 0.1, 0.2
SIDE = CELL * GRID


@dataclass(frozen=True, eq=False)
class Bodies:
    """`volumes` float32 [N, 1, 48, 48, 16]; `centres` [N, 9, 2]: where each organ's middle lies after the warp."""

    volumes: Tensor
    centres: Tensor


def make_bodies(count: int, random: torch.Generator) -> Bodies:
    """Organ k is an ellipsoid near the middle of cell k with a texture of its own (a wave of its own direction and
    length), all of nearly the same mean. A body is scaled, turned, shifted and bent a little."""
    style = torch.Generator().manual_seed(0)  # the anatomy is one and the same for every draw of bodies
    layout = torch.cartesian_prod(*[torch.arange(GRID)] * 2) * CELL + CELL / 2 + 3 * torch.randn(9, 2, generator=style)
    radii = CELL * (0.35 + 0.2 * torch.rand(9, 2, generator=style))
    waves = torch.randn(9, 3, generator=style)
    waves = waves / waves.norm(dim=1, keepdim=True) * (0.5 + 1.2 * torch.rand(9, 1, generator=style))

    angle = 0.15 * torch.randn(count, generator=random)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
    scale = 1 + 0.06 * torch.randn(count, 1, 1, generator=random)
    bend = 1.2 * torch.randn(count, 9, 2, generator=random)
    shift = 1.5 * torch.randn(count, 1, 2, generator=random)
    middle = SIDE / 2
    centres = ((layout - middle)[None] @ turn.mT) * scale + middle + shift + bend

    x, y, z = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), torch.arange(DEPTH), indexing="ij")
    volumes = torch.zeros(count, SIDE, SIDE, DEPTH)
    for organ in range(9):
        dx = x[None] - centres[:, organ, 0].view(-1, 1, 1, 1)
        dy = y[None] - centres[:, organ, 1].view(-1, 1, 1, 1)
        dz = (z - DEPTH / 2)[None]
        reach = (dx / radii[organ, 0]) ** 2 + (dy / radii[organ, 1]) ** 2 + (dz / 7) ** 2
        phase = 6.3 * torch.rand(count, 1, 1, 1, generator=random)
        texture = 0.5 + 0.3 * (waves[organ, 0] * dx + waves[organ, 1] * dy + waves[organ, 2] * dz + phase).sin()
        there = (torch.rand(count, 1, 1, 1, generator=random) >= BLANK).float()
        volumes += there * texture * torch.sigmoid(6 * (1 - reach))
    volumes += NOISE * torch.randn(volumes.shape, generator=random)
    return Bodies(volumes[:, None], centres)


def augmented(crops: Tensor, random: torch.Generator) -> Tensor:
    """Crops [n, 1, s, s, s], each on its own: flips (0.2 per axis), a quarter turn (0.2), a shift of level (0.5)."""
    made = crops
    for axis in (2, 3, 4):
        made = torch.where(_some(len(made), 0.2, random), made.flip(axis), made)
    made = torch.where(_some(len(made), 0.2, random), made.rot90(1, (2, 3)), made)
    shift = 0.1 * (2 * torch.rand(len(made), 1, 1, 1, 1, generator=random) - 1)
    return made + torch.where(_some(len(made), 0.5, random), shift, 0.0)


def around(volumes: Tensor, centres: Tensor) -> Tensor:
    """The crop around each place: [N, 1, 48, 48, 16], [N, n, 2] -> [N, n, 1, 16, 16, 16]; zeros beyond the edge."""
    half = CELL // 2
    padded = F.pad(volumes, (0, 0, half, half, half, half))
    corners = centres.round().long().clamp(0, SIDE - 1).tolist()
    return torch.stack(
        [
            torch.stack([volume[:, i : i + CELL, j : j + CELL] for i, j in places])
            for volume, places in zip(padded, corners, strict=True)
        ]
    )


def _some(count: int, share: float, random: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, 1, generator=random) < share
