"""MaskNoise: a token sequence with some of its tokens replaced by the mask token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

SEGMENTS = {"context": 0, "answer": 1}


class MaskNoise:
    """Replace each token by the mask token with probability `rate`, special and padding tokens excepted.

    An anchor made so from the right answer's input is still nearer to it than to the wrong answers, which share its
    context: they are hard negatives for free. If all of an answer is masked the anchor is alike to all of them; so keep
    the rate at or below 0.3.

    In:   ids int64 [B, L]; attention_mask [B, L], 0 = padding; for a segment, segment_ids [B, L] (0 = context,
          1 = answer); a generator on their device.
    Out:  int64 [B, L], a new tensor; the input is not changed.
    Cost: O(B L), no host synchronisation.

    Args:
        mask_id: what a token is replaced by. special_ids: tokens that stay.
        rate: in [0, 1]; 0 = nothing is masked.
        segment: "all", or only tokens of the "answer" or of the "context".
    Raises:
        ValueError: an argument is out of range, or segment_ids lack.
    Source: Self-supervised pre-training and contrastive representation learning for multiple-choice video QA
        (arXiv:2009.08043), its contrastive loss; the rate is that of masked language models.

    Example:
        >>> noise = MaskNoise(mask_id=103, special_ids=[101, 102], rate=1.0)
        >>> ids = torch.tensor([[101, 7, 8, 102, 0]])
        >>> noise(ids, ids > 0, generator=torch.Generator()).tolist()
        [[101, 103, 103, 102, 0]]
    """

    def __init__(
        self,
        mask_id: int,
        special_ids: Collection[int],
        rate: float = 0.15,
        segment: Literal["all", "answer", "context"] = "all",
    ):
        if not 0 <= rate <= 1:
            raise ValueError(f"MaskNoise: rate must be in [0, 1], got {rate!r}")
        if segment != "all" and segment not in SEGMENTS:
            raise ValueError(f"MaskNoise: segment must be 'all', 'answer' or 'context', got {segment!r}")
        self.mask_id, self.special_ids, self.rate, self.segment = int(mask_id), tuple(special_ids), float(rate), segment

    def __call__(
        self,
        ids: Tensor,
        attention_mask: Tensor,
        segment_ids: Tensor | None = None,
        *,
        generator: torch.Generator,
    ) -> Tensor:
        free = attention_mask.bool()
        for special in self.special_ids:
            free = free & (ids != special)
        if self.segment != "all":
            if segment_ids is None:
                raise ValueError(f"MaskNoise: segment={self.segment!r} needs segment_ids")
            free = free & (segment_ids == SEGMENTS[self.segment])
        drawn = torch.rand(ids.shape, device=ids.device, generator=generator) < self.rate
        return torch.where(free & drawn, self.mask_id, ids)
