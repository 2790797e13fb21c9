"""Gist: a second model says which in-batch negatives stand nearer to the anchor than its own positive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, doubt
from litotes.ops import keep_under, unit
from litotes.spelling import spell


class Gist(nn.Module):
    """Take the weight away from negatives that a guide finds more alike to the anchor than the anchor's positive.

    In a batch every other row is a negative, and some of them are answers nobody labelled. With g the cosine of the
    guide's features and r_i the guide's cosine of anchor i and its positive, a negative j of row i keeps its weight
    when

        g_ij <= r_i - margin            strategy "absolute"
        g_ij <= r_i - |r_i| * margin    strategy "relative"

    (equality keeps; compared in float32). One line holds for all columns of a row: where `columns["side"]` is 1, g
    compares the row's drawn positive, not its anchor, with the column, and the line stays. Positives are never
    touched. Left as they are: rows without a positive, and pairs the guide has not seen (own columns, NaN).
    A duplicate of the positive ties with the line and is kept: sign 0 by id is what removes it.

    In:   SignedBatch with `rows["guide"]` [B, D'] and `columns["guide"]` [C, D'] of any float dtype; or
          `pairs["guide"]` [B, C], the guide's own scores, NaN = not scored, which is read instead if there.
    Out:  the batch with `weight` 0 where doubted, `notes` with the number of doubted pairs by block, under
          "<spelling>: ap" (positives of other rows), "aa" and "pp" (repeated anchors and positives, see SameSide) and
          "an" (mined negatives). Blocks need `columns["role"]`; without it all side-0 columns count as "ap".
          No gradient reaches the guide.
    Cost: O(B C D'), twice if there is a side.

    Args:
        margin: depth of the line below r, in [0, 2] (absolute) or [0, 1] (relative). 0 is the paper. Larger doubts
            more.
        strategy: "absolute" or "relative".
        reference: the positive that draws the line if a row has several: "min" (doubts most), "max" or "mean".
    Raises:
        ValueError: an argument is out of range, or the batch has no guide features.
    Source: GISTEmbed (arXiv:2402.16829), equations 2 to 5; the margin is a later extension of its re-implementations.
    """

    stage = "vetter"
    needs = ("scores", "guide")
    gives = ()
    citation = """@article{solatorio2024gistembed,
    title = {GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning},
    author = {Solatorio, Aivin V.},
    journal = {arXiv preprint arXiv:2402.16829},
    year = {2024}
}"""

    def __init__(
        self,
        margin: float = 0.0,
        strategy: Literal["absolute", "relative"] = "absolute",
        reference: Literal["min", "max", "mean"] = "min",
    ):
        super().__init__()
        if strategy not in ("absolute", "relative"):
            raise ValueError(f"Gist: strategy must be 'absolute' or 'relative', got {strategy!r}")
        most = 2 if strategy == "absolute" else 1
        if not 0.0 <= margin <= most:
            raise ValueError(f"Gist: margin must be in [0, {most}] with strategy {strategy!r}, got {margin!r}")
        if reference not in ("min", "max", "mean"):
            raise ValueError(f"Gist: reference must be 'min', 'max' or 'mean', got {reference!r}")
        self.margin = float(margin)
        self.strategy = strategy
        self.reference = reference

    @torch.no_grad()
    def _doubted(self, batch: SignedBatch) -> Tensor:
        """Bool [B, C + M]: negatives above the line of their row."""
        guide = self._guide_scores(batch)
        line_of = self._reference(batch, guide)
        return ~keep_under(guide, line_of, self.margin, self.strategy) & (batch.sign < 0)

    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        doubted, shared = self._doubted(batch), batch.shared
        for name, columns in self._blocks(batch).items():
            here = torch.zeros_like(doubted)
            here[:, :shared] = doubted[:, :shared] & columns[None, :]
            if name == "an":
                here[:, shared:] = doubted[:, shared:]
            batch = doubt(batch, here, reason=f"{self}: {name}")
        return batch

    def _guide_scores(self, batch: SignedBatch) -> Tensor:
        """Scores of the guide, at least float32, [B, C + M]; NaN where it has seen nothing."""
        if "guide" in batch.pairs:
            given = batch.pairs["guide"]
            return given.to(torch.promote_types(given.dtype, torch.float32))
        if "guide" not in batch.rows or "guide" not in batch.columns:
            raise ValueError(
                'Gist: needs features of the guide in rows["guide"] and columns["guide"], or pairs["guide"]; '
                f"rows has {list(batch.rows)}, columns {list(batch.columns)}, pairs {list(batch.pairs)}"
            )
        rows, columns = batch.rows["guide"], batch.columns["guide"][: batch.shared]
        dtype = torch.promote_types(rows.dtype, torch.float32)  # before the norm: bf16 has no room for near-ties
        rows, columns = unit(rows.to(dtype)), unit(columns.to(dtype))
        scores = rows @ columns.T
        side = batch.columns.get("side")
        if side is not None:
            drawn = batch.rows["positive"]
            against = columns[drawn.clamp(min=0)] @ columns.T  # a row without a positive has no line to be above
            scores = torch.where((side[: batch.shared] == 1)[None, :], against, scores)
        unseen = scores.new_full((len(scores), batch.private), torch.nan)
        return torch.cat([scores, unseen], dim=1)

    def _reference(self, batch: SignedBatch, guide: Tensor) -> Tensor:
        """The guide's score of the positive, [B]; NaN without one."""
        positive = batch.exists & (batch.sign > 0) & ~guide.isnan()
        some = positive.any(dim=1)
        if not guide.shape[1]:
            return guide.new_full((len(guide),), torch.nan)
        if self.reference == "mean":
            drawn = torch.where(positive, guide, 0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
        elif self.reference == "max":
            drawn = guide.masked_fill(~positive, -torch.inf).amax(dim=1)
        else:
            drawn = guide.masked_fill(~positive, torch.inf).amin(dim=1)
        return torch.where(some, drawn, torch.nan)

    def _blocks(self, batch: SignedBatch) -> dict[str, Tensor]:
        """Which shared columns belong to which block: bool [C] each; every column is in exactly one."""
        shared, device = batch.shared, batch.sign.device
        side = batch.columns.get("side", torch.zeros(shared, device=device))[:shared]
        role = batch.columns.get("role", torch.ones(shared, device=device))[:shared]
        pp = side == 1
        return {"ap": ~pp & (role > 0), "aa": ~pp & (role == 0), "pp": pp, "an": ~pp & (role < 0)}

    def __str__(self) -> str:
        return spell(self)
