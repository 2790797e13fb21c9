"""PairMemory: what each pair has cost so far says which positive pairs are noise, and which are broken."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.spelling import spell


class PairReport(NamedTuple):
    """Of an epoch: mean and standard deviation of the pairs' mean losses, and how many lie beyond each line."""

    mean: float
    deviation: float
    noisy: int
    faulty: int


class PairMemory(nn.Module):
    """A weigher that believes a positive pair less whose mean loss has been unusually small or large.

    Two views that share their noise are alike for no reason: their loss is unusually *small*, and the model learns
    noise. Views whose augmentation destroyed what they showed cost much for ever. With m_i the mean loss of pair i over
    the epochs so far, and mu and sigma their mean and (population) deviation,

        noisy   m_i <= mu - noisy_at sigma          faulty   m_i >= mu + faulty_at sigma
        belief of a flagged pair in this step       f(L_i) = exp(-(L_i - mu)^2 / (2 sigma^2)) ["bounded"],
                                                    min(1, f / (sigma sqrt(2 pi))) ["pdf"], or 0 ["drop"]

    All others have 1. Flags change in `start_epoch` only. It goes into `Reweighted(InfoNCE(0.2), memory,
    average="count")`: the mean must be over all pairs, or a smaller belief in all would change nothing.

    In:   called as a weigher: cost [B], a batch with `rows["id"]` int64 [B] in 0 .. pairs - 1, which of the pairs a row
          is of; the rows of one pair (two views) are averaged first.
    Out:  belief [B] in [0, 1], without gradient.
    State: sum, count and flag of every pair, as buffers: a checkpoint holds them. `record(index, loss)` is explicit and
          belongs behind the step, with raw losses; `start_epoch(e)` sets the flags from epoch `warm` on.

    Args:
        pairs: how many there are, >= 1. warm: epochs before the first flags, >= 1.
        noisy_at, faulty_at: lines in deviations, > 0; inf = that side is not flagged.
        transform: "pdf" (the paper's; its density is above 1 where sigma < 0.4, cut there), "bounded" or "drop".
    Raises:
        ValueError: an argument is out of range, an index is unknown, or a loss that is recorded is no number.
    Source: Towards Enhancing Time Series Contrastive Learning: A Dynamic Bad Pair Mining Approach (ICLR 2024),
        equations 5 to 8, with the plain mean of its text (the released code weighs epochs); the bound is ours.
    """

    total: Tensor
    count: Tensor
    flag: Tensor
    mean: Tensor
    deviation: Tensor

    stage = "weigher"
    needs = ("scores",)

    def __init__(
        self,
        pairs: int,
        warm: int = 50,
        noisy_at: float = 2.0,
        faulty_at: float = 3.0,
        transform: Literal["pdf", "bounded", "drop"] = "pdf",
    ):
        super().__init__()
        for name, value in (("pairs", pairs), ("warm", warm)):
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"PairMemory: {name} must be a whole number >= 1, got {value!r}")
        for name, line in (("noisy_at", noisy_at), ("faulty_at", faulty_at)):
            if not line > 0:
                raise ValueError(f"PairMemory: {name} must be > 0, got {line!r}")
        if transform not in ("pdf", "bounded", "drop"):
            raise ValueError(f"PairMemory: transform must be 'pdf', 'bounded' or 'drop', got {transform!r}")
        self.pairs, self.warm, self.noisy_at, self.faulty_at = pairs, warm, noisy_at, faulty_at
        self.transform = transform
        self.register_buffer("total", torch.zeros(pairs, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("flag", torch.zeros(pairs, dtype=torch.int8))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("deviation", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def record(self, index: Tensor, loss: Tensor) -> None:
        """Add the raw losses [n] of the pairs `index` int64 [n]; a pair that comes twice is recorded twice.

        Raises:
            ValueError: an index is not one of the pairs, or a loss is NaN or infinite; the pair is named.
        """
        if index.shape != loss.shape or index.ndim != 1:
            raise ValueError(f"PairMemory: index and loss must be [n], got {list(index.shape)}, {list(loss.shape)}")
        bad = ~loss.isfinite() | (index < 0) | (index >= self.pairs)
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            found = f"a loss of {float(loss[at])} for pair {int(index[at])}"
            raise ValueError(f"PairMemory: found {found}, expected finite losses of pairs 0 to {self.pairs - 1}")
        self.total.index_add_(0, index, loss.to(self.total))
        self.count.index_add_(0, index, torch.ones_like(index))

    @torch.no_grad()
    def start_epoch(self, epoch: int) -> PairReport:
        """Set the flags for this epoch from all losses so far. On several processes sum `total` and `count` before."""
        seen = self.count > 0
        means = self.total[seen] / self.count[seen]
        self.flag.zero_()
        if epoch >= self.warm and len(means) and means.std(correction=0) > 0:
            self.mean.copy_(means.mean())
            self.deviation.copy_(means.std(correction=0))
            mine = torch.where(seen, self.total / self.count.clamp(min=1), self.mean)
            low, high = (self._line(-self.noisy_at), self._line(self.faulty_at))
            self.flag.copy_(torch.where(seen & (mine >= high), 1, torch.where(seen & (mine <= low), -1, 0)))
        return PairReport(
            float(self.mean), float(self.deviation), int((self.flag < 0).sum()), int((self.flag > 0).sum())
        )

    @torch.no_grad()
    def belief(self, index: Tensor, loss: Tensor) -> Tensor:
        """Belief [n] in [0, 1] of the pairs `index` at their present loss [n]; dtype and device are the loss's."""
        flagged = self.flag[index] != 0
        if self.transform == "drop":
            return (~flagged).to(loss.dtype)
        deviation = torch.where(self.deviation > 0, self.deviation, 1)
        density = torch.exp(-(((loss.to(torch.float64) - self.mean) / deviation) ** 2) / 2)
        if self.transform == "pdf":
            density = (density / (deviation * math.sqrt(2 * math.pi))).clamp(max=1)
        return torch.where(flagged, density, 1).to(loss.dtype)

    def forward(self, cost: Tensor, batch: SignedBatch, now: Moment | None = None) -> Tensor:
        """The weigher: belief of every row, by the mean cost of its pair's rows."""
        if "id" not in batch.rows:
            raise ValueError('PairMemory: needs rows["id"] in the batch')
        return self.belief(batch.rows["id"], self.pair_means(cost, batch.rows["id"]))

    def pair_means(self, cost: Tensor, index: Tensor) -> Tensor:
        """For every row the mean cost of the rows of its pair: [B]. Recording wants each pair once."""
        same = (index[:, None] == index[None, :]).to(cost.dtype)
        return (same @ cost) / same.sum(dim=1)

    def _line(self, deviations: float) -> Tensor:
        return self.mean + deviations * self.deviation

    def __str__(self) -> str:
        return spell(self)
