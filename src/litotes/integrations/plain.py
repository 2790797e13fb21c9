"""Criterion: a chain as a plain torch module that takes tensors, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, from_classes, from_groups, from_labels, from_pairs, two_views
from litotes.chain import Chain

FORMS: dict[str, Callable[..., SignedBatch]] = {
    "pairs": from_pairs,
    "labels": from_labels,
    "classes": from_classes,
    "views": two_views,
    "scores": from_groups,
}


class Criterion(nn.Module):
    """Any chain or objective of litotes, called with the tensors at hand: `loss = criterion(anchors, positives)`.

        pairs     criterion(anchors, positives, negatives)    `batch.from_pairs`
        labels    criterion(embeddings, y)                    `batch.from_labels`, with rows["label"]
        classes   criterion(embeddings, y)                    `batch.from_classes`, for chains with `Proxies`
        views     criterion(u, v)                             `batch.two_views`
        scores    criterion(scores)                           `batch.from_groups`, for cross-encoders

    Arguments of these functions are passed on. What parts of the chain need besides (a guide's features, labels,
    a teacher's scores) comes as `rows`, `columns` and `pairs`.

    Out:  0-d tensor. The module holds the parameters of the chain (a learned temperature, proxies): give them to the
          optimiser. It moves, saves and loads as any module does.
    Cost: that of the chain; a generator is made in every call.

    Args:
        objective: a Chain, or an objective, which is scored by cosine then.
        form: how tensors become a batch, one of the names above or a callable.
        seed: of what parts of the chain draw (MoCHi, Proxies); draws depend on it, the process and the step, which
            is that of `now`, or without it the number of calls.
    Raises:
        ValueError: form is none of these, or the objective is none.

    Example:
        >>> from litotes.objectives.contrastive.infonce import InfoNCE
        >>> criterion = Criterion(InfoNCE(0.05))
        >>> round(criterion(torch.eye(4), torch.eye(4)).item(), 6)
        0.0
    """

    def __init__(self, objective: nn.Module, form: str | Callable[..., SignedBatch] = "pairs", seed: int = 0):
        super().__init__()
        if not callable(form) and form not in FORMS:
            raise ValueError(f"Criterion: form must be one of {', '.join(FORMS)} or a callable, got {form!r}")
        self.chain = objective if isinstance(objective, Chain) else Chain(objective)
        self.form = form
        self.seed = seed
        self.now: Moment | None = None  # the loop may set it, or pass it
        self._calls = 0

    def forward(
        self,
        *tensors: Any,
        rows: Mapping[str, Tensor] | None = None,
        columns: Mapping[str, Tensor] | None = None,
        pairs: Mapping[str, Tensor] | None = None,
        now: Moment | None = None,
        **settings: Any,
    ) -> Tensor:
        batch = self.batch(*tensors, rows=rows, columns=columns, pairs=pairs, **settings)
        now = self.now if now is None else now
        loss: Tensor = self.chain(batch, now=now, generator=self.generator(batch.sign.device, now))
        return loss

    def batch(
        self,
        *tensors: Any,
        rows: Mapping[str, Tensor] | None = None,
        columns: Mapping[str, Tensor] | None = None,
        pairs: Mapping[str, Tensor] | None = None,
        **settings: Any,
    ) -> SignedBatch:
        """The batch that the chain is given."""
        made = (self.form if callable(self.form) else FORMS[self.form])(*tensors, **settings)
        known = {"label": tensors[1]} if self.form == "labels" and len(tensors) > 1 else {}
        return made.replace(
            rows={**made.rows, **known, **(rows or {})},
            columns={**made.columns, **(columns or {})},
            pairs={**made.pairs, **(pairs or {})},
        )

    def generator(self, device: torch.device, now: Moment | None = None) -> torch.Generator:
        """Where the next step's draws come from."""
        step, self._calls = (self._calls if now is None else now.step), self._calls + 1
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        word = np.random.SeedSequence([self.seed, step, rank]).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(word >> np.uint64(1)))

    def extra_repr(self) -> str:
        return f"form={self.form if isinstance(self.form, str) else getattr(self.form, '__name__', '?')}"
