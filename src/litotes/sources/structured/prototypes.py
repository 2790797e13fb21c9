"""Prototypes: clusters of one view, and what they look like in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litotes.search.clusters import kmeans
from litotes.spelling import spell


@dataclass(frozen=True)
class Prototypes:
    """k-means over features of an episode, as targets that group what no pair says belongs together.

    Args:
        k: clusters, >= 2. iters: rounds of Lloyd's algorithm, >= 1. restarts: starts, >= 1. seed: of the starts.
    Raises:
        ValueError: an argument is out of range.
    Source: ProtoCLIP (arXiv:2206.10996), section 3.2; back translation section 3.3.
    """

    k: int
    iters: int = 20
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("k", 2), ("iters", 1), ("restarts", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"Prototypes: {name} must be a whole number >= {least}, got {value!r}")

    def fit(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Labels int64 [M] and centroids float32 [k, D] of features [M, D], on their device, without gradient.

        Centroids are means and are not scaled to length 1: a wide cluster has a short one.

        Raises:
            ValueError: fewer features than clusters. BadInput: NaN or infinity in them.
        """
        labels, centroids = kmeans(features.detach(), self.k, iters=self.iters, restarts=self.restarts, seed=self.seed)
        return torch.from_numpy(labels.astype(np.int64)).to(features.device), torch.from_numpy(centroids).to(
            features.device
        )

    def back_translate(self, labels: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The clusters of one view in the space of another: means of features with a label, and how many there are.

        In:   labels int64 [M] in 0 .. k - 1; features [M, D] of the same samples in the other view.
        Out:  float32 [k, D], zero where no sample has the label; counts int64 [k]. No gradient.
        Raises:
            ValueError: the two differ in length.
        """
        if len(labels) != len(features):
            raise ValueError(f"Prototypes: {len(labels)} labels, but {len(features)} features")
        features = features.detach().float()
        counts = torch.bincount(labels, minlength=self.k)
        sums = features.new_zeros(self.k, features.shape[1]).index_add_(0, labels, features)
        return sums / counts.clamp(min=1)[:, None], counts

    def __str__(self) -> str:
        return spell(self)
