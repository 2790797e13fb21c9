"""Ar2: a retriever learns from a ranker, and to find what the ranker mistakes for an answer."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.batch import Moment, SignedBatch
from litotes.objectives.average import average_terms
from litotes.objectives.base import Objective, scored, without_common
from litotes.objectives.contrastive.infonce import log_sum
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at
from litotes.ops import weighted_mean


class Ar2(Objective):
    """The retriever's half of a game with a ranker: raise what fools the ranker, stay near its own ranking.

    A row's set S holds its drawn positive d and its negatives j. With p the softmax of the scores over S, q that of
    the ranker's scores D over S, and r_j = log sigmoid(D_d - D_j) <= 0, the log-probability that the ranker prefers d,

        adversarial    sum over S of r_j log(p_j + eps)
        distillation   - sum over S of q_j log(p_j + eps)
        loss           adv_weight * adversarial + (1 - adv_weight) * distillation, mean over rows

    Both terms are minimised: the gradient of the first in log p_j is r_j, so descent raises the negatives that the
    ranker wrongly prefers, which makes them the ranker's next lessons; the second keeps the retriever a retriever.
    Above adv_weight 0.5 the first wins and the retriever becomes an adversary only.

    A negative of weight w is w copies of itself in S. Out of S are columns of sign 0, -inf or weight 0, those the
    ranker has not scored, and the row's other positives. A row without a drawn and scored positive costs nothing; the
    others count as far as their positive is believed.

    In:   SignedBatch: `scores`, `sign`, `weight` [B, C] (those of the retriever, `Dot` as a rule), `pairs[teacher]`
          [B, C], the ranker's raw scores, NaN = not scored, and `rows["positive"]` [B]. The ranker gets no gradient; it
          should score in eval mode.
    Out:  scalar, float32 or the wider dtype of `scores`; 0 with gradient 0 without a row.
    Cost: O(B C), no host synchronisation.

    Args:
        adv_weight: share of the adversarial term, in [0, 1].
        temperature: divides the retriever's scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature.
        teacher_temperature: divides the ranker's scores in q, not in r; > 0 and finite.
        include_positive: True adds the positive itself (r = log 1/2) to the adversarial sum, as the released code does.
            False leaves it out and lets p there be the softmax over the negatives alone, the expectation over sampled
            negatives of the paper.
        adv_reduction: "mean" over rows, or "sum" as released: the share of the term then grows with the batch.
        eps: added to p inside the logarithm, which cuts the gradient off below it; >= 0 and finite. 0 = exact.
        teacher: key of the ranker's scores in `pairs`.
    Raises:
        ValueError: an argument is out of range, the batch has no scores, no such teacher, no rows["positive"], or it
            has common negatives.
    Source: Adversarial Retriever-Ranker for dense text retrieval (arXiv:2110.03611), equations 5 to 9, with eps and the
        sum over the positive of the released training code. There the adversarial term is summed over the batch and the
        other averaged; here both are averaged unless asked.

    Example:
        >>> import torch
        >>> from litotes.batch import from_groups
        >>> group = from_groups(torch.zeros(1, 2)).replace(pairs={"teacher": torch.tensor([[1.0, 0.0]])})
        >>> round(Ar2(eps=0.0)(group).item(), 6)
        0.695368
    """

    citation = """@inproceedings{zhang2022adversarial,
    title = {Adversarial Retriever-Ranker for dense text retrieval},
    author = {Zhang, Hang and Gong, Yeyun and Shen, Yelong and Lv, Jiancheng and Duan, Nan and Chen, Weizhu},
    booktitle = {ICLR},
    year = {2022}
}"""

    def __init__(
        self,
        adv_weight: float = 0.5,
        temperature: Temperature = 1.0,
        teacher_temperature: float = 1.0,
        include_positive: bool = True,
        adv_reduction: Literal["mean", "sum"] = "mean",
        eps: float = 1e-7,
        teacher: str = "teacher",
    ):
        super().__init__()
        if not 0.0 <= adv_weight <= 1.0:
            raise ValueError(f"Ar2: adv_weight must be in [0, 1], got {adv_weight!r}")
        if not (teacher_temperature > 0 and math.isfinite(teacher_temperature)):
            raise ValueError(f"Ar2: teacher_temperature must be > 0 and finite, got {teacher_temperature!r}")
        if adv_reduction not in ("mean", "sum"):
            raise ValueError(f"Ar2: adv_reduction must be 'mean' or 'sum', got {adv_reduction!r}")
        if not (eps >= 0 and math.isfinite(eps)):
            raise ValueError(f"Ar2: eps must be >= 0 and finite, got {eps!r}")
        if not (isinstance(teacher, str) and teacher):
            raise ValueError(f"Ar2: teacher must be the name of a key of pairs, got {teacher!r}")
        self.adv_weight = float(adv_weight)
        self.temperature = checked_temperature(temperature, "Ar2")
        self.teacher_temperature = float(teacher_temperature)
        self.include_positive = bool(include_positive)
        self.adv_reduction = adv_reduction
        self.eps = float(eps)
        self.teacher = teacher
        self.needs = ("scores", teacher)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.terms(batch, now=now)["loss"]

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss and its two terms, unweighted: "adversarial" and "distillation"."""
        fooled, taught, believed = self._costs(batch, now)
        how = "term" if self.adv_reduction == "mean" else "sum"
        adversarial = average_terms(how, fooled, believed, terms=lambda: believed)
        distillation = weighted_mean(taught, believed)
        loss = self.adv_weight * adversarial + (1 - self.adv_weight) * distillation
        return {"loss": loss, "adversarial": adversarial, "distillation": distillation}

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], and the belief in the row's positive [B], 0 = no term.

        Raises:
            ValueError: adv_reduction is "sum", which is no mean over anchors.
        """
        if self.adv_reduction == "sum":
            raise ValueError("Ar2: with adv_reduction='sum' the loss is no mean over anchors")
        fooled, taught, believed = self._costs(batch, now)
        return self.adv_weight * fooled + (1 - self.adv_weight) * taught, believed

    def _costs(self, batch: SignedBatch, now: Moment | None) -> tuple[Tensor, Tensor, Tensor]:
        """The adversarial and the distillation cost of every row, and how far it is believed: [B] each."""
        scores = scored(batch, self)
        without_common(batch, self)
        if self.teacher not in batch.pairs:
            keys = ", ".join(map(repr, batch.pairs)) or "nothing"
            raise ValueError(f"Ar2: pairs has no {self.teacher!r}, it has {keys}")
        if "positive" not in batch.rows:
            raise ValueError('Ar2: needs the column of the drawn positive in rows["positive"]')
        dtype = torch.promote_types(scores.dtype, torch.float32)
        ranker = batch.pairs[self.teacher].detach().to(dtype)
        drawn = batch.rows["positive"]
        columns = torch.arange(scores.shape[1], device=scores.device)[None, :]
        there = batch.exists & ranker.isfinite() & (batch.weight > 0)
        positive = there & (columns == drawn[:, None])
        believed = torch.where(positive, batch.weight, 0).sum(dim=1).to(dtype)
        negative = there & (batch.sign < 0) & positive.any(dim=1, keepdim=True)

        z = torch.where(there, scores, 0).to(dtype) / temperature_at(self.temperature, now)
        ranker = torch.where(there, ranker, 0)
        copies = torch.where(negative, batch.weight, 0).to(dtype)
        full = copies + positive
        log_p = self._log(z, full)
        log_q = ranker / self.teacher_temperature
        q = torch.where(full > 0, (log_q - _total(log_q, full)).exp(), 0)

        answer = torch.where(positive, ranker, 0).sum(dim=1, keepdim=True)
        surely = F.logsigmoid(answer - ranker)
        if self.include_positive:
            fooled = (full * surely * log_p).sum(dim=1)
        else:
            fooled = (copies * surely * self._log(z, copies)).sum(dim=1)
        return fooled, -(full * q * log_p).sum(dim=1), believed

    def _log(self, z: Tensor, copies: Tensor) -> Tensor:
        """log(p + eps) per copy, [B, C]; 0 where there is none."""
        log_p = torch.where(copies > 0, z - _total(z, copies), 0)
        if not self.eps:
            return log_p
        return torch.where(copies > 0, (log_p.exp() + self.eps).log(), 0)


def _total(z: Tensor, copies: Tensor) -> Tensor:
    """log-sum of exp(z) over all copies, [B, 1]; 0 in a row without any."""
    some = (copies > 0).any(dim=1, keepdim=True)
    # a row without copies would bring -inf, whose gradient is NaN; one column of it counts instead
    stand_in = torch.zeros_like(copies)
    stand_in[:, :1] = 1
    return torch.where(some, log_sum(torch.where(some, z, 0), torch.where(some, copies, stand_in)), 0)
