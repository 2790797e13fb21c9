"""SignedBatch: evidence inside a training step, and the only places where a sign is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


class Moment(NamedTuple):
    """Where training stands: `step` and `epoch` from 0, `progress` in [0, 1]."""

    step: int
    epoch: int
    progress: float


@dataclass(frozen=True, eq=False)
class SignedBatch:
    """Which candidate is pulled to which anchor, which is pushed away, and how far each sign is believed.

    `scores` [B, C + M] float, larger = more alike, -inf = no such pair; None until a scorer has run. They may be
        narrower than sign: the columns behind were appended and have no scores yet. (So who appends shared columns
        behind scored own ones cuts the scores back to the shared ones.)
    `sign` [B, C + M] int8: +1 closer, -1 farther, 0 not there (in no numerator, no denominator, no count).
    `weight` [B, C + M] float in [0, 1]: belief in the sign. A negative of weight w is w copies of itself.
    `anchors` [B, D], `candidates` [C, D]: features; columns are [positives | negatives], negatives anchor-major.
    `own` [B, M, D]: candidates that only their row sees; their columns follow the shared ones.
    `common`: scores and weights [M] of negatives added to the field of every row as one log-sum.
    `rows`, `columns`, `pairs`: extras of length B, of length C + M (or C), and of shape [B, C + M], under the names of
        the conventions page: "id", "positive", "guide", "side", "of", "role", "teacher", "target", "grade".
    `notes`: reason -> 0-d tensor, what the parts counted on the way.

    Raises:
        ValueError: neither scores nor features are there, or a shape or dtype does not fit; the field is named.
    """

    scores: Tensor | None
    sign: Tensor
    weight: Tensor
    anchors: Tensor | None = None
    candidates: Tensor | None = None
    own: Tensor | None = None
    common: tuple[Tensor, Tensor] | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    pairs: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.sign.shape)
        if self.sign.ndim != 2 or self.sign.dtype != torch.int8:
            raise ValueError(f"SignedBatch: sign must be int8 [B, C], got {self.sign.dtype} {list(shape)}")
        if self.scores is None and (self.anchors is None or (self.candidates is None and self.own is None)):
            raise ValueError("SignedBatch: needs scores, or anchors with candidates or own columns; got neither")
        fields = {"scores": self.scores, "weight": self.weight, **{f"pairs[{k!r}]": v for k, v in self.pairs.items()}}
        for name, value in fields.items():
            if value is None or tuple(value.shape) == shape:
                continue
            short = name == "scores" and value.ndim == 2 and len(value) == shape[0] and value.shape[1] < shape[1]
            if not short:
                raise ValueError(
                    f"SignedBatch: {name} must have the shape of sign {list(shape)}, got {list(value.shape)}"
                )
        if self.scores is not None and not self.scores.is_floating_point():
            raise ValueError(f"SignedBatch: scores must be floating point, got {self.scores.dtype}")
        if not self.weight.is_floating_point():
            raise ValueError(f"SignedBatch: weight must be floating point, got {self.weight.dtype}")
        per_row = {"anchors": self.anchors, "own": self.own, **{f"rows[{k!r}]": v for k, v in self.rows.items()}}
        for name, value in per_row.items():
            if value is not None and len(value) != shape[0]:
                raise ValueError(f"SignedBatch: {name} must have one entry per row ({shape[0]}), got {len(value)}")
        features = {"candidates": self.candidates, "own": self.own}
        for name, value in features.items():
            if value is not None and (value.ndim < (3 if name == "own" else 2)):
                shapes = "[B, M, D]" if name == "own" else "[C, D]"
                raise ValueError(f"SignedBatch: {name} must be {shapes}, got {list(value.shape)}")
        shared, private = self.shared, self.private
        if shared < 0 or shared + private != shape[1]:
            raise ValueError(
                f"SignedBatch: {max(shared, 0)} candidates and {private} own columns do not make the "
                f"{shape[1]} columns of sign"
            )
        if self.candidates is None and shared > (0 if self.scores is None else self.scores.shape[1]):
            raise ValueError(f"SignedBatch: {shared} shared columns have neither scores nor candidates")
        for name, value in self.columns.items():
            if len(value) not in (shape[1], shared):
                raise ValueError(f"SignedBatch: columns[{name!r}] must have one entry per column, got {len(value)}")

    @property
    def shared(self) -> int:
        """C, the number of columns that all rows see."""
        return len(self.candidates) if self.candidates is not None else self.sign.shape[1] - self.private

    @property
    def private(self) -> int:
        """M, the number of columns that only their own row sees."""
        return self.own.shape[1] if self.own is not None else 0

    @property
    def exists(self) -> Tensor:
        """Bool [B, C + M]: the pair is there: its sign is not 0 and its score, where formed, not -inf."""
        there = self.sign != 0
        if self.scores is None or self.scores.shape != self.sign.shape:
            return there
        return there & (self.scores != -torch.inf)

    @property
    def T(self) -> SignedBatch:
        """Rows and columns swapped. Left behind: own columns, common negatives, notes, what says who brought or drew a
        column ("positive", "of", "role", "side"), and scores where columns were appended and wait for the scorer."""
        c = self.shared
        side = self.columns.get("side")
        if side is not None and bool((side != 0).any()):
            raise ValueError("SignedBatch.T: columns scored against the positive (side 1) have no transpose")
        extras = {name: value[:c] for name, value in self.columns.items() if name not in ("side", "of", "role")}
        rows = {name: value for name, value in self.rows.items() if name != "positive"}
        return SignedBatch(
            scores=None if self.scores is None or self.scores.shape[1] < c else self.scores[:, :c].T,
            sign=self.sign[:, :c].T,
            weight=self.weight[:, :c].T,
            anchors=self.candidates,
            candidates=self.anchors,
            rows=extras,
            columns=rows,
            pairs={name: value[:, :c].T for name, value in self.pairs.items()},
        )

    def replace(self, **changes: Any) -> SignedBatch:
        """A batch with these fields changed, checked like a new one."""
        return replace(self, **changes)

    def noted(self, counts: Mapping[str, Tensor]) -> SignedBatch:
        """A batch whose notes hold these counts too; a reason that is there already is added up."""
        merged = dict(self.notes)
        for reason, count in counts.items():
            merged[reason] = merged[reason] + count if reason in merged else count
        return replace(self, notes=merged)


def doubt(batch: SignedBatch, doubted: Tensor, belief: float | Tensor = 0.0, *, reason: str) -> SignedBatch:
    """The one door to belief in a step: where `doubted`, weight becomes the lower of itself and `belief`.

    Args:
        doubted: bool [B, C + M]. Pairs of sign 0 are not there and are not counted.
        belief: in [0, 1], a number or a tensor that broadcasts to [B, C + M]; it gets no gradient from here on. The
            values of a tensor are not checked: that would wait for the device.
        reason: spelling of the part; the number of pairs whose weight went down is added to `notes` under it.
    Raises:
        ValueError: `belief` is a number outside [0, 1], or `doubted` is no bool of the right shape.
    """
    if doubted.dtype != torch.bool or doubted.shape != batch.sign.shape:
        raise ValueError(
            f"doubt: doubted must be bool {list(batch.sign.shape)}, "
            f"got {doubted.dtype} {list(doubted.shape)} from {reason}"
        )
    if not isinstance(belief, Tensor) and not 0 <= belief <= 1:
        raise ValueError(f"doubt: belief must be in [0, 1], got {belief!r} from {reason}")
    value = belief.detach() if isinstance(belief, Tensor) else torch.as_tensor(belief, device=batch.weight.device)
    value = value.to(batch.weight.dtype)
    lower = doubted & (batch.sign != 0) & (value < batch.weight)  # torch.minimum would halve the gradient at ties
    weight = torch.where(lower, value, batch.weight)
    return replace(batch, weight=weight).noted({reason: lower.sum()})


def signs(
    anchor_id: Tensor,
    candidate_id: Tensor,
    positives: Tensor,
    *,
    of: Tensor | None = None,
    drawn: Tensor | None = None,
    others: Literal["silent", "pull"] = "silent",
    in_batch: bool | Tensor = True,
) -> Tensor:
    """Signs of all pairs that meet in a batch: int8 [B, C].

    The drawn positive is +1. Another known positive, and any column that is the same candidate as a positive, is 0
    ("silent") or +1 ("pull"). All else is -1.

    Args:
        anchor_id, candidate_id: int64 [B], [C]; duplicates share an id.
        positives: int64 [P, 2], known (anchor id, candidate id) pairs, those of the batch at least.
        drawn: int64 [B], column of the positive that was drawn; None = row i drew column i. -1 = none.
        of: int64 [C], the row that brought a column (needed for in_batch=False; None = column i is of row i, and the
            columns behind the first B are shared out anchor-major).
        in_batch: False, or bool [B], False for a row: columns that other rows brought are 0 there, the drawn positive
            excepted.
    Raises:
        ValueError: a shape does not fit or an argument is out of range; the argument is named.
    """
    b, c = len(anchor_id), len(candidate_id)
    device = anchor_id.device
    if others not in ("silent", "pull"):
        raise ValueError(f"signs: others must be 'silent' or 'pull', got {others!r}")
    if positives.ndim != 2 or positives.shape[1] != 2:
        raise ValueError(f"signs: positives must be [P, 2] (anchor id, candidate id), got {list(positives.shape)}")
    if drawn is None and c < b:
        raise ValueError(f"signs: without drawn, row i draws column i, but {b} rows meet {c} columns")
    for name, value, length in (("drawn", drawn, b), ("of", of, c)):
        if value is not None and tuple(value.shape) != (length,):
            raise ValueError(f"signs: {name} must be [{length}], got {list(value.shape)}")
    drawn = torch.arange(b, device=device) if drawn is None else drawn
    known = _member(anchor_id, candidate_id, positives)
    has = drawn >= 0
    if c:
        own = candidate_id[drawn.clamp(min=0)]
        known = known | (candidate_id[None, :] == own[:, None]) & has[:, None]

    sign = torch.full((b, c), -1, dtype=torch.int8, device=device)
    sign = sign.masked_fill(known, 1 if others == "pull" else 0)
    here = torch.arange(c, device=device)[None, :] == drawn[:, None]
    sign = sign.masked_fill(here, 1)
    if in_batch is not True:
        of = _brought(b, c, device) if of is None else of
        foreign = (of[None, :] != torch.arange(b, device=device)[:, None]) & ~here
        keep = torch.as_tensor(in_batch, device=device)
        if keep.dtype != torch.bool or keep.ndim > 1:
            raise ValueError(f"signs: in_batch must be bool or bool [{b}], got {keep.dtype} {list(keep.shape)}")
        sign = sign.masked_fill(foreign & ~keep.expand(b)[:, None], 0)
    return sign


def from_pairs(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    ids: tuple[Tensor, Tensor] | None = None,
    known: Tensor | None = None,
    others: Literal["silent", "pull"] = "silent",
    in_batch: bool | Tensor = True,
) -> SignedBatch:
    """A batch of (anchor, positive) pairs with H mined negatives each: columns [positives | negatives], anchor-major.

    Args:
        anchors, positives: [B, D]; negatives: [B, H, D] or [B * H, D].
        weight: [B, C] belief; None = 1 everywhere.
        ids: (anchor ids int64 [B], candidate ids int64 [C]); with them known positives and duplicates get sign 0.
        known: int64 [P, 2], known positive (anchor id, candidate id) pairs beside the drawn ones.
    Raises:
        ValueError: shapes do not fit; the argument is named.
    """
    b = len(anchors)
    if positives.shape != anchors.shape:
        raise ValueError(
            f"from_pairs: positives must have the shape of anchors {list(anchors.shape)}, got {list(positives.shape)}"
        )
    columns = [positives]
    if negatives is not None:
        by_row = negatives.ndim == anchors.ndim + 1
        flat = negatives.flatten(0, 1) if by_row else negatives
        if len(flat) % max(b, 1) or (by_row and len(negatives) != b):
            shape = list(negatives.shape)
            raise ValueError(f"from_pairs: negatives must be [B, H, D] or [B * H, D] for B = {b} anchors, got {shape}")
        columns.append(flat)
    candidates = torch.cat(columns)
    c, device = len(candidates), anchors.device
    of = _brought(b, c, device)
    drawn = torch.arange(b, device=device)
    unnamed = (torch.arange(b, device=device), torch.arange(c, device=device))
    anchor_id, candidate_id = unnamed if ids is None else ids
    if ids is None and known is not None:
        raise ValueError("from_pairs: known positives are pairs of ids, and no ids were given")
    if (len(anchor_id), len(candidate_id)) != (b, c):
        raise ValueError(f"from_pairs: ids must be [{b}] and [{c}], got [{len(anchor_id)}] and [{len(candidate_id)}]")
    none = torch.empty((0, 2), dtype=torch.int64, device=device)
    sign = signs(
        anchor_id, candidate_id, none if known is None else known, of=of, drawn=drawn, others=others, in_batch=in_batch
    )
    role = torch.full((c,), -1, dtype=torch.int8, device=device)
    role[:b] = 1
    return SignedBatch(
        None,
        sign,
        torch.ones(b, c, device=device) if weight is None else weight,
        anchors,
        candidates,
        rows={"positive": drawn} if ids is None else {"positive": drawn, "id": anchor_id},
        columns={"of": of, "role": role} if ids is None else {"of": of, "role": role, "id": candidate_id},
    )


def from_groups(scores: Tensor, positive: int | Tensor = 0, valid: Tensor | None = None) -> SignedBatch:
    """A batch of score lists: each row its own candidates, one of them positive; column order = rank order.

    Args:
        scores: [B, C]. positive: column of the positive, one for all or int64 [B] (-1 = none).
        valid: bool [B, C], True = there; the rest gets sign 0.
    """
    b, c = scores.shape
    if isinstance(positive, int) and not -1 <= positive < c:
        raise ValueError(f"from_groups: positive must be in [-1, {c - 1}], got {positive}")
    positive = torch.as_tensor(positive, device=scores.device).expand(b)
    here = torch.arange(c, device=scores.device)[None, :] == positive[:, None]
    sign = torch.where(here, 1, -1).to(torch.int8)
    if valid is not None:
        sign = sign.masked_fill(~valid, 0)
    weight = torch.ones(b, c, device=scores.device, dtype=torch.promote_types(scores.dtype, torch.float32))
    return SignedBatch(scores, sign, weight, rows={"positive": torch.where((sign > 0).any(dim=1), positive, -1)})


def from_labels(
    anchors: Tensor, y: Tensor, candidates: Tensor | None = None, other: Tensor | None = None
) -> SignedBatch:
    """A batch signed by class: the same label pulls, another pushes, a row never meets itself.

    Args:
        anchors: [B, D]; y: int64 [B] labels. candidates: [C, D] with labels `other` [C]; None = the anchors themselves.
    """
    if (candidates is None) != (other is None):
        raise ValueError("from_labels: candidates and other go together, got only one of them")
    labels = y if other is None else other
    sign = torch.where(y[:, None] == labels[None, :], 1, -1).to(torch.int8)
    if candidates is None:
        sign.fill_diagonal_(0)
    shape = tuple(sign.shape)
    return SignedBatch(
        None, sign, torch.ones(shape, device=y.device), anchors, anchors if candidates is None else candidates
    )


def from_classes(anchors: Tensor, y: Tensor) -> SignedBatch:
    """A batch that brings anchors and their classes and no candidates: a source, as `Proxies`, brings those.

    Args:
        anchors: [B, D]; y: int64 [B], -1 = no class.
    """
    if y.shape != anchors.shape[:1]:
        raise ValueError(f"from_classes: y must be [{len(anchors)}], got {list(y.shape)}")
    nothing = torch.zeros(len(anchors), 0, device=anchors.device)
    return SignedBatch(None, nothing.to(torch.int8), nothing, anchors, anchors[:0], rows={"label": y})


def two_views(u: Tensor, v: Tensor) -> SignedBatch:
    """Two views of B items as a 2B x 2B batch [u; v]: the twin is +1, self is 0, all else -1."""
    if u.shape != v.shape:
        raise ValueError(f"two_views: both views must have one shape, got {list(u.shape)} and {list(v.shape)}")
    b = len(u)
    both = torch.cat([u, v])
    sign = torch.full((2 * b, 2 * b), -1, dtype=torch.int8, device=u.device).fill_diagonal_(0)
    row = torch.arange(2 * b, device=u.device)
    twin = (row + b) % max(2 * b, 1)
    sign[row, twin] = 1
    return SignedBatch(None, sign, torch.ones(2 * b, 2 * b, device=u.device), both, both, rows={"positive": twin})


def soft_signs(target: Tensor) -> tuple[Tensor, Tensor]:
    """Sign int8 and weight for graded targets [B, C] in [0, 1]: above 0 is +1 with that weight, 0 is -1 with weight 1.

    The weight is detached: who makes a weight gives it no gradient.
    """
    return torch.where(target > 0, 1, -1).to(torch.int8), torch.where(target > 0, target.detach(), 1.0)


def _brought(b: int, c: int, device: torch.device) -> Tensor:
    """The row that brought each column of [positives | negatives anchor-major]: int64 [C]."""
    if c > b and (not b or (c - b) % b):
        raise ValueError(f"signs: {c - b} negatives cannot be shared out among {b} rows; say of whom they are (of=)")
    positives = torch.arange(min(b, c), device=device)
    if c <= b:
        return positives
    return torch.cat([positives, torch.arange(c - b, device=device) // max((c - b) // max(b, 1), 1)])


def _member(anchor_id: Tensor, candidate_id: Tensor, positives: Tensor) -> Tensor:
    """Bool [B, C]: the pair of ids is among `positives` [P, 2]. O(B C) memory, never [B, C, P]."""
    b, c = len(anchor_id), len(candidate_id)
    if not len(positives) or not b or not c:
        return torch.zeros(b, c, dtype=torch.bool, device=anchor_id.device)
    _, code = torch.unique(torch.cat([candidate_id, positives[:, 1]]), return_inverse=True)
    _, name = torch.unique(torch.cat([anchor_id, positives[:, 0]]), return_inverse=True)
    base = len(code)
    pairs = name[:b, None] * base + code[None, :c]
    return torch.isin(pairs, name[b:] * base + code[c:])
