"""EventFusion and EventLoss: queries that know what is happening now, and the loss that teaches them to."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, doubt
from litotes.chain import Chain
from litotes.objectives.base import Objective
from litotes.objectives.combine import Sum
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.ops import unit
from litotes.scoring import Cosine
from litotes.spelling import spell


class EventFusion(nn.Module):
    """A query vector in the light of events: query tokens read, by cross-attention, texts that say what is going on.

    "Election result" means something else every week. The documents' index stays as it is; what happens now arrives
    with the query.

        U = MHA(query = H_q, key = value = H_e);  G = LN(H_q + gate * W_o U), W_o U := 0 in rows without event tokens
        q_ctx = unit(pool(G));  q_plain = unit(pool(LN(H_q)));  event = unit(mean of H_e over its tokens)

    There are no positions: the order of the event tokens, and so of several event texts one behind the other, does not
    matter. The attention is softmax(Q K^T / sqrt(dim / heads)) V with Q, K, V linear and with bias, as is W_o.

    In:   `query` [B, Tq, dim], `query_mask` [B, Tq], `event` [B, Te, dim], `event_mask` [B, Te]; masks bool or 0/1,
          1 = token. What stands at masked places may be anything. A row may have no event token, and Te may be 0.
    Out:  (q_ctx, q_plain, event), each [B, dim], of length 1; event is 0 in rows without event tokens. q_plain gets no
          part of the event. With pool "cls" the first token of the query counts.
    Cost: O(B Tq (Te dim + dim^2) + B Te dim^2); no host synchronisation.

    Args:
        dim: of the token states. heads: of the attention; divides dim.
        gate: how far the event is let in, finite; 1 = fully, 0 = not at all; "learn" = a learnt scalar that starts at
            0.5.
        pool: "mean" over the query's tokens, or "cls".
    Raises:
        ValueError: an argument is out of range, or shapes do not fit.
    Source: Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372), the cross-attention of query and event;
        its formulas are not published, this is our reading.

    Example:
        >>> fusion = EventFusion(dim=8, heads=2)
        >>> query, event = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
        >>> [list(x.shape) for x in fusion(query, torch.ones(2, 3), event, torch.ones(2, 5))]
        [[2, 8], [2, 8], [2, 8]]
    """

    def __init__(
        self, dim: int, heads: int = 8, gate: float | Literal["learn"] = 1.0, pool: Literal["mean", "cls"] = "mean"
    ):
        super().__init__()
        for name, value in {"dim": dim, "heads": heads}.items():
            if not (isinstance(value, int) and value >= 1):
                raise ValueError(f"EventFusion: {name} must be a whole number >= 1, got {value!r}")
        if dim % heads:
            raise ValueError(f"EventFusion: heads must divide dim {dim}, got {heads!r}")
        learnt = gate == "learn"
        if not learnt and not (isinstance(gate, (int, float)) and math.isfinite(gate)):
            raise ValueError(f"EventFusion: gate must be a finite number or 'learn', got {gate!r}")
        if pool not in ("mean", "cls"):
            raise ValueError(f"EventFusion: pool must be 'mean' or 'cls', got {pool!r}")
        self.dim, self.heads, self.pool = dim, heads, pool
        self.gate = nn.Parameter(torch.tensor(0.5)) if learnt else float(gate)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, query: Tensor, query_mask: Tensor, event: Tensor, event_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        self._check(query, query_mask, event, event_mask)
        asked, told = query_mask.bool(), event_mask.bool()
        query = torch.where(asked[:, :, None], query, 0)
        event = torch.where(told[:, :, None], event, 0)
        known = told.any(dim=1)[:, None, None]
        read = torch.where(known, self.to_out(self.attended(query, event, told)), 0)  # the bias of W_o goes as well
        fused = self._pooled(self.norm(query + self.gate * read), asked)
        return fused, self._pooled(self.norm(query), asked), unit(_mean(event, told))

    def attended(self, query: Tensor, event: Tensor, event_mask: Tensor) -> Tensor:
        """U [B, Tq, dim]: what each query token reads; 0 in rows without event tokens."""
        told = event_mask.bool()
        if not event.shape[1]:
            return torch.zeros_like(query)
        known = told.any(dim=1)[:, None, None]
        q, k, v = (
            part(x).view(len(x), x.shape[1], self.heads, -1).transpose(1, 2)
            for part, x in ((self.to_q, query), (self.to_k, event), (self.to_v, event))
        )
        open_ = told[:, None, None, :] | ~known[:, :, :, None]  # a softmax of nothing would be NaN, in gradients too
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=open_)
        return torch.where(known, read.transpose(1, 2).reshape(query.shape), 0)

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.pool == "cls":
            first = mask.int().argmax(dim=1)
            return unit(states[torch.arange(len(states), device=states.device), first])
        return unit(_mean(states, mask))

    def _check(self, query: Tensor, query_mask: Tensor, event: Tensor, event_mask: Tensor) -> None:
        for name, states, mask in (("query", query, query_mask), ("event", event, event_mask)):
            if states.ndim != 3 or states.shape[2] != self.dim or len(states) != len(query):
                expected = f"[{len(query)}, T, {self.dim}]"
                raise ValueError(f"EventFusion: {name} must be {expected}, got {list(states.shape)}")
            if mask.shape != states.shape[:2]:
                there = f"{list(states.shape[:2])}, got {list(mask.shape)}"
                raise ValueError(f"EventFusion: {name}_mask must be {there}")

    def extra_repr(self) -> str:
        gate = "learn" if isinstance(self.gate, nn.Parameter) else self.gate
        return f"dim={self.dim}, heads={self.heads}, gate={gate}, pool={self.pool}"


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each row; 0 in rows without."""
    counts = mask[:, :, None]
    return torch.where(counts, states, 0).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def with_events(
    batch: SignedBatch, plain: Tensor, event: Tensor, event_mask: Tensor, *, ids: tuple[Tensor, Tensor] | None = None
) -> SignedBatch:
    """A batch, its anchors the q_ctx of `EventFusion`, that brings what `EventLoss` reads besides.

    Args:
        plain, event: [B, D], the other two outputs. event_mask: [B, Te], as it was given.
        ids: events of (rows int64 [B], columns int64 [C]), -1 = unknown. A column that another row brought about the
            row's own event is hardly a negative: it loses its weight.
    """
    told = event_mask.bool().any(dim=1)
    rows = {**batch.rows, "plain": plain, "event": event, "told": told}
    if ids is None:
        return batch.replace(rows=rows)
    rows["event_id"] = ids[0]
    return batch.replace(rows=rows, columns={**batch.columns, "event_id": ids[1]})


class _Events(nn.Module):
    """Rounds of `EventLoss` begin here: another side of the batch."""

    stage = "source"
    needs: tuple[str, ...] = ("features",)
    gives: tuple[str, ...] = ()

    def __str__(self) -> str:
        return spell(self)


class EventToDocument(_Events):
    """The rows' events in place of their queries; rows without an event say nothing (sign 0)."""

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        sign = batch.sign.masked_fill(~batch.rows["told"][:, None], 0)
        return batch.replace(scores=None, sign=sign, anchors=batch.rows["event"])


class QueryToEvent(_Events):
    """Plain queries against the events of all rows: the own one is the positive, one that is the same event says
    nothing, others are negatives; so do rows and columns without an event."""

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        told, b = batch.rows["told"], len(batch.sign)
        own = torch.eye(b, dtype=torch.bool, device=told.device)
        silent = ~(told[:, None] & told[None, :])
        if "event_id" in batch.rows:
            ids = batch.rows["event_id"]
            silent = silent | ((ids[:, None] == ids[None, :]) & (ids >= 0)[:, None] & ~own)
        sign = torch.where(own, 1, -1).masked_fill(silent, 0).to(torch.int8)
        weight = torch.ones(b, b, device=told.device, dtype=batch.weight.dtype)
        return SignedBatch(None, sign, weight, batch.rows["plain"], batch.rows["event"])


class EventLoss(Objective):
    """Three InfoNCE: queries in context find their documents, events find them too, and queries find their events.

        L = L(q_ctx, documents) + event_weight * L(event, documents) + query_event_weight * L(q_plain, events)

    The second makes the event vector useful by itself, the third ties a query to its event; without them the fusion
    may learn to look away. Each is a mean over the rows that have a term: a row without an event has none in the second
    and third, and where no row has one both are 0. Beliefs count in the first two alike.

    In:   a SignedBatch with features that went through `with_events`: `rows` "plain" [B, D], "event" [B, D], "told"
          bool [B]; with `rows["event_id"]` and `columns["event_id"]`, documents that other rows (`columns["of"]`)
          brought about the row's own event are not believed to be negatives.
    Out:  scalar.
    Cost: O(B C D + B^2 D).

    Args:
        temperature: divides the cosines of all three; > 0 and finite.
        event_weight, query_event_weight: >= 0 and finite.
    Raises:
        ValueError: an argument is out of range, or the batch brings no events.
    Source: Event-driven Real-time Retrieval in Web Search (arXiv:2312.00372), its multi-task training; weights and
        temperature are not published, these are our reading.

    Example:
        >>> from litotes.batch import from_pairs
        >>> x = torch.eye(2)
        >>> batch = with_events(from_pairs(x, x), plain=x, event=x, event_mask=torch.tensor([[1], [0]]))
        >>> list(EventLoss().terms(batch))
        ['loss', 'query_to_document', 'event_to_document', 'query_to_event']
    """

    needs = ("features",)

    def __init__(self, temperature: float = 0.05, event_weight: float = 0.5, query_event_weight: float = 0.1):
        super().__init__()
        for name, value in {"event_weight": event_weight, "query_event_weight": query_event_weight}.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"EventLoss: {name} must be >= 0 and finite, got {value!r}")
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"EventLoss: temperature must be > 0 and finite, got {temperature!r}")
        self.temperature = float(temperature)
        self.event_weight, self.query_event_weight = float(event_weight), float(query_event_weight)
        self.total = Sum(
            (1.0, Chain(Cosine(), InfoNCE(temperature))),
            (event_weight, Chain(EventToDocument(), Cosine(), InfoNCE(temperature))),
            (query_event_weight, Chain(QueryToEvent(), Cosine(), InfoNCE(temperature))),
        )

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.total(self._believed(batch), now=now, generator=generator)

    def terms(self, batch: SignedBatch, *, now: Moment | None = None) -> dict[str, Tensor]:
        """The loss and its three terms, unweighted."""
        names = ("loss", "query_to_document", "event_to_document", "query_to_event")
        return dict(zip(names, self.total.terms(self._believed(batch), now=now).values(), strict=True))

    def _believed(self, batch: SignedBatch) -> SignedBatch:
        missing = [name for name in ("plain", "event", "told") if name not in batch.rows]
        if missing:
            raise ValueError(f"EventLoss: the batch must come from with_events, its rows have no {', '.join(missing)}")
        if "event_id" not in batch.columns:
            return batch
        if "of" not in batch.columns:
            raise ValueError("EventLoss: columns has no 'of': the batch does not say who brought its columns")
        shared, b = batch.shared, len(batch.sign)
        ours, theirs = batch.rows["event_id"][:, None], batch.columns["event_id"][None, :shared]
        foreign = batch.columns["of"][None, :shared] != torch.arange(b, device=ours.device)[:, None]
        same = (ours == theirs) & (ours >= 0) & foreign & (batch.sign[:, :shared] < 0)
        own = torch.zeros(b, batch.private, dtype=torch.bool, device=ours.device)
        return doubt(batch, torch.cat([same, own], dim=1), reason="same event")
