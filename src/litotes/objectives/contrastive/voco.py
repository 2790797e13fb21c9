"""Voco: similarities of a crop to the cells of its volume must match how far it overlaps them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from litotes.batch import Moment, SignedBatch, soft_signs
from litotes.objectives.base import Objective, scored, without_common
from litotes.scoring import ClippedCosine


class Voco(Objective):
    """Position as the label of a contrast, with a slow teacher. Per volume, of K base crops and some random ones:

        fit(y, s)  = sum over y > 0 of -y ln(1 - |y - s|) / sum y  +  mean over y = 0 of -ln(1 - s)
        intra      = fit(overlaps, similarities of the crops to the teacher's bases)
        inter      = fit(t, p): similarities to the bases of the next volume, the teacher's t and the student's p
        reg        = mean over pairs a < b of the student's bases of clipped cosine(base a, detached base b)^2

        loss       = mean over volumes of  intra + inter_weight * inter + reg_weight * reg

    Similarities are cosines clipped at 0: a positive at an obtuse angle has no gradient, and `terms` says how many are
    ("dead"). A pair counts as far as its sign is believed. With one volume there is no next one: inter is 0.

    In:   SignedBatch as `from_volumes` makes it, scored by `ClippedCosine`: `scores` in [0, 1], `pairs["target"]`.
          Without `rows["volume"]` all rows are of one volume. inter reads `rows["teacher"]`, `columns["student"]` and
          `pairs["next"]`; reg reads `columns["student"]` and `columns["volume"]`.
    Out:  scalar. `terms`: intra, inter, reg, pos and neg (the halves of intra), dead (share of the positives).
    Cost: O(B C D).

    Args:
        inter_weight, reg_weight: >= 0 and finite; 0 = the term is not formed and its inputs are not needed.
        negative: "log", or "square": mean of s^2, the form of the earlier conference paper.
        eps: added inside every logarithm and to divisors; > 0 and < 1.
    Raises:
        ValueError: an argument is out of range, or the batch lacks what is read.
    Source: Large-Scale 3D Medical Image Pre-training with Geometric Context Priors (arXiv:2410.09890), section 3, with
        terms and reductions as in the released code; "square" after VoCo (CVPR 2024).
    """

    needs = ("scores", "target")

    def __init__(
        self,
        inter_weight: float = 1.0,
        reg_weight: float = 1.0,
        negative: Literal["log", "square"] = "log",
        eps: float = 1e-6,
    ):
        super().__init__()
        for name, value in (("inter_weight", inter_weight), ("reg_weight", reg_weight)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"Voco: {name} must be >= 0 and finite, got {value!r}")
        if negative not in ("log", "square"):
            raise ValueError(f"Voco: negative must be 'log' or 'square', got {negative!r}")
        if not 0 < eps < 1:
            raise ValueError(f"Voco: eps must be in (0, 1), got {eps!r}")
        self.inter_weight, self.reg_weight = float(inter_weight), float(reg_weight)
        self.negative, self.eps = negative, float(eps)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.terms(batch, now=now)["loss"]

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss and its parts, unweighted."""
        without_common(batch, self)
        scores = scored(batch, self)
        target = self._read(batch, "pairs", "target").detach()
        exists = batch.exists
        s = torch.where(exists, scores, 0).to(torch.promote_types(scores.dtype, torch.float32))
        weight = torch.where(exists, batch.weight, 0).to(s.dtype)
        up, down = weight * (batch.sign > 0), weight * (batch.sign < 0)
        pos, neg = self._fit(batch, torch.where(up > 0, target.to(s.dtype), 0), s, up, down)
        dead = ((up > 0) & (s <= 0)).sum() / (up > 0).sum().clamp(min=1)
        zero = s.sum() * 0
        inter = self._inter(batch) if self.inter_weight else zero
        reg = self._reg(batch) if self.reg_weight else zero
        loss = pos + neg + self.inter_weight * inter + self.reg_weight * reg
        return {"loss": loss, "intra": pos + neg, "inter": inter, "reg": reg, "pos": pos, "neg": neg, "dead": dead}

    def _fit(self, batch: SignedBatch, y: Tensor, s: Tensor, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves of fit, mean over volumes."""
        gap = (1 - (y - s).abs()).clamp(min=0)
        near = up * y * -torch.log(gap + self.eps)
        far = -torch.log((1 - s).clamp(min=0) + self.eps) if self.negative == "log" else s.square()
        volume = batch.rows.get("volume")
        rows = s.new_zeros(len(s), dtype=torch.int64) if volume is None else volume
        per = lambda value: s.new_zeros(len(s)).index_add_(0, rows, value.sum(dim=1))
        there = per(torch.ones_like(s)) > 0
        count = there.sum().clamp(min=1)
        pos = per(near) / (per(up * y) + self.eps)
        neg = per(down * far) / (per(down) + self.eps)
        return pos.sum() / count, neg.sum() / count

    def _inter(self, batch: SignedBatch) -> Tensor:
        teacher, student = self._read(batch, "rows", "teacher"), self._read(batch, "columns", "student")
        following = self._read(batch, "pairs", "next") > 0
        anchors, candidates = self._features(batch)
        alike = ClippedCosine().between
        with torch.autocast(anchors.device.type, enabled=False):
            t = alike(*_wide(teacher.detach(), candidates.detach()))
            p = alike(*_wide(anchors, student))
        up, down = (following & (t > 0)).to(p.dtype), (following & (t <= 0)).to(p.dtype)
        pos, neg = self._fit(batch, t, p, up, down)
        return pos + neg

    def _reg(self, batch: SignedBatch) -> Tensor:
        student, volume = self._read(batch, "columns", "student"), self._read(batch, "columns", "volume")
        with torch.autocast(student.device.type, enabled=False):
            cosine = ClippedCosine().between(*_wide(student, student.detach()))
        pairs = torch.triu(volume[:, None] == volume[None, :], diagonal=1)
        return torch.where(pairs, cosine.square(), 0).sum() / pairs.sum().clamp(min=1)

    @staticmethod
    def _features(batch: SignedBatch) -> tuple[Tensor, Tensor]:
        if batch.anchors is None or batch.candidates is None:
            raise ValueError("Voco: inter_weight > 0 needs anchors and candidates, and the batch has scores alone")
        return batch.anchors, batch.candidates

    @staticmethod
    def _read(batch: SignedBatch, where: Literal["rows", "columns", "pairs"], name: str) -> Tensor:
        there = getattr(batch, where)
        if name not in there:
            raise ValueError(f"Voco: {where}[{name!r}] is not there; from_volumes makes such a batch")
        value: Tensor = there[name]
        return value


def from_volumes(
    crops: Tensor, bases: Tensor, teacher_crops: Tensor, teacher_bases: Tensor, labels: Tensor
) -> SignedBatch:
    """The batch of `Voco`: rows are the random crops of all volumes, columns the teacher's base crops of all of them.

    A row has signs with the bases of its own volume alone: +1 where its label is > 0, else -1.

    Args:
        crops, teacher_crops: [V, n, D] features of student and teacher. bases, teacher_bases: [V, K, D]. What is the
            teacher's gets no gradient.
        labels: [V, n, K] overlaps in [0, 1].
    Raises:
        ValueError: shapes do not fit, or K < 2.
    """
    v, n, d = crops.shape
    k = bases.shape[1]
    wanted = {"bases": (v, k, d), "teacher_crops": (v, n, d), "teacher_bases": (v, k, d), "labels": (v, n, k)}
    given = {"bases": bases, "teacher_crops": teacher_crops, "teacher_bases": teacher_bases, "labels": labels}
    for name, shape in wanted.items():
        if tuple(given[name].shape) != shape:
            raise ValueError(f"from_volumes: {name} must be {list(shape)}, got {list(given[name].shape)}")
    if k < 2:
        raise ValueError(f"from_volumes: needs at least 2 bases per volume, got {k}")
    row = torch.arange(v, device=crops.device).repeat_interleave(n)
    column = torch.arange(v, device=crops.device).repeat_interleave(k)
    same = row[:, None] == column[None, :]
    target = torch.where(same, labels.detach().float().flatten(0, 1).repeat(1, v), 0)
    sign = soft_signs(target)[0].masked_fill(~same, 0)
    following = ((row[:, None] + 1) % v == column[None, :]) & ~same
    return SignedBatch(
        None,
        sign,
        torch.ones_like(target),
        crops.flatten(0, 1),
        teacher_bases.detach().flatten(0, 1),
        rows={"volume": row, "teacher": teacher_crops.detach().flatten(0, 1)},
        columns={"volume": column, "student": bases.flatten(0, 1)},
        pairs={"target": target, "next": following},
    )


def _wide(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(dtype), y.to(dtype)
