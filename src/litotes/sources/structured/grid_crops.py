"""GridCrops: where a crop lies in its volume, as soft targets over a grid of base crops."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, soft_signs
from litotes.spelling import spell


class Crops(NamedTuple):
    """`crops` [n, C, ...] at `centres` int64 [n, d], `bases` [K, C, ...] in the order of the cells, `labels` [n, K]."""

    crops: Tensor
    bases: Tensor
    labels: Tensor
    centres: Tensor


class GridCrops(nn.Module):
    """Organs lie in consistent places, so which cells of a grid a crop overlaps, and how far, is a free label.

        target = volume of (crop and cell) / volume of a crop;   sign +1 where it is > 0, else -1

    `cut` makes the crops of a volume: all cells of the grid, and crops of the same size at random places, with targets.
    As a source it writes targets and signs into a batch of crops (rows) against cells (columns), for
    `Chain(GridCrops(), ClippedCosine(), Voco())`. A pair of two volumes has sign 0.

    In:   SignedBatch with `rows["centre"]` [B, d] and `columns["cell"]` int64 [C] in 0 .. K - 1; with several volumes
          `rows["volume"]` and `columns["volume"]`, too.
    Out:  the batch with `pairs["target"]` [B, C] in [0, 1], its signs, and weights of 1 where it wrote signs.
    Cost: O(B C d).

    Args:
        cell: edge of a cell and of a crop, even, >= 2. grid: cells along each cut axis (one to three of them); cell
            (i, j) is number i * grid[1] + j and covers i * cell .. (i + 1) * cell of the first axis. Axes of the volume
            behind them are not cut.
        crops: random crops of a volume, >= 1.
    Raises:
        ValueError: an argument is out of range, or a batch or volume does not fit.
    Source: Large-Scale 3D Medical Image Pre-training with Geometric Context Priors (arXiv:2410.09890), section 3;
        there a grid of 3 by 3 cells of 64. Targets along a third axis are ours.

    Example:
        >>> import torch
        >>> found = GridCrops(cell=4, grid=[3, 3], crops=2).cut(torch.zeros(1, 12, 12, 4))
        >>> found.crops.shape, found.bases.shape, found.labels.sum(dim=1)
        (torch.Size([2, 1, 4, 4, 4]), torch.Size([9, 1, 4, 4, 4]), tensor([1., 1.]))
    """

    stage = "source"
    needs = ("features", "centre", "cell")
    gives = ("target",)

    def __init__(self, cell: int = 64, grid: Sequence[int] = (3, 3), crops: int = 2):
        super().__init__()
        if not (isinstance(cell, int) and cell >= 2 and cell % 2 == 0):
            raise ValueError(f"GridCrops: cell must be an even whole number >= 2, got {cell!r}")
        self.cell, self.grid, self.crops = cell, _grid(grid), crops
        if not (isinstance(crops, int) and crops >= 1):
            raise ValueError(f"GridCrops: crops must be a whole number >= 1, got {crops!r}")

    def cut(self, volume: Tensor, generator: torch.Generator | None = None) -> Crops:
        """The crops of a volume [C, *spatial] whose first spatial axes have grid times cell places each.

        Centres are drawn evenly among whole places in [cell / 2, grid * cell - cell / 2).
        """
        size = tuple(self.cell * g for g in self.grid)
        if tuple(volume.shape[1 : 1 + len(size)]) != size:
            raise ValueError(
                f"GridCrops: volume must be [C, {', '.join(map(str, size))}, ...], got {list(volume.shape)}"
            )
        half = self.cell // 2
        drawn = [torch.randint(half, max(side - half, half + 1), (self.crops,), generator=generator) for side in size]
        centres = torch.stack(drawn, dim=1)
        corners = itertools.product(*(range(0, side, self.cell) for side in size))
        bases = torch.stack([self._crop(volume, corner) for corner in corners])
        crops = torch.stack([self._crop(volume, corner) for corner in (centres - half).tolist()])
        return Crops(crops, bases, overlap_labels(centres, self.cell, self.grid).to(volume.device), centres)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with targets and signs."""
        if "centre" not in batch.rows or "cell" not in batch.columns:
            raise ValueError('GridCrops: needs rows["centre"] and columns["cell"] in the batch')
        target = _overlap(batch.rows["centre"], self.cell, self.grid)[:, batch.columns["cell"]]
        sign, _ = soft_signs(target)
        if "volume" in batch.rows and "volume" in batch.columns:
            same = batch.rows["volume"][:, None] == batch.columns["volume"][None, :]
            sign, target = sign.masked_fill(~same, 0), target.masked_fill(~same, 0)
        return batch.replace(sign=sign, weight=torch.ones_like(target), pairs={**batch.pairs, "target": target})

    def _crop(self, volume: Tensor, corner: Sequence[int]) -> Tensor:
        return volume[(slice(None), *(slice(low, low + self.cell) for low in corner))]

    def __str__(self) -> str:
        return spell(self)


def overlap_labels(centres: Tensor, cell: int, grid: Sequence[int]) -> Tensor:
    """Share of a crop of edge `cell` around each centre that each cell of the grid covers: float32 [n, K].

    Cells in row-major order. The rows of centres in [cell / 2, grid * cell - cell / 2] sum to 1; of others a warning
    says so.

    In:   centres [n, d], d = len(grid), 1 to 3.
    Raises:
        ValueError: shapes do not fit.
    """
    found = _overlap(centres, cell, _grid(grid))
    off = ((found.sum(dim=1) - 1).abs() > 1e-4).sum()
    if off:
        warnings.warn(f"overlap_labels: {int(off)} of {len(found)} crops reach out of the grid", stacklevel=2)
    return found


def _overlap(centres: Tensor, cell: int, grid: Sequence[int]) -> Tensor:
    if centres.ndim != 2 or centres.shape[1] != len(grid):
        raise ValueError(f"overlap_labels: centres must be [n, {len(grid)}], got {list(centres.shape)}")
    found = centres.new_ones((len(centres), 1), dtype=torch.float32)
    for axis, cells in enumerate(grid):
        middle = (torch.arange(cells, device=centres.device) + 0.5) * cell
        along = (1 - (centres[:, axis, None].float() - middle[None, :]).abs() / cell).clamp(min=0)
        found = (found[:, :, None] * along[:, None, :]).flatten(1)
    return found


def _grid(grid: Sequence[int]) -> tuple[int, ...]:
    made = tuple(grid)
    if not 1 <= len(made) <= 3 or not all(isinstance(g, int) and g >= 1 for g in made):
        raise ValueError(f"GridCrops: grid must be one to three whole numbers >= 1, got {grid!r}")
    return made
