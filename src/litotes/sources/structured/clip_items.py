"""ConsistentItems: what a tracker compares over a clip, as anchors with positives and negatives of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from litotes.batch import SignedBatch
from litotes.sources.memory.track import TrackMemory


class ConsistentItems:
    """An item for every object that is visible in a frame t >= 1 of a clip:

        anchor      its embedding in frame t
        positive    seen before: with probability `memory_prob` its memory as of t - 1, else its last embedding before
                    t; not seen before: its first embedding after t; neither: no item
        negatives   all other embeddings of frame t - 1, background included; or the memories of the other objects

    So training compares a detection with what inference compares it with. `memory_prob=0` and clips of two frames is
    the usual pair training.

    In:   embeds [T, Q, D], T >= 2; assign int64 [T, I], which of the Q is object i, -1 = invisible; a generator.
    Out:  SignedBatch with `anchors` [A, D] and `own` [A, C, D]: column 0 the positive, the rest negatives, those that
          are not there of sign 0; `rows["object"]`, `rows["frame"]` int64 [A]. A may be 0: the losses are then 0 with a
          graph.
    Cost: O(T (Q + I) I D) memory. Not detached.

    Args:
        memory_prob: in [0, 1]. memory: how the past is averaged; it is reset for every clip.
        negatives: "previous_frame", "memory" or "both".
    Raises:
        ValueError: an argument is out of range, or an embedding is assigned to two objects of a frame.
    Source: CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616), section 3.3; the
        negatives are those of the released code, "memory" is our reading of the paper's text.
    """

    def __init__(
        self,
        memory_prob: float = 0.5,
        memory: TrackMemory | None = None,
        negatives: Literal["previous_frame", "memory", "both"] = "previous_frame",
    ):
        if not 0 <= memory_prob <= 1:
            raise ValueError(f"ConsistentItems: memory_prob must be in [0, 1], got {memory_prob!r}")
        if negatives not in ("previous_frame", "memory", "both"):
            raise ValueError(
                f"ConsistentItems: negatives must be 'previous_frame', 'memory' or 'both', got {negatives!r}"
            )
        self.memory_prob, self.negatives = float(memory_prob), negatives
        self.memory = TrackMemory() if memory is None else memory

    def __call__(self, embeds: Tensor, assign: Tensor, *, generator: torch.Generator) -> SignedBatch:
        self._check(embeds, assign)
        visible = assign >= 0
        of_object = embeds[torch.arange(len(embeds), device=embeds.device)[:, None], assign.clamp(min=0)]  # [T, I, D]
        self.memory.reset()
        made = []
        for t in range(len(embeds)):
            here = visible[t].nonzero().flatten()
            if t:
                made.append(self._frame(t, embeds, of_object, assign, here, generator))
            self.memory.update(here, of_object[t, here], embeds[t], generator=generator)
        self.memory.reset()  # the graph of the clip is no longer held here
        anchors, own, sign, thing, frame = (torch.cat(parts) for parts in zip(*made, strict=True))
        weight = torch.ones(sign.shape, device=sign.device)
        rows = {"object": thing, "frame": frame, "positive": torch.zeros_like(thing)}
        return SignedBatch(None, sign, weight, anchors, own=own, rows=rows)

    def over(self, clips: Iterable[tuple[Tensor, Tensor]], *, generator: torch.Generator) -> SignedBatch:
        """The items of several clips in one batch; `rows["clip"]` says whose. Narrower ones get columns of sign 0."""
        batches = [self(embeds, assign, generator=generator) for embeds, assign in clips]
        if not batches:
            raise ValueError("ConsistentItems: no clips")
        most = max(batch.sign.shape[1] for batch in batches)
        anchors, owns, signs = [], [], []
        for batch in batches:
            assert batch.anchors is not None and batch.own is not None
            more = most - batch.sign.shape[1]
            anchors.append(batch.anchors)
            owns.append(torch.nn.functional.pad(batch.own, (0, 0, 0, more)))
            signs.append(torch.nn.functional.pad(batch.sign, (0, more)))
        rows = {name: torch.cat([batch.rows[name] for batch in batches]) for name in batches[0].rows}
        sizes = torch.tensor([len(batch.sign) for batch in batches])
        rows["clip"] = torch.arange(len(batches)).repeat_interleave(sizes).to(rows["object"].device)
        sign = torch.cat(signs)
        weight = torch.ones(sign.shape, device=sign.device)
        return SignedBatch(None, sign, weight, torch.cat(anchors), own=torch.cat(owns), rows=rows)

    def _frame(
        self, t: int, embeds: Tensor, of_object: Tensor, assign: Tensor, here: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Anchors, own columns, signs, objects and frames of the items of frame t."""
        visible = assign >= 0
        steps = torch.arange(len(assign), device=assign.device)[:, None]
        last = torch.where(visible[:t], steps[:t], -1).amax(dim=0)[here]
        after = torch.where(visible[t + 1 :], steps[t + 1 :], len(assign))
        first = after.amin(dim=0)[here] if len(after) else torch.full_like(last, len(assign))
        there = (last >= 0) | (first < len(assign))
        here, last, first = here[there], last[there], first[there]
        before = last >= 0
        positive = of_object[torch.where(before, last, first.clamp(max=len(assign) - 1)), here]
        ids, memory = self.memory.state()
        if len(ids) and len(here):
            averaged = torch.rand(len(here), device=here.device, generator=generator) < self.memory_prob
            row = (here[:, None] == ids[None, :]).int().argmax(dim=1)
            positive = torch.where((averaged & before)[:, None], memory[row], positive)
        columns, signs = [positive[:, None]], [torch.ones(len(here), 1, device=here.device)]
        if self.negatives != "memory":
            queries = torch.arange(embeds.shape[1], device=here.device)
            columns.append(embeds[t - 1].expand(len(here), -1, -1))
            signs.append(torch.where(queries[None, :] == assign[t - 1, here][:, None], 0.0, -1.0))
        if self.negatives != "previous_frame":
            place = torch.arange(assign.shape[1], device=here.device)
            known = torch.isin(place, ids)
            whole = embeds.new_zeros(assign.shape[1], embeds.shape[2]).index_put((ids,), memory)
            columns.append(whole.expand(len(here), -1, -1))
            signs.append(torch.where(known[None, :] & (place[None, :] != here[:, None]), -1.0, 0.0))
        sign = torch.cat(signs, dim=1).to(torch.int8)
        return of_object[t, here], torch.cat(columns, dim=1), sign, here, torch.full_like(here, t)

    @staticmethod
    def _check(embeds: Tensor, assign: Tensor) -> None:
        if embeds.ndim != 3 or assign.ndim != 2 or len(embeds) != len(assign) or len(embeds) < 2:
            shapes = f"{list(embeds.shape)} and {list(assign.shape)}"
            raise ValueError(f"ConsistentItems: needs embeds [T, Q, D] and assign [T, I] with T >= 2, got {shapes}")
        ranked = assign.sort(dim=1).values
        if bool((assign >= embeds.shape[1]).any()) or bool(
            ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any()
        ):
            raise ValueError(
                f"ConsistentItems: assign must name each of {embeds.shape[1]} embeddings of a frame at most once"
            )
