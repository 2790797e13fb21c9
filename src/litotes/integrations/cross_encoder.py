"""A litotes objective as a loss of the cross-encoder trainer of sentence-transformers: groups of scores, signed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, from_groups
from litotes.chain import Chain

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

REQUIRED = ("row", "column", "sign", "weight")
_BY_VECTORS = ("features", "guide")


class GroupLoss(nn.Module):
    """`loss=` of CrossEncoderTrainer, for any objective or chain of litotes that reads scores.

    A row of the batch is a group: a query, a positive and negatives of its own. The model scores the pairs, raw (its
    activation is not applied), and the objective sees them as [B, K]. Two kinds of batches are understood.

    Columns (query, positive, negative_1 .. negative_n) of texts, as the losses of sentence-transformers take them: all
    beliefs are 1. `labels` may hold teacher scores: [B, n + 1] (positive first), or margins positive - negative,
    [B, n], or [B] for n = 1; they become `pairs["teacher"]`.

    The litotes collator (`GroupCollator`): features of P pairs, and `labels` a mapping

        row, column int64 [P] (where a pair stands in its group; column 0 = the positive),
        sign int8 [B, K], weight float32 [B, K], teacher float32 [B, K] (NaN = not scored; optional),
        target float32 [B, K] (optional), id int64 [B] (optional)

    with sign 0 where a group has fewer than K candidates.

    Out:  0-d tensor, the loss.
    Cost: one forward pass of the model over all pairs.

    Args:
        model: the cross-encoder in training, with one output.
        objective: a Chain or an objective. Nothing in it may read vectors: no scorer, no guide.
    Raises:
        ValueError: the model has several outputs, a part reads vectors, or columns or labels cannot be read.
    """

    def __init__(self, model: CrossEncoder, objective: nn.Module):
        super().__init__()
        chain = objective if isinstance(objective, Chain) else Chain(objective)
        if model.num_labels != 1:
            raise ValueError(f"GroupLoss: model must have one output, got {model.num_labels}")
        for part in chain.parts:
            needs = [need for need in getattr(part, "needs", ()) if need in _BY_VECTORS]
            if needs:
                raise ValueError(f"GroupLoss: {part} reads {needs[0]}; a cross-encoder gives scores, and no vectors")
        self.model, self.chain = model, chain
        self.now: Moment | None = None  # a callback that follows training may set it

    def forward(
        self, inputs: list[Any], labels: Any = None, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        if isinstance(labels, Mapping):
            batch = self._collated(inputs, labels)
        else:
            batch = self._plain(inputs, labels, {"prompt": prompt, "task": task})
        loss: Tensor = self.chain(batch, now=self.now)
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of this loss."""
        return {"objective": str(self.chain)}

    @property
    def citation(self) -> str:
        """The papers of the parts, as BibTeX."""
        cited = [getattr(part, "citation", None) for part in self.chain.modules()]
        return "\n".join(dict.fromkeys(text for text in cited if text))

    def _scores(self, features: dict[str, Any]) -> Tensor:
        """Raw scores [P] of tokenised pairs, in float32 or wider."""
        scores: Tensor = self.model(features)["scores"].reshape(-1)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _collated(self, inputs: list[Any], labels: Mapping[str, Any]) -> SignedBatch:
        missing = [name for name in REQUIRED if name not in labels]
        if missing or len(inputs) != 1:
            raise ValueError(
                f"GroupLoss: a collated batch has one column of pairs and the labels {', '.join(REQUIRED)}; got "
                f"{len(inputs)} columns, labels without {missing}"
            )
        flat = self._scores(dict(inputs[0]))
        sign, weight = labels["sign"], labels["weight"]
        empty = flat.new_full(tuple(sign.shape), -math.inf)
        batch = from_groups(empty.index_put((labels["row"], labels["column"]), flat), valid=sign != 0)
        extras = {name: labels[name] for name in ("teacher", "target") if labels.get(name) is not None}
        rows = {**batch.rows, **({"id": labels["id"]} if "id" in labels else {})}
        return batch.replace(sign=sign, weight=weight, pairs=extras, rows=rows)

    def _plain(self, inputs: list[list[str]], labels: Any, how: dict[str, str | None]) -> SignedBatch:
        if len(inputs) < 2:
            raise ValueError(f"GroupLoss: needs the columns query and positive at least, got {len(inputs)}")
        asked, *offered = inputs
        pairs = [(query, texts[i]) for i, query in enumerate(asked) for texts in offered]
        inner: Any = getattr(self.model, "model", self.model)
        preprocess = getattr(self.model, "preprocess", None) or inner.preprocess
        features = preprocess(pairs, **how)
        device = next(self.model.parameters()).device
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in features.items()}
        batch = from_groups(self._scores(moved).reshape(len(asked), len(offered)))
        if labels is None:
            return batch
        return batch.replace(pairs={"teacher": _teacher(labels, batch)})


def _teacher(labels: Any, batch: SignedBatch) -> Tensor:
    """Teacher scores [B, n + 1] from scores [B, n + 1] or margins [B, n]."""
    b, k = batch.sign.shape
    given = torch.stack(list(labels)) if isinstance(labels, (list, tuple)) else labels
    given = given[:, None] if isinstance(given, Tensor) and given.ndim == 1 else given
    if k < 2 or not isinstance(given, Tensor) or tuple(given.shape) not in ((b, k - 1), (b, k)):
        got = list(given.shape) if isinstance(given, Tensor) else type(labels).__name__
        raise ValueError(
            f"GroupLoss: labels must be teacher scores [{b}, {k}] or margins [{b}, {k - 1}] for {k - 1} negatives per "
            f"query, or a mapping of the litotes collator; got {got}. A label that means something else must be dropped"
        )
    given = given.detach().to(batch.sign.device, torch.float32)
    return given if given.shape[1] == k else torch.cat([torch.zeros_like(given[:, :1]), -given], dim=1)
