"""SameSide: anchors against anchors and positives against positives, as further negatives of a batch of pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.spelling import spell


class SameSide(nn.Module):
    """Append the anchors and the drawn positives of the batch as columns, so that like is pushed from like.

        aa   the anchors, side 0: row i meets anchor j
        pp   the drawn positives, side 1: the positive of row i meets the positive of row j

    Rows i and j push each other apart in both blocks when the positive of each is a negative of the other; else, and
    for i = j, the sign is 0: two anchors with one answer are no negatives, nor are two answers of one anchor. The
    weight is the lower of the two beliefs that say so. Rows without a drawn positive have no pp block and push
    nobody apart in aa.

    In:   SignedBatch with features and `rows["positive"]` int64 [B] (column of the drawn positive, -1 = none).
          Anchors and candidates must have the same width. `own` columns stay behind the shared ones.
    Out:  the batch with B or 2B more shared columns, `columns["side"]` (0 or 1), and `columns["role"]` 0 for aa and
          1 for pp. Repeated anchors take their `columns` extras from `rows` of the same name, "id" aside: it is -1,
          for anchors and candidates are numbered apart. Extras of pairs are NaN (float) or 0 there.
    Cost: O(B^2) more pairs.

    Args:
        anchors: append the block aa.
        positives: append the block pp.
    Raises:
        ValueError: neither block is asked for, features or drawn positives are missing, own columns have been
            scored already (put SameSide first), or an extra of the columns has no counterpart for anchors.
    Source: GISTEmbed (arXiv:2402.16829), equation 6.
    """

    stage = "source"
    needs = ("features",)
    gives = ("side",)

    def __init__(self, anchors: bool = True, positives: bool = True):
        super().__init__()
        if not (anchors or positives):
            raise ValueError("SameSide: anchors or positives must be True, got False and False")
        self.anchors = bool(anchors)
        self.positives = bool(positives)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the blocks appended."""
        if batch.anchors is None or batch.candidates is None or "positive" not in batch.rows:
            raise ValueError('SameSide: needs anchors, candidates and rows["positive"] in the batch')
        if batch.scores is not None and batch.scores.shape[1] > batch.shared:
            raise ValueError("SameSide: own columns have been scored already; it must come before their source")
        drawn = batch.rows["positive"]
        column = drawn.clamp(min=0)
        features, sign, weight = [batch.candidates], *_apart(batch, drawn, column)
        blocks = []
        if self.anchors:
            blocks.append((sign, weight))
            features.append(batch.anchors)
        if self.positives:
            blocks.append((sign, weight))
            features.append(batch.candidates[column])
        return batch.replace(
            candidates=torch.cat(features),
            sign=_insert(batch.sign, batch.shared, [sign for sign, _ in blocks]),
            weight=_insert(batch.weight, batch.shared, [weight for _, weight in blocks]),
            columns=self._columns(batch, column),
            pairs={
                name: _insert(value, batch.shared, [_unknown(value, len(drawn))] * len(blocks))
                for name, value in batch.pairs.items()
            },
        )

    def _columns(self, batch: SignedBatch, column: Tensor) -> dict[str, Tensor]:
        """The extras of all columns; those of own columns stay at the end."""
        b, shared, device = len(column), batch.shared, column.device
        known = {
            "side": torch.zeros(shared, dtype=torch.int8, device=device),
            "role": torch.where(torch.isin(torch.arange(shared, device=device), batch.rows["positive"]), 1, -1).to(
                torch.int8
            ),
            **batch.columns,
        }
        here = torch.arange(b, device=device)
        anchors = {
            "side": known["side"].new_zeros(b),
            "role": known["role"].new_zeros(b),
            "of": here,
            "id": -torch.ones_like(here),
        }
        out = {}
        for name, value in known.items():
            blocks = []
            if self.anchors:
                if name not in anchors and name not in batch.rows:
                    raise ValueError(f"SameSide: columns has {name!r} and rows has not: what is it for an anchor?")
                blocks.append((anchors[name] if name in anchors else batch.rows[name]).to(value.dtype))
            if self.positives:
                positives = {"side": known["side"].new_ones(b), "role": known["role"].new_ones(b), "of": here}
                blocks.append(positives[name] if name in positives else value[column])
            out[name] = torch.cat([value[:shared], *blocks, value[shared:]])
        return out

    def __str__(self) -> str:
        return spell(self)


def _apart(batch: SignedBatch, drawn: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Sign int8 and weight [B, B] of two rows against each other, from what each says of the other's positive.

    The diagonal is 0: a row's own positive is no negative of it.
    """
    has = drawn >= 0
    sign, weight = batch.sign[:, column], batch.weight[:, column]
    both = (sign < 0) & (sign.T < 0) & has[:, None] & has[None, :]
    return torch.where(both, -1, 0).to(torch.int8), torch.minimum(weight, weight.T)


def _insert(value: Tensor, at: int, blocks: list[Tensor]) -> Tensor:
    return torch.cat([value[:, :at], *blocks, value[:, at:]], dim=1)


def _unknown(value: Tensor, b: int) -> Tensor:
    return value.new_full((b, b), torch.nan if value.is_floating_point() else 0)
