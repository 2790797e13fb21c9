"""SharedPairs: the pairs of different classes inside a batch, as negatives that every row has in its field."""

from __future__ import annotations

import torch
from torch import nn

from litotes.batch import Moment, SignedBatch
from litotes.ops import unit
from litotes.spelling import spell


class SharedPairs(nn.Module):
    """Fill `common` with the cosines of all pairs of anchors whose labels differ.

    Class vectors are many and soft negatives, pairs inside a batch few and hard ones; in one denominator they complete
    each other. Every pair (a, b), a < b, y_a != y_b, is a negative of every row, also of rows that are neither a nor b:
    the log-sum of the pairs is formed once, and memory is O(B^2), never O(B^3). The gradient reaches both members.

    In:   SignedBatch with `anchors` [B, D] and `rows["label"]` int64 [B]; -1 = no class, such a row is in no pair.
    Out:  the batch with `common` = (scores, weight) [B (B - 1) / 2]; weight 0 for pairs of one class. What `common`
          held before stays in front. Objectives without a log-sum refuse it.
    Cost: one product [B, B]; no host synchronisation.

    Raises:
        ValueError: anchors or labels are missing.
    Source: Unified Negative Pair Generation toward Well-discriminative Feature Space for Face Recognition
        (arXiv:2203.11593), equation 5; that every row gets every pair is how its released code does it.
    """

    stage = "source"
    needs = ("features", "label")
    gives = ("common",)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with its common negatives."""
        if batch.anchors is None or "label" not in batch.rows:
            raise ValueError('SharedPairs: needs anchors and rows["label"] in the batch')
        label, b = batch.rows["label"], len(batch.anchors)
        x = unit(batch.anchors.to(torch.promote_types(batch.anchors.dtype, torch.float32)))
        with torch.autocast(x.device.type, enabled=False):
            cosines = x @ x.T
        first, second = torch.triu_indices(b, b, offset=1, device=x.device)
        apart = (label[first] != label[second]) & (label[first] >= 0) & (label[second] >= 0)
        scores, weight = cosines[first, second], apart.to(x.dtype)
        if batch.common is not None:
            before = batch.common
            scores, weight = torch.cat([before[0].to(scores), scores]), torch.cat([before[1].to(weight), weight])
        return batch.replace(common=(scores, weight))

    def __str__(self) -> str:
        return spell(self)
