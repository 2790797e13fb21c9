"""MoCHi: harder negatives mixed from the hardest there are, for each anchor its own, inside the training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.columns import append_own
from litotes.ops import unit
from litotes.spelling import spell


class MoCHi(nn.Module):
    """Append synthetic negatives: unit vectors between two of an anchor's hardest negatives, and between it and one.

    Late in training nearly all negatives are far away and give no gradient. With T_i the `n_hard` believed negatives of
    anchor q_i that score highest, all vectors of unit length and draws independent for every anchor and mix:

        of two    h  = unit(alpha n_1 + (1 - alpha) n_2),      n_1, n_2 drawn from T_i, alpha ~ U(0, 1)
        of one    h' = unit(beta sg(q_i) + (1 - beta) n),      n drawn from T_i, beta ~ U(0, beta_max)

    They join the field of their anchor as own columns; nothing is replaced. sg stops the gradient, and so does every
    mix: what is learned from one is where q_i lies towards it. Put the vetters before this part: what they doubt
    (weight 0) is no parent, and no false negative is amplified: `Chain(Cosine(), Gist(), MoCHi(64, 64, 16),
    InfoNCE(0.2))`.

    In:   SignedBatch, scored, with `anchors` [B, D] and shared `candidates` [C, D] of any float dtype; a generator on
          their device. Own columns are no parents.
    Out:  the batch with n_mix + n_mix_query more own columns, sign -1, weight 1 (or, with parent_belief, the product of
          the parents' weights). A row with too few believed negatives has sign 0 there. Mixed in float32.
    Cost: a top-k of [B, C], O(B (n_mix + n_mix_query) D) memory and time; no host synchronisation.

    Args:
        n_hard: hardest negatives that may be parents, >= 1 (>= 2 with n_mix and distinct); where there are fewer, all.
        n_mix, n_mix_query: mixes of two and of one, >= 0; both 0 = nothing happens.
        beta_max: share of the anchor at most, in (0, 0.5]: above a half the anchor would push itself away.
        distinct: the two parents differ.
        stop_gradient: False: the anchor inside a mix of one has its gradient.
        warmup: share of training before which nothing is mixed, in [0, 1); needs `now`.
        parent_belief: a mix is believed as far as its parents.
    Raises:
        ValueError: an argument is out of range, the batch is not scored or has no features, there is no generator, or
            warmup is asked for without `now`.
    Source: Hard Negative Mixing for Contrastive Learning (arXiv:2010.01028), equations 4 to 6. Two public
        re-implementations differ on whether the parents of a mix may be one vector; here they differ by default.
    """

    stage = "source"
    needs = ("features", "scores")
    gives = ()
    name_in_recipes = "mochi"

    def __init__(
        self,
        n_hard: int = 1024,
        n_mix: int = 1024,
        n_mix_query: int = 128,
        beta_max: float = 0.5,
        distinct: bool = True,
        stop_gradient: bool = True,
        warmup: float = 0.0,
        parent_belief: bool = False,
    ):
        super().__init__()
        least = 2 if n_mix and distinct else 1
        for name, value, low in (("n_hard", n_hard, least), ("n_mix", n_mix, 0), ("n_mix_query", n_mix_query, 0)):
            if not (isinstance(value, int) and value >= low):
                raise ValueError(f"MoCHi: {name} must be a whole number >= {low}, got {value!r}")
        if not 0 < beta_max <= 0.5:
            raise ValueError(f"MoCHi: beta_max must be in (0, 0.5], got {beta_max!r}")
        if not 0 <= warmup < 1:
            raise ValueError(f"MoCHi: warmup must be in [0, 1), got {warmup!r}")
        self.n_hard, self.n_mix, self.n_mix_query = n_hard, n_mix, n_mix_query
        self.beta_max, self.distinct, self.stop_gradient = beta_max, bool(distinct), bool(stop_gradient)
        self.warmup, self.parent_belief = warmup, bool(parent_belief)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with its mixes."""
        if self.warmup and now is None:
            raise ValueError("MoCHi: warmup is a share of training; the moment (now) is not given")
        if (now is not None and now.progress < self.warmup) or not (self.n_mix or self.n_mix_query):
            return batch
        if batch.anchors is None or batch.candidates is None or batch.scores is None:
            raise ValueError("MoCHi: needs anchors, candidates and scores; a scorer comes first")
        if batch.scores.shape[1] < batch.shared:
            raise ValueError("MoCHi: there are columns without scores; a scorer comes first")
        if generator is None:
            raise ValueError("MoCHi: mixes are drawn and need a generator")
        shared = batch.shared
        believed = (batch.sign[:, :shared] < 0) & (batch.weight[:, :shared] > 0)
        field = believed & (batch.scores[:, :shared] != -torch.inf)
        scores = batch.scores[:, :shared].detach().masked_fill(~field, -torch.inf)
        hard = scores.topk(min(self.n_hard, shared), dim=1).indices
        there = field.gather(1, hard).sum(dim=1)  # [B]; the best come first, so these are the first so many

        pool = unit(batch.candidates.detach().float())
        anchors = unit(batch.anchors.float())
        anchors = anchors.detach() if self.stop_gradient else anchors
        belief = batch.weight[:, :shared].detach()
        vectors, weights, usable = [], [], []
        if self.n_mix:
            first, second = self._two(hard, there, generator)
            share = _uniform(first, 1.0, generator)[..., None]
            vectors.append(unit(share * pool[first] + (1 - share) * pool[second]))
            weights.append(belief.gather(1, first) * belief.gather(1, second))
            usable.append((there >= (2 if self.distinct else 1))[:, None].expand_as(first))
        if self.n_mix_query:
            one = _drawn(hard, there, self.n_mix_query, generator)
            share = _uniform(one, self.beta_max, generator)[..., None]
            vectors.append(unit(share * anchors[:, None, :] + (1 - share) * pool[one]))
            weights.append(belief.gather(1, one))
            usable.append((there >= 1)[:, None].expand_as(one))
        sign = torch.where(torch.cat(usable, dim=1), -1, 0).to(torch.int8)
        weight = torch.cat(weights, dim=1) if self.parent_belief else None
        own = torch.cat(vectors, dim=1).to(batch.candidates.dtype)
        return append_own(batch, own, sign, weight, part="MoCHi")

    def _two(self, hard: Tensor, there: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Columns of the two parents of each mix, [B, n_mix] each."""
        if not self.distinct:
            return tuple(_drawn(hard, there, self.n_mix, generator) for _ in range(2))  # type: ignore[return-value]
        first = _places(there, self.n_mix, generator)
        # the second is drawn from the others: as many places fewer, and those from the first on one further
        second = _places(there - 1, self.n_mix, generator)
        second = second + (second >= first).long()
        most = hard.shape[1] - 1
        return hard.gather(1, first), hard.gather(1, second.clamp(max=most))

    def __str__(self) -> str:
        return spell(self)


def _places(count: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Even draws from 0 .. count - 1 for every row: int64 [B, draws]; 0 where count is not positive."""
    at = torch.rand(len(count), draws, device=count.device, generator=generator)
    return (at * count[:, None]).long().clamp(min=0).minimum((count[:, None] - 1).clamp(min=0))


def _drawn(hard: Tensor, there: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    return hard.gather(1, _places(there, draws, generator))


def _uniform(like: Tensor, most: float, generator: torch.Generator) -> Tensor:
    return most * torch.rand(like.shape, device=like.device, generator=generator)
