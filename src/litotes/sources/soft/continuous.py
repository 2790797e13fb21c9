"""ContinuousWeight: how alike two anchors are, as the target of each with the other's candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import unit
from litotes.spelling import spell


class ContinuousWeight(nn.Module):
    """Write `pairs["target"]` from the similarities inside the frozen modality, which is the anchors':

        t_ij = ((cos(p_i, p_j) + 1) / 2) ^ sharpen,  0 where that is below `floor`

    p_j is what the row that brought column j has on the frozen side. Signs and weights stay hard, so that the other
    direction and the vetters work as ever; `SoftTargetInfoNCE` divides by the row's sum. Of encoders whose cosines are
    all high the raw target is nearly even: look at its spread, and sharpen.

    In:   SignedBatch with `anchors` [B, D] and `columns["of"]`, `columns["role"]` (`from_pairs`); or with the frozen
          features elsewhere, `rows["guide"]` [B, D'] and `columns["guide"]` [C, D'].
    Out:  the batch with `pairs["target"]` [B, C + M] in [0, 1], float32, without gradient; 0 for columns whose frozen
          side is not known (mined negatives without a guide, own columns).
    Cost: one product [B, C].

    Args:
        sharpen: exponent, >= 1. floor: in [0, 1), before the exponent.
    Raises:
        ValueError: an argument is out of range, or the batch has no features to form targets from.
    Source: CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss (arXiv:2309.14580), equation 4;
        sharpen and floor ours.
    """

    stage = "source"
    needs = ("features",)
    gives = ("target",)

    def __init__(self, sharpen: float = 1.0, floor: float = 0.0):
        super().__init__()
        if not 1 <= sharpen < float("inf"):
            raise ValueError(f"ContinuousWeight: sharpen must be >= 1 and finite, got {sharpen!r}")
        if not 0 <= floor < 1:
            raise ValueError(f"ContinuousWeight: floor must be in [0, 1), got {floor!r}")
        self.sharpen, self.floor = sharpen, floor

    @torch.no_grad()
    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the target."""
        rows, columns, known = self._frozen(batch)
        with torch.autocast(rows.device.type, enabled=False):
            alike = ((unit(rows.float()) @ unit(columns.float()).T + 1) / 2).clamp(0, 1)
        target = torch.where(alike >= self.floor, alike, 0) ** self.sharpen
        target = torch.where(known[None, :], target, 0)
        target = torch.cat([target, target.new_zeros(len(target), batch.private)], dim=1)
        return batch.replace(pairs={**batch.pairs, "target": target})

    def _frozen(self, batch: SignedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Frozen features of rows and of shared columns, and which columns have one."""
        if "guide" in batch.rows and "guide" in batch.columns:
            columns = batch.columns["guide"][: batch.shared]
            return batch.rows["guide"], columns, torch.ones_like(columns[:, 0], dtype=torch.bool)
        if batch.anchors is None or "of" not in batch.columns or "role" not in batch.columns:
            raise ValueError(
                'ContinuousWeight: needs anchors with columns["of"] and columns["role"], or a guide in rows and columns'
            )
        of, role = (batch.columns[name][: batch.shared] for name in ("of", "role"))
        return batch.anchors, batch.anchors[of.clamp(min=0)], (of >= 0) & (role > 0)

    def __str__(self) -> str:
        return spell(self)
