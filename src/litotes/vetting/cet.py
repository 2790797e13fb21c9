"""Cet: an unlabelled document is a good negative as far as an annotator would have been shown it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from litotes.data.collection import Collection
from litotes.evidence import check, doubt
from litotes.spelling import spell
from litotes.vetting.lines import at_rows, check_collection, pairs_of


def cet_weight(
    other_logit_neg: Tensor,
    debias_temperature: float = 10.0,
    max_weight: float | None = None,
    normalize: Literal["none", "mean"] = "none",
) -> Tensor:
    """How much a negative matters to one of two coupled models, from what the other one says of it.

        w = 1 / (1 - sigmoid(x / T)) = 1 + exp(x / T)

    An emphasis >= 1 and not a belief: for a relevance model, x is the selection logit, and a negative that would have
    been selected for annotation, and still is unlabelled, is a trustworthy one.

    In:   logits of the negatives, any shape and float dtype.
    Out:  the same shape, float32 or wider, without gradient.

    Args:
        debias_temperature: T, > 0; infinity gives 2 everywhere.
        max_weight: cap, >= 1; None = none, and then one host synchronisation to refuse an infinite weight.
        normalize: "mean" divides by the mean over all logits given, after the cap.
    Raises:
        ValueError: an argument is out of range, or a weight is infinite or no number.
    Source: Hard Negatives or False Negatives: Correcting Pooling Bias in Training Neural Ranking Models
        (arXiv:2209.05072), the released code's weights of negatives.
    """
    _check("cet_weight", debias_temperature, max_weight, normalize)
    x = other_logit_neg.detach().to(torch.promote_types(other_logit_neg.dtype, torch.float32))
    weight = 1 + (x / debias_temperature).exp()
    if max_weight is not None:
        weight = weight.clamp(max=max_weight)
    elif not bool(weight.isfinite().all()):
        raise ValueError("cet_weight: a weight is not finite; give max_weight, or a higher debias_temperature")
    return weight / weight.mean() if normalize == "mean" and weight.numel() else weight


@dataclass(frozen=True)
class Cet:
    """Believe a negative the less, the less likely a selection model finds it that an annotator was shown it.

    A label needs two things: the document was selected for annotation, and it is relevant. What nobody labelled may
    be a bad answer or one that nobody saw. With f the logit of a trained selection model, the weight of a negative is

        w = min(1 + exp(f / T), max_weight),    belief = w / (the largest w)

    The largest w is that of the highest logit among the negatives of the table, or of `top`. The order of belief is
    that of the logits. Left as they are: positives, what people judged (a grade), and pairs of sign 0.
    Down-weighting comes from LOW selection logits; a suspiciously high score is no reason here, on the contrary.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a negative has at most `belief` as weight, and our entry in `doubts`: the
          selection logit as `seen`, the highest as `line`, so that w and the largest w can be read off. Belief 1 makes
          no entry.
    Cost: one pass of the model per ungraded negative. Pairs are sent in the order of the collection; the last bits of a
          logit depend on the pairs that come in one table, and without `top` beliefs do, so give whole evidence.

    Args:
        selection: folder or name of a sentence-transformers CrossEncoder with one output; its raw logit is read.
        debias_temperature: T, > 0 and finite.
        max_weight: cap of w, >= 1, so that one outlier does not silence all others; None = none.
        top: the logit of belief 1, for evidence that comes in several tables; None = the highest in the table.
    Raises:
        ValueError: an argument is out of range, there is no collection, or the model has more than one output.
        OSError: the model cannot be loaded.
    Source: Hard Negatives or False Negatives: Correcting Pooling Bias in Training Neural Ranking Models
        (arXiv:2209.05072). There the weight stays in the loss and above 1; division by the largest makes it a belief.
    """

    selection: str
    debias_temperature: float = 10.0
    max_weight: float | None = 100.0
    top: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.selection, str) and self.selection.strip()):
            raise ValueError(f"Cet: selection must be the folder or name of a model, got {self.selection!r}")
        _check("Cet", self.debias_temperature, self.max_weight)
        if not math.isfinite(self.debias_temperature):
            raise ValueError(f"Cet: debias_temperature must be finite, got {self.debias_temperature!r}")
        if self.top is not None and not math.isfinite(self.top):
            raise ValueError(f"Cet: top must be finite or None, got {self.top!r}")

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        return self.prepare(collection)(evidence)

    def prepare(self, collection: Collection | None, cache: str | Path | None = None) -> Callable[[pa.Table], pa.Table]:
        """The same vetter over one collection, for many tables: the model is loaded once. `cache` is not used."""
        check_collection(collection, "Cet")
        assert collection is not None
        logits = self.logits(collection)
        return lambda evidence: self.applied(evidence, collection, logits)

    def logits(self, collection: Collection, place: str | Path | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """The selection model as a function: raw logits float32 [P] for pairs [P, 2] of (query, document) rows.

        Args:
            place: where the model lies, if not yet at `selection`.
        """
        from sentence_transformers import CrossEncoder as Model

        from litotes.data.models import resolve_model

        model = Model(resolve_model(self.selection if place is None else place))
        if model.num_labels != 1:
            raise ValueError(f"Cet: selection must have one output, got {model.num_labels} from {self.selection!r}")
        queries, documents = collection.query_texts(), collection.document_texts()

        def scored(pairs: np.ndarray) -> np.ndarray:
            texts = [(queries[q], documents[d]) for q, d in pairs.tolist()]
            said = model.predict(texts, show_progress_bar=False, activation_fn=torch.nn.Identity()) if texts else []
            return np.asarray(said, np.float32)

        return scored

    def applied(
        self, evidence: pa.Table, collection: Collection, logits: Callable[[np.ndarray], np.ndarray]
    ) -> pa.Table:
        """The vetter with any selection model: `logits` gives float32 [P] for pairs [P, 2] of (query, document) rows,
        each pair asked once, in the order of the collection."""
        check(evidence)
        query, document = pairs_of(evidence, collection, "Cet")
        negative = (evidence["sign"].to_numpy() < 0) & evidence["grade"].is_null().to_numpy()
        rows = np.flatnonzero(negative)
        pairs, place = np.unique(np.stack([query[rows], document[rows]], axis=1), axis=0, return_inverse=True)
        seen = np.asarray(logits(pairs), np.float32)[place.ravel()]
        if not np.isfinite(seen).all():
            raise ValueError(f"Cet: the selection model gave a logit that is not finite, {seen[~np.isfinite(seen)][0]}")
        top = float(seen.max(initial=-np.inf)) if self.top is None else self.top
        belief = np.ones(len(evidence), np.float32)
        belief[rows] = self._belief(seen, top)
        return doubt(
            evidence, belief < 1, belief=pa.array(belief), part=str(self), seen=at_rows(seen, rows, len(evidence)),
            line=top if len(rows) else None,
        )  # fmt: skip

    def _belief(self, seen: np.ndarray, top: float) -> np.ndarray:
        """w / the largest w: float32; as a difference of logarithms, which no logit overflows."""
        each, most = (
            F.softplus(torch.as_tensor(x, dtype=torch.float64) / self.debias_temperature) for x in (seen, top)
        )
        if self.max_weight is not None:
            each, most = (log.clamp(max=math.log(self.max_weight)) for log in (each, most))
        return (each - most).exp().clamp(max=1).numpy().astype(np.float32)

    def __str__(self) -> str:
        return spell(self)


def _check(owner: str, debias_temperature: float, max_weight: float | None, normalize: str = "none") -> None:
    if not debias_temperature > 0:
        raise ValueError(f"{owner}: debias_temperature must be > 0, got {debias_temperature!r}")
    if max_weight is not None and not max_weight >= 1:
        raise ValueError(f"{owner}: max_weight must be >= 1 or None, got {max_weight!r}")
    if normalize not in ("none", "mean"):
        raise ValueError(f"{owner}: normalize must be 'none' or 'mean', got {normalize!r}")
