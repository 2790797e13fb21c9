"""CrossEncoder: a model that reads both texts together says which negatives answer as well as the positive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.evidence import check
from litotes.spelling import spell
from litotes.vetting.lines import (
    Reference,
    Strategy,
    at_rows,
    check_collection,
    check_margin,
    check_reference,
    comparable,
    doubt_above,
    line_per_row,
    pairs_of,
)


@dataclass(frozen=True)
class CrossEncoder:
    """Take the weight away from negatives that a cross-encoder scores nearly as high as a known positive, or higher.

    With c the cross-encoder's score and r its `reference` score of the anchor and its positives, a negative keeps its
    weight when

        c <= r - margin              strategy "absolute"
        c <= r - |r| * margin        strategy "relative"

    (equality keeps; compared in float32). Scores pass through the activation that the model itself names, as a rule
    a sigmoid: then they saturate near 1, and an absolute margin says more than a relative one. The miner's `score`
    stays; the cross-encoder's stands in `doubts` as `seen`. Left as they are: negatives of an anchor without positives,
    and rows with a grade.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: score and line.
    Cost: one pass of the model per positive and per ungraded negative: the dearest of the vetters. Pairs are sent in
          the order of the collection, so the order of rows does not matter; the last bits of a score depend on the
          pairs that come in one table.

    Args:
        model: folder or name of a sentence-transformers CrossEncoder with one output.
        margin: depth of the line, >= 0 and finite; in [0, 1] if relative.
        strategy: "absolute" or "relative".
        reference: the positive that draws the line if there are several: "min" (doubts most), "max" or "mean".
    Raises:
        ValueError: an argument is out of range, there is no collection, or the model has more than one output.
        OSError: the model cannot be loaded.
    Source: RocketQA: An Optimized Training Approach to Dense Passage Retrieval (arXiv:2010.08191), section
        3.2, there with a fixed threshold; margins under the positive as in NV-Retriever (arXiv:2407.15831).
    """

    model: str
    margin: float = 0.0
    strategy: Strategy = "absolute"
    reference: Reference = "min"

    def __post_init__(self) -> None:
        if not (isinstance(self.model, str) and self.model.strip()):
            raise ValueError(f"CrossEncoder: model must be the folder or name of a model, got {self.model!r}")
        check_margin("CrossEncoder", self.margin, self.strategy)
        check_reference("CrossEncoder", self.reference)

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        return self.prepare(collection)(evidence)

    def prepare(self, collection: Collection | None, cache: str | Path | None = None) -> Callable[[pa.Table], pa.Table]:
        """The same vetter over one collection, for many tables: the model is loaded once. `cache` is not used."""
        from sentence_transformers import CrossEncoder as Model

        from litotes.data.models import resolve_model

        check_collection(collection, "CrossEncoder")
        assert collection is not None
        model = Model(resolve_model(self.model))
        if model.num_labels != 1:
            raise ValueError(f"CrossEncoder: model must have one output, got {model.num_labels} from {self.model!r}")
        queries, documents = collection.query_texts(), collection.document_texts()

        def vet(evidence: pa.Table) -> pa.Table:
            check(evidence)
            query, document = pairs_of(evidence, collection, "CrossEncoder")
            rows = np.flatnonzero(comparable(evidence))
            pairs = np.unique(np.stack([query[rows], document[rows]], axis=1), axis=0, return_inverse=True)
            texts = [(queries[q], documents[d]) for q, d in pairs[0]]
            scores = np.asarray(model.predict(texts, show_progress_bar=False), np.float32) if texts else np.empty(0)
            seen = at_rows(scores[pairs[1].ravel()], rows, len(evidence))
            line = line_per_row(evidence, seen, self.margin, self.strategy, self.reference)
            return doubt_above(evidence, seen, line, str(self))

        return vet

    def __str__(self) -> str:
        return spell(self)
