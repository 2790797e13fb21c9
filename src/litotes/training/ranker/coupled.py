"""CoupledLoss: a relevance and a selection model, each weighing the negatives of the other."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import SignedBatch, from_groups
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.pairwise.logistic import PairwiseLogistic
from litotes.vetting.cet import cet_weight


class CoupledLoss(nn.Module):
    """Two losses over one set of pairs: of the relevance model R, and of the selection model S.

    A label says selected and relevant. So an unlabelled document that S takes for selected is a good negative for R,
    and one that R takes for relevant is good evidence for S that nobody selected it. With one negative for each row,

        L_R = mean of w_R softplus(f_R(d-) - f_R(d+)),    w_R = cet_weight(f_S(d-))
        L_S = mean of w_S softplus(f_S(d-) - f_S(d+)),    w_S = cet_weight(f_R(d-))

    divided by the number of pairs, not by the sum of weights. With M > 1 negatives the weights of a row are divided by
    their mean over its negatives, v, and stand inside the sum, as v copies of each:

        L = mean of -f(d+) + log( exp f(d+) + sum_j v_j exp f(d_j) )

    so that they say which negatives of a row matter, not which rows. No weight passes a gradient, and those of the
    positives are 1: a positive was selected and is relevant.

    In:   logits rel_pos, sel_pos [B] and rel_neg, sel_neg [B, M]; `belief` [B, M] in [0, 1], 0 = no negative here.
          `seen`: (f_R, f_S) [B, M] of the negatives from which the weights are made, those of the models at rest; None
          = rel_neg and sel_neg themselves.
    Out:  (L_R, L_S), scalars, float32 or wider.
    Cost: O(B M); two host synchronisations, one more without max_weight.

    Args:
        debias_temperature, max_weight: as in `cet_weight`.
        normalize: "mean" divides the weights by their mean over the batch, for a loss of the usual size; it is read
            with M = 1 only.
    Raises:
        ValueError: an argument is out of range, shapes do not fit, or a weight is infinite.
    Source: Hard Negatives or False Negatives: Correcting Pooling Bias in Training Neural Ranking Models
        (arXiv:2209.05072), the released code's pairwise form; M > 1 is ours.

    Example:
        >>> import torch
        >>> one, zero = torch.ones(1), torch.zeros(1, 1)
        >>> [round(loss.item(), 6) for loss in CoupledLoss()(one, zero, zero[0], zero)]
        [0.626523, 1.386294]
    """

    def __init__(
        self,
        debias_temperature: float = 10.0,
        max_weight: float | None = 100.0,
        normalize: Literal["none", "mean"] = "none",
    ):
        super().__init__()
        cet_weight(torch.zeros(1), debias_temperature, max_weight, normalize)  # its gate
        self.debias_temperature = float(debias_temperature)
        self.max_weight, self.normalize = max_weight, normalize
        self.pairwise, self.listwise = PairwiseLogistic("emphasis", "count"), InfoNCE(1.0)

    def forward(
        self,
        rel_pos: Tensor,
        rel_neg: Tensor,
        sel_pos: Tensor,
        sel_neg: Tensor,
        *,
        belief: Tensor | None = None,
        seen: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        of_r, of_s = (rel_neg, sel_neg) if seen is None else seen
        relevance = self.cost(rel_pos, rel_neg, self.emphasis(of_s, belief), belief)
        return relevance, self.cost(sel_pos, sel_neg, self.emphasis(of_r, belief), belief)

    def emphasis(self, other_neg: Tensor, belief: Tensor | None = None) -> Tensor:
        """The weights of one model's negatives [B, M], from the other's logits of them, over the whole batch."""
        if other_neg.shape[1] == 1:
            return cet_weight(other_neg, self.debias_temperature, self.max_weight, self.normalize)
        weight = cet_weight(other_neg, self.debias_temperature, self.max_weight)
        there = torch.ones_like(weight) if belief is None else (belief > 0).to(weight)
        mean = (weight * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return weight / torch.where(mean > 0, mean, 1)

    def cost(self, pos: Tensor, neg: Tensor, emphasis: Tensor, belief: Tensor | None = None) -> Tensor:
        """The loss of one model from its logits and the weights of its negatives."""
        if pos.shape != neg.shape[:1] or emphasis.shape != neg.shape:
            shapes = [list(t.shape) for t in (pos, neg, emphasis)]
            raise ValueError(f"CoupledLoss: expected [B], [B, M] and weights [B, M], got {shapes}")
        belief = torch.ones_like(emphasis) if belief is None else belief
        if neg.shape[1] == 1:
            batch = _groups(pos, neg, belief)
            factor = torch.cat([torch.ones_like(emphasis), emphasis], dim=1)
            loss: Tensor = self.pairwise(batch.replace(pairs={"emphasis": factor}))
            return loss
        # v copies of a negative are one whose logit is higher by log v: belief stays in [0, 1]
        listed: Tensor = self.listwise(_groups(pos, neg + emphasis.log(), belief))
        return listed


def warn_of_twins(relevance: nn.Module, selection: nn.Module) -> None:
    """Warn if two models have the same parameters: with the same inputs they would stay the same for ever."""
    one, other = relevance.state_dict(), selection.state_dict()
    same = one.keys() == other.keys() and all(
        tensor.shape == other[name].shape and torch.equal(tensor.cpu(), other[name].cpu())
        for name, tensor in one.items()
    )
    if same:
        warnings.warn(
            "the relevance and the selection model have identical parameters: on the same inputs they get identical "
            "updates and weigh nothing apart; draw one anew, or give the selection model other features",
            stacklevel=3,
        )


def _groups(pos: Tensor, neg: Tensor, belief: Tensor) -> SignedBatch:
    there = torch.cat([torch.ones_like(belief[:, :1], dtype=torch.bool), belief > 0], dim=1)
    batch = from_groups(torch.cat([pos[:, None], neg], dim=1), 0, there)
    return batch.replace(weight=torch.cat([torch.ones_like(belief[:, :1]), belief], dim=1).to(batch.weight.dtype))
