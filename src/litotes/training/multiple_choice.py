"""Multiple-choice question answering over clips: its loss, and attention of sentences to the frames of their span."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litotes.batch import SignedBatch
from litotes.training.chains import masked_answer_contrast


class MultipleChoice(nn.Module):
    """The loss of a question with K answers:

        L = cross-entropy of the scores + contrast * L_con + localisation * L_loc

    L_con draws a masked copy of the right answer's representation to it and away from those of the wrong answers
    (`masked_answer_contrast` over `choices`); L_loc is the binary cross-entropy of one logit per sentence, whether
    it lies in the span that answers. A term whose inputs are None is not there; a weight of 0 leaves it out.

    In:   scores [B, K]; target int64 [B]; anchor [B, D], reps [B, K, D]; spans: (logits [B, J], inside [B, J]), inside
          1, 0, or -1 = padding; valid bool [B, K], False = no such answer.
    Out:  loss, scalar, and its parts by name.
    Args:
        contrast, localisation: weights, >= 0 and finite.
        similarity, temperature, in_batch: see `masked_answer_contrast` and `choices`.
    Raises:
        ValueError: an argument is out of range, or a target is no column (on a GPU this waits for the device).
    Source: Self-supervised pre-training and contrastive representation learning for multiple-choice video QA
        (arXiv:2009.08043); unit weights are our reading.
    """

    def __init__(
        self,
        contrast: float = 1.0,
        localisation: float = 1.0,
        similarity: Literal["dot", "cosine"] = "dot",
        temperature: float = 1.0,
        in_batch: bool = False,
    ):
        super().__init__()
        for name, value in (("contrast", contrast), ("localisation", localisation)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"MultipleChoice: {name} must be >= 0 and finite, got {value!r}")
        self.contrast, self.localisation, self.in_batch = float(contrast), float(localisation), bool(in_batch)
        self.chain = masked_answer_contrast(similarity, temperature)

    def forward(
        self,
        scores: Tensor,
        target: Tensor,
        anchor: Tensor | None = None,
        reps: Tensor | None = None,
        spans: tuple[Tensor, Tensor] | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        _checked(target, scores.shape[1], valid)
        logits = scores if valid is None else scores.masked_fill(~valid, -math.inf)
        loss = F.cross_entropy(logits, target)
        parts = {"answer": loss}
        if self.contrast and anchor is not None and reps is not None:
            parts["contrast"] = self.chain(choices(anchor, reps, target, valid, self.in_batch))
            loss = loss + self.contrast * parts["contrast"]
        if self.localisation and spans is not None:
            inside = spans[1]
            costs = F.binary_cross_entropy_with_logits(
                spans[0], inside.clamp(min=0).to(spans[0].dtype), reduction="none"
            )
            there = inside >= 0
            parts["localisation"] = torch.where(there, costs, 0).sum() / there.sum().clamp(min=1)
            loss = loss + self.localisation * parts["localisation"]
        return loss, parts


def choices(
    anchors: Tensor, reps: Tensor, target: Tensor, valid: Tensor | None = None, in_batch: bool = False
) -> SignedBatch:
    """A batch of anchors that each have K candidates of their own, one of them positive.

    Args:
        anchors: [B, D]. reps: [B, K, D]. target: int64 [B], the column of the positive, in 0 .. K - 1.
        valid: bool [B, K], False = sign 0; None = all are there.
        in_batch: the candidates of all rows are shared columns, and those of other rows are negatives too.
    Raises:
        ValueError: a target is no column or not valid; its row and K are named.
    """
    b, k = reps.shape[:2]
    _checked(target, k, valid)
    here = torch.arange(k, device=target.device)[None, :] == target[:, None]
    sign = torch.where(here, 1, -1).to(torch.int8)
    there = torch.ones_like(here) if valid is None else valid
    sign = sign.masked_fill(~there, 0)
    if not in_batch:
        return SignedBatch(
            None, sign, torch.ones(b, k, device=sign.device), anchors, own=reps, rows={"positive": target}
        )
    row = torch.arange(b, device=sign.device)
    wide = torch.where(there, -1, 0).to(torch.int8).flatten()[None, :].repeat(b, 1).view(b, b, k)
    wide[row, row] = sign
    return SignedBatch(
        None,
        wide.view(b, b * k),
        torch.ones(b, b * k, device=sign.device),
        anchors,
        reps.flatten(0, 1),
        rows={"positive": row * k + target},
        columns={"of": row.repeat_interleave(k)},
    )


def _checked(target: Tensor, k: int, valid: Tensor | None) -> None:
    bad = (target < 0) | (target >= k)
    if valid is not None:
        bad = bad | ~valid.gather(1, target.clamp(0, k - 1)[:, None])[:, 0]
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise ValueError(f"choices: target[{row}] = {int(target[row])} is none of the K = {k} candidates of its row")


class LocalAlignedAttention(nn.Module):
    """Tokens of a sentence attend to the frames of its own time span, and are fused with what they see.

        U = softmax(T W V^T over the frames of the span) V,     out = relu(linear([T; U; T * U]))

    A sentence without frames has U = 0. With a span mask that is True throughout this is global attention.

    In:   tokens [B, J, n, d]; frames [B, F, d]; span_mask bool [B, J, F].
    Out:  [B, J, n, d].
    Cost: O(B J n F d).
    Source: arXiv:2009.08043, its locally aligned attention; the fusion is our reading.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Linear(dim, dim, bias=False)
        self.fuse = nn.Linear(3 * dim, dim)

    def attend(self, tokens: Tensor, frames: Tensor, span_mask: Tensor) -> Tensor:
        """U alone, [B, J, n, d]."""
        energy = torch.einsum("bjnd,bfd->bjnf", self.weight(tokens), frames)
        mask = span_mask[:, :, None, :]
        some = mask.any(dim=-1, keepdim=True)
        share = energy.masked_fill(~mask & some, -math.inf).softmax(dim=-1)  # a row of -inf alone would give NaN
        return torch.einsum("bjnf,bfd->bjnd", share * some, frames)

    def forward(self, tokens: Tensor, frames: Tensor, span_mask: Tensor) -> Tensor:
        seen = self.attend(tokens, frames, span_mask)
        return torch.relu(self.fuse(torch.cat([tokens, seen, tokens * seen], dim=-1)))
