"""LengthBuckets: run a model on texts of about one length at a time, so that padding is not computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class LengthBuckets(nn.Module):
    """Wraps a sentence-transformers model: a column of texts is cut into buckets of similar length, each padded to its
    own longest text, and the embeddings come back in the order of the texts.

    The buckets minimise  sum over buckets (texts x longest text + overhead), in tokens. In a random batch of short
    texts the longest is often three times the mean, and two thirds of the work of one padded call is thrown away; on a
    CPU that is time, on a GPU a call costs more than the padding. Values and gradients are those of the model, up to
    rounding and the draw of dropout.

    In:   features of `model.preprocess`: a mapping with `attention_mask` [N, T], padded on the right. Anything else
          (no mask, padding on the left, one bucket) goes to the model as it is.
    Out:  what the model gives; where several buckets were made, {gives: [N, ...]} alone.
    Cost: one host synchronisation (the lengths) on devices other than the CPU.

    Args:
        model: the model; a wrapper around it (DDP) does as well.
        overhead: what one more call of the model costs, in tokens; >= 0. For MiniLM on two cores it is
            about 100.
        gives: the key of the model's output that is wanted: "scores" of a cross-encoder.
    Raises:
        ValueError: overhead is negative.
    """

    def __init__(self, model: nn.Module, overhead: int = 96, gives: str = "sentence_embedding"):
        super().__init__()
        if not overhead >= 0:
            raise ValueError(f"LengthBuckets: overhead must be >= 0 tokens, got {overhead!r}")
        self.model = model
        self.overhead = overhead
        self.gives = gives

    @property
    def no_sync(self) -> Callable[[], Any]:
        """The wrapped model's own, so that cached losses synchronise once a step."""
        inner: Callable[[], Any] = getattr(self.model, "no_sync", nullcontext)
        return inner

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """The features of a column, encoded in runs of similar length."""
        mask = features.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) < 2 or not bool(mask[:, 0].all()):
            return self.model(features)
        lengths = mask.sum(dim=1).cpu().numpy()
        cuts = bucket_cuts(lengths, self.overhead)
        if len(cuts) == 1:
            return self.model(features)
        order = np.argsort(lengths, kind="stable")
        parts, start = [], 0
        for stop in cuts:
            rows = torch.from_numpy(order[start:stop]).to(mask.device)
            parts.append(self.model(_cut(features, rows, int(lengths[order[stop - 1]])))[self.gives])
            start = stop
        back = torch.from_numpy(np.argsort(order, kind="stable")).to(mask.device)
        return {self.gives: torch.cat(parts)[back]}


def bucket_cuts(lengths: np.ndarray, overhead: float) -> list[int]:
    """Where to cut texts sorted by length: ends of the buckets, the last one N. The cheapest cut, ties to fewer calls.

    Cost: O(U^2), U = number of different lengths.
    """
    values, counts = np.unique(lengths, return_counts=True)
    ends = np.r_[0, np.cumsum(counts)]
    best, start = [0.0], [0]
    for i in range(1, len(ends)):
        cost = np.array(best) + (ends[i] - ends[:i]) * float(values[i - 1]) + overhead
        start.append(int(cost.argmin()))
        best.append(float(cost[start[-1]]))
    cuts, i = [], len(ends) - 1
    while i > 0:
        cuts.append(int(ends[i]))
        i = start[i]
    return cuts[::-1]


def _cut(features: dict[str, Any], rows: Tensor, width: int) -> dict[str, Any]:
    """These rows of all per-text tensors, without the columns that are padding for all of them."""
    texts, padded = features["attention_mask"].shape
    out = {}
    for name, value in features.items():
        if isinstance(value, Tensor) and value.ndim and len(value) == texts:
            value = value[rows]
            if value.ndim >= 2 and value.shape[1] == padded:
                value = value[:, :width]
        out[name] = value
    return out
