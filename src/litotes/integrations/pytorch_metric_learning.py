"""A litotes chain as a loss and as a miner of pytorch-metric-learning.

The two libraries meet in pairs: what that one calls an indices tuple is a batch of signs here, where a pair that is not
named has sign 0. So its miners feed litotes losses, and litotes vetters choose pairs for its losses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, from_classes, from_labels
from litotes.chain import Chain
from litotes.extras import need
from litotes.integrations.plain import Criterion
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.ops import top_negatives

_WHY = "litotes.integrations.pytorch_metric_learning"
_losses: Any = need("pytorch_metric_learning.losses", extra="metric-learning", why=_WHY)
_miners: Any = need("pytorch_metric_learning.miners", extra="metric-learning", why=_WHY)

Indices = tuple[Tensor, ...]


class Loss(_losses.BaseMetricLossFunction):
    """Any chain or objective of litotes as a loss: `loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)`.

    Equal labels pull, others push, nothing meets itself. With `indices_tuple` of a miner, pairs (a1, p, a2, n) or
    triplets (a, p, n), only the pairs that are named are there; a pair that is named twice is one pair. The reference
    set (`ref_emb`) makes the columns.

    Parts find `rows["label"]`; `columns["id"]` is the label, so that what other processes or a queue bring of the same
    class is no negative; `rows["positive"]` is the first positive of a row, and without a reference set
    `columns["of"]` says that row i brought column i.

    Out:  0-d tensor. Without `reducer` it is what the objective makes of the batch; with one, the reducer gets the
          costs of the anchors that have a term (objectives with `per_anchor`). Regularisers of embeddings apply.
    Cost: O(B C) for objectives that say so; no list of pairs is formed.

    Args:
        objective: a Chain, or an objective, which is scored by cosine then. Its scorer is what measures: a `distance`
            is refused.
        pairs: False = the batch brings no candidates, for chains whose sources do (Proxies).
        seed: of what parts of the chain draw.
        settings: reducer, embedding_regularizer, embedding_reg_weight, collect_stats, as the library has them.
    Raises:
        ValueError: a distance is given, labels and indices are both missing, or indices meet pairs=False.
    """

    def __init__(self, objective: nn.Module, *, pairs: bool = True, seed: int = 0, **settings: Any):
        if settings.get("distance") is not None:
            raise ValueError(f"Loss: the scorer of the chain measures, distance={settings['distance']} would not")
        reduced = settings.get("reducer") is not None
        super().__init__(**settings)
        self.criterion = Criterion(objective, _formed, seed)
        self.pairs = pairs
        self.per_anchor = reduced
        self.now: Moment | None = None  # a loop that follows training may set it
        self._guide: tuple[Tensor, Tensor] | None = None

    @property
    def chain(self) -> Chain:
        """The chain that a batch goes through."""
        return self.criterion.chain

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Indices | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        guide: Tensor | None = None,
        ref_guide: Tensor | None = None,
    ) -> Tensor:
        """The loss; `guide` [B, D'], `ref_guide` [C, D']: features of a second model, for chains with Gist."""
        self._guide = _both(guide, ref_guide, ref_emb)
        try:
            loss: Tensor = super().forward(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        finally:
            self._guide = None
        return loss

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Indices | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, Any]:
        """What the library reduces."""
        how: dict[str, Any] = {"in_batch": self.pairs, "guide": self._guide}
        inputs = (embeddings, labels, indices_tuple, ref_emb, ref_labels)
        if not self.per_anchor:
            loss = self.criterion(*inputs, now=self.now, **how)
            return {"loss": {"losses": loss, "indices": None, "reduction_type": "already_reduced"}}
        batch = self.criterion.batch(*inputs, **how)
        draws = self.criterion.generator(embeddings.device, self.now)
        seen = self.chain.prepare(batch, now=self.now, generator=draws)
        cost, believed = self.chain.objective.per_anchor(seen, now=self.now)  # type: ignore[operator]
        rows = believed.nonzero()[:, 0]
        if not len(rows):
            zeros: dict[str, Any] = self.zero_losses()
            return zeros
        return {"loss": {"losses": cost[rows], "indices": rows, "reduction_type": "element"}}


class Miner(_miners.BaseMiner):
    """What a chain believes, as a miner: `miner(embeddings, labels, ref_emb, ref_labels)` -> (a1, p, a2, n).

    A pair is named if the scorers and vetters of the chain leave it a weight above `least`; with `k` only the k highest
    of an anchor's negatives are. The objective of the chain is not asked. No gradient; ties go to the lower column.

    Args:
        part: a Chain, or one scorer or vetter (a cosine scores before it). A source that adds columns has no place
            here: what it brings are no rows of the batch.
        least: weights up to it name no pair, in [0, 1).
        k: negatives of an anchor, >= 1; None = all.
        seed: of what parts of the chain draw.
    Raises:
        ValueError: an argument is out of range, or a part adds columns.
    """

    def __init__(self, part: nn.Module, *, least: float = 0.0, k: int | None = None, seed: int = 0, **settings: Any):
        if settings.get("distance") is not None:
            raise ValueError(f"Miner: the scorer of the chain measures, distance={settings['distance']} would not")
        if not 0.0 <= least < 1.0:
            raise ValueError(f"Miner: least must be in [0, 1), got {least!r}")
        if k is not None and not (isinstance(k, int) and k >= 1):
            raise ValueError(f"Miner: k must be a whole number >= 1 or None, got {k!r}")
        super().__init__(**settings)
        whole = isinstance(part, Chain) or getattr(part, "stage", None) == "objective"
        self.criterion = Criterion(part if whole else Chain(part, InfoNCE()), _formed, seed)
        self.least, self.k = float(least), k
        self.now: Moment | None = None
        self._guide: tuple[Tensor, Tensor] | None = None

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        guide: Tensor | None = None,
        ref_guide: Tensor | None = None,
    ) -> Indices:
        """The pairs; `guide` and `ref_guide` as in `Loss`."""
        self._guide = _both(guide, ref_guide, ref_emb)
        try:
            mined: Indices = super().forward(embeddings, labels, ref_emb, ref_labels)
        finally:
            self._guide = None
        return mined

    def mine(self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor) -> Indices:
        """The pairs, as the library asks for them."""
        batch = self.criterion.batch(embeddings, labels, None, ref_emb, ref_labels, in_batch=True, guide=self._guide)
        draws = self.criterion.generator(embeddings.device, self.now)
        seen = self.criterion.chain.prepare(batch, now=self.now, generator=draws)
        if seen.sign.shape != batch.sign.shape or seen.common is not None:
            raise ValueError(f"Miner: a part of {self.criterion.chain} adds columns, which are no rows of the batch")
        there = seen.exists & (seen.weight > self.least)
        a1, p = (there & (seen.sign > 0)).nonzero(as_tuple=True)
        field = there & (seen.sign < 0)
        if self.k is not None:
            column, valid = top_negatives(seen.replace(sign=torch.where(field, seen.sign, 0)), self.k)
            field = torch.zeros_like(field).scatter_(1, column, valid)
        a2, n = field.nonzero(as_tuple=True)
        return a1, p, a2, n


def _formed(
    embeddings: Tensor,
    labels: Tensor | None,
    indices: Indices | None,
    ref_emb: Tensor,
    ref_labels: Tensor | None,
    *,
    in_batch: bool,
    guide: tuple[Tensor, Tensor] | None,
) -> SignedBatch:
    """The batch of what the library hands over; `ref_emb` is `embeddings` itself without a reference set."""
    alone = ref_emb is embeddings
    if labels is None and (indices is None or not in_batch):
        raise ValueError("Loss: needs labels, or the indices of a miner")
    if not in_batch:
        if indices is not None or not alone:
            raise ValueError("Loss: with pairs=False the chain brings the candidates; got indices or a reference set")
        assert labels is not None
        batch = from_classes(embeddings, labels)
    elif labels is not None and (alone or ref_labels is not None):
        batch = from_labels(embeddings, labels, *(() if alone else (ref_emb, ref_labels)))
    else:
        sign = torch.zeros(len(embeddings), len(ref_emb), dtype=torch.int8, device=embeddings.device)
        batch = SignedBatch(None, sign, torch.ones(sign.shape, device=sign.device), embeddings, ref_emb)
    rows, columns = dict(batch.rows), dict(batch.columns)
    if in_batch:
        sign = batch.sign if indices is None else _named(batch.sign, indices)
        first = (sign > 0).int().argmax(dim=1) if sign.shape[1] else torch.zeros(len(sign), dtype=torch.int64)
        rows["positive"] = torch.where((sign > 0).any(dim=1), first.to(sign.device), -1)
        if alone:
            columns["of"] = torch.arange(len(sign), device=sign.device)
        if ref_labels is not None:
            columns["id"] = ref_labels
        batch = batch.replace(sign=sign)
    if labels is not None:
        rows["label"] = labels
    if guide is not None:
        rows["guide"] = guide[0]
        columns["guide"] = guide[1][: batch.shared]
    return batch.replace(rows=rows, columns=columns)


def _named(sign: Tensor, indices: Indices) -> Tensor:
    """Signs of the pairs that a miner names; 0 elsewhere."""
    a1, p, a2, n = indices if len(indices) == 4 else (indices[0], indices[1], indices[0], indices[2])
    out = torch.zeros_like(sign)
    out[a2, n] = -1
    out[a1, p] = 1
    return out


def _both(guide: Tensor | None, ref_guide: Tensor | None, ref_emb: Tensor | None) -> tuple[Tensor, Tensor] | None:
    if guide is None:
        return None
    if (ref_guide is None) != (ref_emb is None):
        raise ValueError("Loss: a reference set and its guide features (ref_guide) go together, got only one of them")
    return guide, guide if ref_guide is None else ref_guide
