"""Handwritten digits seen twice: shifted, turned, noisy and incomplete views of 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TRAIN = 1300


@dataclass(frozen=True, eq=False)
class Digits:
    """`train`, `test` float32 [N, 8, 8] in [0, 1]; `train_label`, `test_label` int64 [N]; drawn apart by seed."""

    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor


def load_digits(seed: int) -> Digits:
    """The digits that come with scikit-learn, cut by seed."""
    from sklearn.datasets import load_digits as load

    data = load()
    images = torch.tensor(data.images, dtype=torch.float32) / 16
    labels = torch.tensor(data.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    first, rest = order[:TRAIN], order[TRAIN:]
    return Digits(images[first], labels[first], images[rest], labels[rest])


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """One random view of each image [N, 8, 8]: turned by up to 12 degrees, moved by up to a pixel, noise of 0.1, and a
    tenth of the pixels blank."""
    count = len(images)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(12)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) / 4  # a pixel is a quarter of the grid's unit
    turn = torch.stack(
        [
            torch.stack([angle.cos(), -angle.sin(), shift[:, 0]], dim=1),
            torch.stack([angle.sin(), angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(turn, [count, 1, 8, 8], align_corners=False)
    moved = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    noisy = moved + 0.1 * torch.randn(moved.shape, generator=generator)
    return noisy * (torch.rand(moved.shape, generator=generator) > 0.1)


def linear_probe(train: Tensor, train_label: Tensor, test: Tensor, test_label: Tensor) -> float:
    """Accuracy on `test` of a logistic regression on standardised features of `train`; C is fixed."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    model = LogisticRegression(C=1.0, max_iter=300)
    model.fit(((train - mean) / deviation).numpy(), train_label.numpy())
    return float(model.score(((test - mean) / deviation).numpy(), test_label.numpy()))
