"""TrackMemory: one vector per object of a clip, a running average of how it has looked so far."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from litotes.ops import unit


class TrackMemory:
    """What trackers compare new detections with, built the same way in training.

    A first embedding is the memory. A later one, e, of an object seen n times with history h_1 .. h_n, does

        similarity   m <- (1 - beta) m + beta e,    beta = max(0, mean over the history of cos(h, e))
        momentum     m <- momentum m + (1 - momentum) e
        last         m <- e
        mean         m <- m + (e - m) / (n + 1)

    An embedding unlike the history (an occlusion, a wrong match) so hardly changes the memory. Nothing is detached:
    gradients reach earlier embeddings through m and beta. Vectors are kept as they are, not normalised.

    Cost: `update` O(M K + K D max_history); the graph of a whole clip is held until `reset`.

    Args:
        mode: one of these. momentum: share of the old, in [0, 1].
        max_history: only so many last embeddings count for beta, >= 1; None = all.
        noise: an object that is not in a frame gets, with this probability in [0, 1], a random embedding of the frame
            as if it were its own, as errors of a tracker do. With short clips training is unstable; 0.001 was public.
    Raises:
        ValueError: an argument is out of range.
    Source: CTVIS: Consistent Training for Online Video Instance Segmentation (arXiv:2307.12616), section 3.2.
    """

    def __init__(
        self,
        mode: Literal["similarity", "momentum", "last", "mean"] = "similarity",
        momentum: float = 0.75,
        max_history: int | None = None,
        noise: float = 0.0,
    ):
        if mode not in ("similarity", "momentum", "last", "mean"):
            raise ValueError(f"TrackMemory: mode must be 'similarity', 'momentum', 'last' or 'mean', got {mode!r}")
        for name, value in (("momentum", momentum), ("noise", noise)):
            if not 0 <= value <= 1:
                raise ValueError(f"TrackMemory: {name} must be in [0, 1], got {value!r}")
        if max_history is not None and not (isinstance(max_history, int) and max_history >= 1):
            raise ValueError(f"TrackMemory: max_history must be a whole number >= 1 or None, got {max_history!r}")
        self.mode, self.momentum, self.max_history, self.noise = mode, float(momentum), max_history, float(noise)
        self.reset()

    def reset(self) -> None:
        """Forget all: a clip begins."""
        self._ids: Tensor | None = None
        self._memory = self._history = self._seen = torch.empty(0)

    def state(self) -> tuple[Tensor, Tensor]:
        """Ids int64 [K] and memories [K, D], in the order of first appearance.

        Raises:
            ValueError: nothing was put in since the last reset.
        """
        if self._ids is None:
            raise ValueError("TrackMemory: empty; update comes first")
        return self._ids, self._memory

    @property
    def seen(self) -> Tensor:
        """Embeddings put in for each object, int64 [K]."""
        self.state()
        return self._seen

    def update(
        self,
        ids: Tensor,
        embeds: Tensor,
        pool: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        """Put in the objects of one frame.

        In:   ids int64 [M], all different; embeds [M, D]; for noise, pool [Q, D], all embeddings of the frame, and a
              generator.
        Raises:
            ValueError: an id is there twice, or pool or generator lack.
        """
        if len(ids) != len(embeds) or len(ids.unique()) < len(ids):
            raise ValueError(f"TrackMemory: needs one embedding per id and each id once in a frame, got {ids.tolist()}")
        if self._ids is None:
            self._ids, self._seen = ids.new_empty(0), ids.new_empty(0)
            self._memory = embeds.new_empty(0, embeds.shape[1])
            self._history = embeds.new_empty(0, self.max_history or 1, embeds.shape[1])
        if self.noise:
            if pool is None or generator is None:
                raise ValueError("TrackMemory: noise draws from a pool and needs a generator")
            away = self._ids[~torch.isin(self._ids, ids)]
            away = away[torch.rand(len(away), device=ids.device, generator=generator) < self.noise]
            drawn = torch.randint(len(pool), away.shape, device=ids.device, generator=generator)
            ids, embeds = torch.cat([ids, away]), torch.cat([embeds, pool[drawn]])
        same = ids[:, None] == self._ids[None, :]
        known = same.any(dim=1)
        if bool(known.any()):
            self._again(same[known].int().argmax(dim=1), embeds[known])
        new = embeds[~known]
        history = new.new_zeros(len(new), self._history.shape[1], new.shape[1])
        history = torch.cat([history[:, 1:], unit(new)[:, None]], dim=1)
        self._ids = torch.cat([self._ids, ids[~known]])
        self._memory = torch.cat([self._memory, new])
        self._history = torch.cat([self._history, history])
        self._seen = torch.cat([self._seen, torch.ones_like(ids[~known])])

    def keep(self, rows: Tensor) -> None:
        """Forget the objects where bool [K] is False."""
        ids, _ = self.state()
        self._ids, self._memory = ids[rows], self._memory[rows]
        self._history, self._seen = self._history[rows], self._seen[rows]

    def _again(self, rows: Tensor, embeds: Tensor) -> None:
        """New embeddings of objects that are there."""
        old, history, seen = self._memory[rows], self._history[rows], self._seen[rows][:, None]
        now = unit(embeds)
        share: Tensor | float
        if self.mode == "similarity":
            count = seen if self.max_history is None else seen.clamp(max=self.max_history)
            share = ((history.sum(dim=1) * now).sum(dim=1, keepdim=True) / count).clamp(min=0)
        else:
            shares: dict[str, Tensor | float] = {"momentum": 1 - self.momentum, "last": 1.0, "mean": 1 / (seen + 1)}
            share = shares[self.mode]
        self._memory = self._memory.index_put((rows,), (1 - share) * old + share * embeds)
        if self.max_history is None:  # the sum says all that the mean of cosines needs
            later = history + now[:, None]
        else:
            later = torch.cat([history[:, 1:], now[:, None]], dim=1)
        self._history = self._history.index_put((rows,), later)
        self._seen = self._seen.index_put((rows,), seen[:, 0] + 1)
