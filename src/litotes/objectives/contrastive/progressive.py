"""ProgressiveInfoNCE: InfoNCE that counts easy anchors more at first and difficult ones more later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.objectives.base import Objective, scored
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.reweighted import Reweighted
from litotes.objectives.temperature import Temperature, checked_temperature, temperature_at
from litotes.spelling import spell

Schedule = str | Sequence[Sequence[float]]

STRONGEST = 20.0  # exp(20) times a batch of any size is finite in float32


class ByDifficulty(nn.Module):
    """Weigher for `Reweighted`: an anchor counts exp(kappa d), d its difficulty and kappa where training stands.

    d is the share of an anchor's negatives in its softmax, 1 - exp(-cost), in [0, 1]. With kappa < 0 easy anchors
    count more, with kappa > 0 difficult ones; with kappa = 0, or equal difficulties, all count alike. With u the
    progress of training in [0, 1], by optimiser steps:

        linear    kappa = kappa_max (2 u^power - 1)
        cosine    kappa = -kappa_max cos(pi u)
        step      kappa = -kappa_max before the middle of training, kappa_max from it on
        constant  kappa = kappa_max
        points    [[u, kappa], ...]: straight lines between them; of two at one u the later one holds from there

    In:   costs [B] of an objective in nats per anchor (InfoNCE: several positives give the geometric mean of their
          probabilities). With `temperature`, costs are formed anew from the scores of the batch.
    Out:  factors [B] > 0. No gradient.
    Cost: O(B); with `temperature` that of one more InfoNCE.

    Args:
        kappa_max: in [0, 20].
        schedule: "linear", "cosine", "step", "constant", or points: u ascends in [0, 1], kappa in [-20, 20]; before the
            first and behind the last the nearest holds. Points say all; kappa_max is not read then.
        power: > 0, of "linear": above 1 training stays longer with the easy ones.
        temperature: of the softmax in which difficulty is measured, > 0; None = of the objective. At a low temperature
            and many negatives d is nearly 0 or 1 for all; a higher one spreads it.
    Raises:
        ValueError: an argument is out of range, or the call does not say where training stands.
    Source: Towards Robust Text Retrieval with Progressive Learning (arXiv:2311.11691). That weights follow the
        difficulty of the negatives over the course of training is theirs; the formula is not published, and
        exp(kappa d) with these schedules is our reading.
    """

    stage = "weigher"
    needs: tuple[str, ...] = ("scores",)

    def __init__(
        self,
        kappa_max: float = 2.0,
        schedule: Schedule = "linear",
        power: float = 1.0,
        temperature: float | None = None,
    ):
        super().__init__()
        self.kappa_max, self.schedule, self.power = _checked_schedule("ByDifficulty", kappa_max, schedule, power)
        self.temperature = temperature if temperature is None else checked_temperature(temperature, "ByDifficulty")

    def forward(self, cost: Tensor, batch: SignedBatch, now: Moment | None = None) -> Tensor:
        return torch.exp(self.kappa(now) * self.difficulty(cost, batch))

    @torch.no_grad()
    def difficulty(self, cost: Tensor, batch: SignedBatch) -> Tensor:
        """d [B]; 0 for an anchor without a term."""
        if self.temperature is not None:
            cost, _ = InfoNCE(self.temperature).per_anchor(batch)
        return -torch.expm1(-cost)

    def kappa(self, now: Moment | None) -> float:
        """kappa at a moment: a function of its progress alone, so a resumed run gets what the first one got."""
        if self.schedule == "constant" or (isinstance(self.schedule, str) and not self.kappa_max):
            return self.kappa_max
        if now is None:
            raise ValueError(
                "ByDifficulty: needs to know where training stands: pass now=Moment(step, epoch, progress)"
            )
        u = now.progress
        if not 0.0 <= u <= 1.0:
            raise ValueError(f"ByDifficulty: progress must be in [0, 1], got {u!r}")
        if self.schedule == "linear":
            return self.kappa_max * (2 * u**self.power - 1)
        if self.schedule == "cosine":
            return -self.kappa_max * math.cos(math.pi * u)
        if self.schedule == "step":
            return self.kappa_max if u >= 0.5 else -self.kappa_max
        assert not isinstance(self.schedule, str)
        return _between(self.schedule, u)

    def __str__(self) -> str:
        return spell(self)


class ProgressiveInfoNCE(Objective):
    """InfoNCE whose anchors, or whose candidates, count by how difficult they are, easy ones first.

        sample     L = sum_i v_i l_i / sum_i v_i,    v_i = b_i exp(kappa d_i)
        candidate  negative c of an anchor gets log-weight kappa (r_c - mean of its negatives' r) in the denominator

    l is the cost of InfoNCE, b its belief, d the share of the negatives in the softmax, r the raw score. kappa goes
    from -kappa_max to kappa_max over training (`ByDifficulty` has the schedules): at the beginning hard negatives, many
    of them false, are held back, and at the end they are what counts. The mean weight of an anchor is 1 at any time, so
    the learning rate keeps its meaning; where kappa is 0 both levels are InfoNCE.

    Late emphasis on difficult anchors is emphasis on wrong labels too: put a vetter before it, or keep kappa_max small.
    The loss cannot be compared over time, for its weights change: `terms` has "unweighted" besides.

    In:   SignedBatch, as InfoNCE reads it. Sign 0 and weight 0 change neither cost nor difficulty. Common negatives
          count in cost and difficulty; at level "candidate" they keep log-weight 0.
    Out:  scalar >= 0; 0 with gradient 0 without a believed positive. No gradient through d, r's log-weight and kappa.
    Cost: O(B C); no host synchronisation. For pools that do not fit in memory: Cached(Chain(Cosine(), this)), equal
          in value and gradient. On several devices each one weighs its own anchors against each other.

    Args:
        temperature: divides the scores; > 0 and finite, or a LearnedTemperature or ScheduledTemperature.
        kappa_max: in [0, 20].
        schedule: "linear", "cosine", "step", "constant", or points [[progress, kappa], ...].
        level: "sample" weighs anchors, "candidate" the negatives of each anchor.
        difficulty_temperature: of the softmax of d, > 0; None = temperature. Level "sample" only.
        power: > 0, of the linear schedule.
    Raises:
        ValueError: an argument is out of range, the batch has no scores, or the call does not say where training stands
            (`Moment.progress` in [0, 1]; not asked for if kappa is constant).
    Source: Towards Robust Text Retrieval with Progressive Learning (arXiv:2311.11691): large pools, and weights that
        follow the difficulty of the negatives. Formula, schedules and both levels are our reading, and so is the
        temperature: none is published.
    """

    citation = """@article{wu2023towards,
    title = {Towards Robust Text Retrieval with Progressive Learning},
    author = {Wu, Tong and Qin, Yulei and Zhang, Enwei and Xu, Zihan and Gao, Yuting and Li, Ke and Sun, Xing},
    journal = {arXiv preprint arXiv:2311.11691},
    year = {2023}
}"""
    name_in_recipes = "progressive_infonce"

    def __init__(
        self,
        temperature: Temperature = 0.01,
        kappa_max: float = 2.0,
        schedule: Schedule = "linear",
        level: Literal["sample", "candidate"] = "sample",
        difficulty_temperature: float | None = None,
        power: float = 1.0,
    ):
        super().__init__()
        _checked_schedule("ProgressiveInfoNCE", kappa_max, schedule, power)
        if level not in ("sample", "candidate"):
            raise ValueError(f"ProgressiveInfoNCE: level must be 'sample' or 'candidate', got {level!r}")
        if difficulty_temperature is not None:
            if level == "candidate":
                raise ValueError("ProgressiveInfoNCE: difficulty_temperature is for level='sample'; leave it out")
            if not (difficulty_temperature > 0 and math.isfinite(difficulty_temperature)):
                raise ValueError(
                    "ProgressiveInfoNCE: difficulty_temperature must be > 0 and finite or None, "
                    f"got {difficulty_temperature!r}"
                )
        self.level = level
        self.infonce = InfoNCE(checked_temperature(temperature, "ProgressiveInfoNCE"))
        self.weigher = ByDifficulty(kappa_max, schedule, power, difficulty_temperature)
        self.reweighted = Reweighted(self.infonce, self.weigher)

    @property
    def temperature(self) -> Temperature:
        """What divides the scores."""
        return self.infonce.temperature

    @property
    def kappa_max(self) -> float:
        """The strongest emphasis."""
        return self.weigher.kappa_max

    @property
    def schedule(self) -> Schedule:
        """How kappa follows training."""
        return self.weigher.schedule

    @property
    def difficulty_temperature(self) -> float | None:
        """The temperature at which difficulty is measured; None = that of the loss."""
        return self.weigher.temperature

    @property
    def power(self) -> float:
        """The exponent of progress in the linear schedule."""
        return self.weigher.power

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        loss: Tensor = self.reweighted(batch, now=now) if self.level == "sample" else self._lifted(batch, now)
        return loss

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss, and InfoNCE without any emphasis."""
        return {"loss": self(batch, now=now), "unweighted": self.infonce(batch, now=now)}

    def per_anchor(self, batch: SignedBatch, *, now: Moment | None = None) -> tuple[Tensor, Tensor]:
        """Cost [B], and how much each anchor counts [B], 0 = it has no term."""
        if self.level == "sample":
            return self.reweighted.per_anchor(batch, now=now)
        return self.infonce.per_anchor(self._emphasised(batch, now), now=now)

    def difficulty(self, batch: SignedBatch, *, now: Moment | None = None) -> Tensor:
        """d [B] in [0, 1], without gradient: what the weights go by, and worth a histogram."""
        with torch.no_grad():
            cost, _ = self.infonce.per_anchor(batch, now=now)
            return self.weigher.difficulty(cost, batch)

    def weights(self, batch: SignedBatch, *, now: Moment | None = None) -> Tensor:
        """How much each anchor counts: [B], mean 1 over the anchors with a term, 0 for the others."""
        if self.level == "sample":
            return self.reweighted.weights(batch, now=now)
        _, believed = self.infonce.per_anchor(batch, now=now)
        return believed * (believed > 0).sum() / believed.sum().clamp(min=torch.finfo(believed.dtype).tiny)

    def _lifted(self, batch: SignedBatch, now: Moment | None) -> Tensor:
        loss: Tensor = self.infonce(self._emphasised(batch, now), now=now)
        return loss

    def _emphasised(self, batch: SignedBatch, now: Moment | None) -> SignedBatch:
        """The batch with the log-weights of its negatives added to what will be divided by the temperature."""
        scores = scored(batch, self)
        dtype = torch.promote_types(scores.dtype, torch.float32)
        negative = batch.exists & (batch.sign < 0)
        weight = torch.where(negative, batch.weight, 0).detach().to(dtype)
        raw = torch.where(negative, scores, 0).detach().to(dtype)
        total = weight.sum(dim=1, keepdim=True)
        mean = (weight * raw).sum(dim=1, keepdim=True) / total.masked_fill(total == 0, 1)
        log_weight = torch.where(negative, self.weigher.kappa(now) * (raw - mean), 0)
        return batch.replace(scores=scores.to(dtype) + temperature_at(self.temperature, now) * log_weight)


def _checked_schedule(part: str, kappa_max: float, schedule: Schedule, power: float) -> tuple[float, Schedule, float]:
    if not 0.0 <= kappa_max <= STRONGEST:
        raise ValueError(f"{part}: kappa_max must be in [0, {STRONGEST:g}], got {kappa_max!r}")
    if not (power > 0 and math.isfinite(power)):
        raise ValueError(f"{part}: power must be > 0 and finite, got {power!r}")
    if isinstance(schedule, str):
        if schedule not in ("linear", "cosine", "step", "constant"):
            raise ValueError(
                f"{part}: schedule must be 'linear', 'cosine', 'step', 'constant' or points, got {schedule!r}"
            )
        return float(kappa_max), schedule, float(power)
    if not schedule or not all(_is_point(point) for point in schedule):
        raise ValueError(
            f"{part}: schedule must be points [progress in [0, 1], kappa in [-{STRONGEST:g}, {STRONGEST:g}]], "
            f"got {schedule!r}"
        )
    points = [[float(point[0]), float(point[1])] for point in schedule]
    if any(one[0] > other[0] for one, other in zip(points, points[1:], strict=False)):
        raise ValueError(f"{part}: schedule must be points in ascending order of progress, got {schedule!r}")
    return float(kappa_max), points, float(power)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, (list, tuple))
        and len(point) == 2
        and 0.0 <= point[0] <= 1.0
        and -STRONGEST <= point[1] <= STRONGEST
    )


def _between(points: Sequence[Sequence[float]], u: float) -> float:
    """The value at u of straight lines between points; at a jump, of the later one."""
    if u < points[0][0]:
        return points[0][1]
    for (start, low), (stop, high) in zip(points, points[1:], strict=False):
        if u < stop:
            return low + (high - low) * (u - start) / (stop - start)
    return points[-1][1]
