"""NormRatio: of two samples of one content the more complete one gets the longer vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective


class NormRatio(Objective):
    """Teach the length of a vector to say how much of an original is left in a sample; the angle is left alone.

        L = mean over contents of  exp(1 - |f_b| / |f_s|),      b, s two samples of it, b with the larger scale

    It is 1 at equal lengths, less where b is longer, and below e where the order is wrong. Only samples of one content
    are compared. The gradient is radial: a step along it changes lengths, not directions. It has no end, so something
    must hold the lengths (batch norm before it, weight decay, or ratio_cap).

    In:   SignedBatch with `anchors` [B, D], not normalised; `rows["label"]` int64 [B], which content (-1 = none);
          `rows["scale"]` float [B] in (0, 1], share of the original that is left (larger = more). Pairs "random" needs
          a generator.
    Out:  scalar; 0, with a graph, if no content has two samples of different scale.
    Cost: O(B^2); no host synchronisation.

    Args:
        pairs: "random": of each content one pair, drawn evenly; "all": the mean over all its pairs.
        ratio_cap: ratios above it push no further, > 0; None = no cap.
    Raises:
        ValueError: an argument is out of range, or the batch lacks what is read.
    Source: A Benchmark and Asymmetrical-Similarity Learning for Practical Image Copy Detection (arXiv:2205.12358),
        equation 3 and the released training step; "all" and the cap ours.
    """

    needs = ("features", "label", "scale")

    def __init__(self, pairs: Literal["random", "all"] = "random", ratio_cap: float | None = None):
        super().__init__()
        if pairs not in ("random", "all"):
            raise ValueError(f"NormRatio: pairs must be 'random' or 'all', got {pairs!r}")
        if ratio_cap is not None and not 0 < ratio_cap < float("inf"):
            raise ValueError(f"NormRatio: ratio_cap must be > 0 and finite or None, got {ratio_cap!r}")
        self.pairs, self.ratio_cap = pairs, ratio_cap

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        if batch.anchors is None or "label" not in batch.rows or "scale" not in batch.rows:
            raise ValueError('NormRatio: needs anchors, rows["label"] and rows["scale"] in the batch')
        label, scale = batch.rows["label"], batch.rows["scale"]
        dtype = torch.promote_types(batch.anchors.dtype, torch.float32)
        length = batch.anchors.to(dtype).norm(dim=1).clamp(min=1e-6)
        same = (label[:, None] == label[None, :]) & (label >= 0)[:, None]
        valid = same & (scale[:, None] > scale[None, :])  # row: the more complete one
        ratio = length[:, None] / length[None, :]
        if self.ratio_cap is not None:
            ratio = ratio.clamp(max=self.ratio_cap)
        share = self._share(valid, same, generator).to(dtype)
        total = share.sum()
        cost = torch.exp(1 - torch.where(valid, ratio, 1))
        return (share * cost).sum() / total.masked_fill(total == 0, 1)

    def _share(self, valid: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
        """How much each pair counts, [B, B]: 1 per content that has a pair."""
        if self.pairs == "all":
            count = same.float() @ valid.sum(dim=1).float()  # pairs of a row's content
            return valid / count.clamp(min=1)[:, None]
        if generator is None:
            raise ValueError("NormRatio: pairs='random' draws and needs a generator")
        draw = torch.rand(valid.shape, device=valid.device, generator=generator).masked_fill(~valid, -1)
        best = draw.amax(dim=1)
        of_content = torch.where(same, best[None, :], -1).amax(dim=1)
        return valid & (draw == of_content[:, None])
