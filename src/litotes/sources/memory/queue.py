"""FeatureQueue and FromQueue: candidates of earlier steps as further negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.columns import append_shared
from litotes.spelling import spell

_EMPTY = -1  # id of a place that holds nothing yet, or of a feature pushed without an id


class FeatureQueue(nn.Module):
    """The last `size` features that were pushed, oldest out first, as buffers: a checkpoint holds them.

    Features are pushed after the optimiser's step, never in a forward pass, so that a step that is repeated (gradient
    caching, a second closure) sees the same queue. Where the encoder moves fast, features should come from a
    `MomentumEncoder`: a queue mixes those of many steps.

    Args:
        size: features kept, >= 1. dim: width of a feature, >= 1.
    Raises:
        ValueError: an argument is out of range.
    Source: MoCo, Momentum Contrast for Unsupervised Visual Representation Learning (arXiv:1911.05722), section 3.2.
    """

    stage = "memory"

    features: Tensor
    ids: Tensor
    filled: Tensor
    next: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        for name, value in (("size", size), ("dim", dim)):
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"FeatureQueue: {name} must be a whole number >= 1, got {value!r}")
        self.size, self.dim = size, dim
        self.register_buffer("features", torch.zeros(size, dim))
        self.register_buffer("ids", torch.full((size,), _EMPTY, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor, ids: Tensor | None = None) -> None:
        """Put features in, the oldest go; of more than `size` the last stay.

        In:   features [N, D] of any float dtype and graph (they are detached); ids int64 [N], None = unknown.
        Raises:
            ValueError: a shape does not fit.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"FeatureQueue: features must be [N, {self.dim}], got {list(features.shape)}")
        if ids is not None and ids.shape != features.shape[:1]:
            raise ValueError(f"FeatureQueue: ids must be [{len(features)}], got {list(ids.shape)}")
        count = len(features)
        # the place stays on the device: reading it would wait for everything before
        places = (self.next + torch.arange(count, device=self.next.device)) % self.size
        kept = slice(max(count - self.size, 0), count)
        names = torch.full_like(places, _EMPTY) if ids is None else ids.to(places.device)
        self.features[places[kept]] = features.detach().to(self.features)[kept]
        self.ids[places[kept]] = names[kept]
        self.filled[places[kept]] = True
        self.next.copy_((self.next + count) % self.size)

    def __str__(self) -> str:
        return spell(self)


class FromQueue(nn.Module):
    """Append the features of a queue as shared columns, negatives of every row.

    A feature whose id is that of a row's drawn positive gets sign 0 there: it is a copy of it. Places of the queue that
    are still empty have sign 0 for all rows, so that shapes are the same in every step. No gradient reaches the queue.

    In:   SignedBatch with features; for the silent copies `columns["id"]` int64 and `rows["positive"]`.
    Out:  the batch with `size` more shared columns; `columns["id"]` holds the queue's ids where the batch has ids.
    Cost: O(B size) more pairs; no host synchronisation.

    Args:
        queue: who pushes to it does so after the step, `queue.push(features, ids)`.
    Raises:
        ValueError: the batch has no features, or of another width.
    Source: MoCo (arXiv:1911.05722), algorithm 1.
    """

    stage = "source"
    needs = ("features",)
    gives = ()

    def __init__(self, queue: FeatureQueue):
        super().__init__()
        self.queue = queue

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the queue's columns."""
        if batch.anchors is None or batch.anchors.shape[-1] != self.queue.dim:
            got = None if batch.anchors is None else batch.anchors.shape[-1]
            raise ValueError(f"FromQueue: anchors must have the width of the queue, {self.queue.dim}, got {got}")
        # copies: a push behind this step must not change what its backward pass reads
        features, ids = self.queue.features.clone(), self.queue.ids.clone()
        sign = torch.where(self.queue.filled, -1, 0).to(torch.int8).expand(len(batch.sign), -1)
        known = batch.columns.get("id")
        if known is not None and "positive" in batch.rows:
            drawn = batch.rows["positive"]
            wanted = torch.where(drawn >= 0, known[drawn.clamp(min=0)], _EMPTY)
            copy = (ids[None, :] == wanted[:, None]) & (wanted >= 0)[:, None]
            sign = sign.masked_fill(copy, 0)
        columns = {} if known is None else {"id": ids}
        return append_shared(batch, features, sign, columns=columns, part="FromQueue")

    def __str__(self) -> str:
        return spell(self)
