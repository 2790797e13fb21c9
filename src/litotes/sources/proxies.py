"""Proxies: one trained vector per class as candidates, so that every class is met in every step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.columns import append_shared
from litotes.spelling import spell


class Proxies(nn.Module):
    """Append class vectors as shared columns: that of the row's own class is its positive, all others are negatives.

    `Chain(Proxies(C, D), Cosine(), InfoNCE(T))` on a batch of `from_classes` is the normalised softmax. The vectors are
    stored as they are trained; the scorer normalises. With `subsample` a step meets the classes of its batch and a draw
    of others: the cost no longer grows with the number of classes.

    In:   SignedBatch with `anchors` [B, D] and `rows["label"]` int64 [B], in 0 .. num_classes - 1, -1 = no class (such
          a row meets only negatives). For `subsample` a generator, on the anchors' device.
    Out:  the batch with num_classes (or `subsample`) more columns, `columns["class"]` int64 saying whose they are
          (other columns -1); `rows["positive"]` is the column of the own class where the batch had none.
    Cost: O(B num_classes D); with `subsample` one sort of the labels, no host synchronisation.

    Args:
        num_classes: >= 2. dim: >= 1.
        subsample: classes of a step, >= the number of different labels of a batch (more labels: the rest has no proxy
            and its rows no positive); None = all.
        seed: of the first vectors, drawn evenly on a sphere of radius 1.
    Raises:
        ValueError: an argument is out of range, labels are missing, or `subsample` is asked for without a generator.
    Source: normalised softmax as in NormFace (arXiv:1704.06369); subsampling as in Partial FC (arXiv:2203.15565).
    """

    stage = "source"
    needs = ("features", "label")
    gives = ("class",)

    def __init__(self, num_classes: int, dim: int, subsample: int | None = None, seed: int = 0):
        super().__init__()
        for name, value, least in (("num_classes", num_classes, 2), ("dim", dim, 1)):
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"Proxies: {name} must be a whole number >= {least}, got {value!r}")
        if subsample is not None and not 2 <= subsample <= num_classes:
            raise ValueError(f"Proxies: subsample must be in [2, {num_classes}] or None, got {subsample!r}")
        self.num_classes, self.dim, self.subsample, self.seed = num_classes, dim, subsample, seed
        drawn = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(seed))
        self.vectors = nn.Parameter(drawn / drawn.norm(dim=1, keepdim=True).clamp(min=1e-12))

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the class vectors."""
        if "label" not in batch.rows or batch.anchors is None:
            raise ValueError('Proxies: needs anchors and rows["label"] in the batch')
        label = batch.rows["label"]
        classes = torch.arange(self.num_classes, device=label.device)
        if self.subsample is not None:
            classes = self._drawn(label, generator)
        own = classes[None, :] == label[:, None]
        sign = torch.where(own, 1, -1).to(torch.int8)
        at = batch.shared
        made = append_shared(
            batch.replace(columns={"class": self._none(batch, at), **batch.columns}),
            self.vectors if self.subsample is None else self.vectors[classes],
            sign,
            columns={"class": classes},
            part="Proxies",
        )
        if "positive" in batch.rows:
            return made
        column = torch.where(own.any(dim=1), own.int().argmax(dim=1) + at, -1)
        return made.replace(rows={**made.rows, "positive": column})

    def _none(self, batch: SignedBatch, at: int) -> Tensor:
        return torch.full((at,), -1, dtype=torch.int64, device=batch.sign.device)

    def _drawn(self, label: Tensor, generator: torch.Generator | None) -> Tensor:
        """`subsample` classes, in order: those of the batch first, then drawn evenly."""
        assert self.subsample is not None
        if generator is None:
            raise ValueError("Proxies: subsample draws classes and needs a generator")
        draw = torch.rand(self.num_classes, device=label.device, generator=generator)
        there = torch.zeros(self.num_classes + 1, dtype=torch.bool, device=label.device)
        there[torch.where(label < 0, self.num_classes, label)] = True  # the last place is for rows without a class
        return draw.masked_fill(there[:-1], -1).argsort()[: self.subsample].sort().values

    def __str__(self) -> str:
        return spell(self)
