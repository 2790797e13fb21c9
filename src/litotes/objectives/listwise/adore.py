"""Adore: in a ranked list, push each pair as hard as a swap of the two would move the metric."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective
from litotes.objectives.pairwise.logistic import PairwiseLogistic
from litotes.objectives.temperature import Temperature
from litotes.ops import pair_gaps


class Adore(Objective):
    """Pairwise logistic loss over a ranked list, each pair emphasised by what a swap would do to the metric.

        L_i = mean over pairs (p, n) of |g_p - g_n| log(1 + exp(-(s_p - s_n) / temperature))

    g is what the metric gives to a rank r = 1, 2, ...; behind `metric_cut` it is 0:

        rr      1 / r
        ndcg    1 / log2(1 + r), divided by the best sum of them that the positives of the list could reach
        none    no emphasis: every pair counts 1

    A negative far down the list hardly matters, one above the positive matters much; both ends behind the cut cost
    nothing. It is LambdaRank for binary relevance, and with "rr" what ADORE trains a query encoder with.

    In:   SignedBatch whose columns stand in rank order: column j of a row has rank j + 1, whatever it holds, as
          `from_groups` and `training.retriever.current_top.ranked_batch` make it. `scores`, `sign`, `weight` [B, C];
          weight 0 takes a pair out of sum and divisor, and leaves the ranks of the others.
    Out:  scalar >= 0, the mean over the anchors that have a pair; 0 with gradient 0 without one. No gradient through
          ranks and g.
    Cost: O(B P C), P = most positives of a row; two host synchronisations to read P.

    Args:
        metric: "rr", "ndcg" or "none".
        metric_cut: ranks that count, >= 1; None = all of them.
        temperature: divides the gaps, as in `PairwiseLogistic`; the sigma of LambdaRank is its inverse.
    Raises:
        ValueError: an argument is out of range, the batch has no scores, or it has common negatives.
    Source: Optimizing Dense Retrieval Model Training with Hard Negatives (arXiv:2104.08051), section 5; released code
        for the mean over pairs and the cut. There no cut at all makes every weight 0; here None cuts nothing.
    """

    citation = """@inproceedings{zhan2021optimizing,
    title = {Optimizing Dense Retrieval Model Training with Hard Negatives},
    author = {Zhan, Jingtao and Mao, Jiaxin and Liu, Yiqun and Guo, Jiafeng and Zhang, Min and Ma, Shaoping},
    booktitle = {SIGIR},
    year = {2021}
}"""

    def __init__(
        self,
        metric: Literal["rr", "ndcg", "none"] = "rr",
        metric_cut: int | None = 200,
        temperature: Temperature = 1.0,
    ):
        super().__init__()
        if metric not in ("rr", "ndcg", "none"):
            raise ValueError(f"Adore: metric must be 'rr', 'ndcg' or 'none', got {metric!r}")
        if metric_cut is not None and not (isinstance(metric_cut, int) and metric_cut >= 1):
            raise ValueError(f"Adore: metric_cut must be an integer >= 1 or None, got {metric_cut!r}")
        self.metric = metric
        self.metric_cut = metric_cut
        emphasis = None if metric == "none" else SwapGain(metric, metric_cut)
        self.pairwise = PairwiseLogistic(emphasis, "anchor", temperature)

    @property
    def temperature(self) -> Temperature:
        """What divides the gaps."""
        return self.pairwise.temperature

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        loss: Tensor = self.pairwise(batch, now=now)
        return loss

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], the mean over an anchor's pairs, and the sum of their weights [B], 0 = no pair."""
        return self.pairwise.per_anchor(batch, now=now)


class SwapGain(torch.nn.Module):
    """|g_p - g_n| of every pair of a batch in rank order: [B, P, C], without gradient. Arguments as in `Adore`."""

    def __init__(self, metric: Literal["rr", "ndcg"], metric_cut: int | None):
        super().__init__()
        self.metric, self.metric_cut = metric, metric_cut

    @torch.no_grad()
    def forward(self, batch: SignedBatch) -> Tensor:
        columns = batch.sign.shape[1]
        rank = torch.arange(1, columns + 1, device=batch.sign.device, dtype=batch.weight.dtype)
        gain = 1 / rank if self.metric == "rr" else math.log(2) / torch.log1p(rank)
        if self.metric_cut is not None:
            gain = gain.masked_fill(rank > self.metric_cut, 0)
        sign = torch.where(batch.exists, batch.sign, 0)
        # gains in place of scores: the pairs then stand where `pair_gaps` puts those of the scores
        gap, _ = pair_gaps(batch.replace(scores=gain.expand(sign.shape), sign=sign, common=None))
        if self.metric == "rr":
            return gap.abs()
        positives = ((sign > 0) & (batch.weight > 0)).sum(dim=1)
        best = torch.cat([gain.new_zeros(1), gain.cumsum(0)])[positives]
        return gap.abs() / best.masked_fill(best == 0, 1)[:, None, None]
