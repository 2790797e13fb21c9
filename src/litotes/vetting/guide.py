"""Guide: a second model says which negatives stand nearer to the anchor than its own positive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.evidence import check
from litotes.search.space import Space
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
class Guide:
    """Take the weight away from negatives that a guide model finds more alike to the anchor than the positive.

    With g the guide's similarity and r its `reference` similarity of the anchor and its positives, a negative keeps
    its weight when

        g <= r - margin              strategy "absolute"
        g <= r - |r| * margin        strategy "relative"

    (equality keeps; compared in float32: `ops.keep_under`). The labelled pair is its own threshold, so margin 0 needs
    no tuning. The guide is another model than the one that mined: its mistakes are others. The miner's `score` stays;
    the guide's stands in `doubts` as `seen`. Left as they are: negatives of an anchor without positives, and rows with
    a grade.

    In:   evidence and its collection.
    Out:  the same rows in the same order; a doubted one has `weight` 0 and our entry in `doubts`: the guide's
          similarity and the line.
    Cost: each text once through the guide. Called on a table: the texts it names. After `prepare`: the whole
          collection, kept in `cache`, so that tables of any size see the same vectors (the last bits of a vector
          depend on the texts encoded along with it).

    Args:
        guide: folder or name of a sentence-transformers model.
        margin: depth of the line, >= 0 and finite; in [0, 1] if relative.
        strategy: "absolute" or "relative".
        reference: the positive that draws the line if there are several: "min" (doubts most), "max" or "mean".
    Raises:
        ValueError: an argument is out of range, or there is no collection.
        OSError: the model cannot be loaded.
    Source: GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning
        (arXiv:2402.16829), equation 3, there in a batch. Margins and several positives are ours.
    """

    guide: str
    margin: float = 0.0
    strategy: Strategy = "absolute"
    reference: Reference = "min"

    def __post_init__(self) -> None:
        if not (isinstance(self.guide, str) and self.guide.strip()):
            raise ValueError(f"Guide: guide must be the folder or name of a model, got {self.guide!r}")
        check_margin("Guide", self.margin, self.strategy)
        check_reference("Guide", self.reference)

    def __call__(self, evidence: pa.Table, collection: Collection | None = None) -> pa.Table:
        query, document = pairs_of(evidence, collection, "Guide")
        assert collection is not None
        rows = np.flatnonzero(comparable(evidence))
        queries, query_place = np.unique(query[rows], return_inverse=True)
        documents, document_place = np.unique(document[rows], return_inverse=True)
        if not len(rows):
            return self._doubted(evidence, rows, np.empty(0, np.float32))
        texts = collection.query_texts(), collection.document_texts()
        space = space_of(
            Encoder(self.guide), [texts[0][row] for row in queries], [texts[1][row] for row in documents], None
        )
        return self._doubted(evidence, rows, space.pairs(query_place, document_place))

    def prepare(self, collection: Collection | None, cache: str | Path | None = None) -> Callable[[pa.Table], pa.Table]:
        """The same vetter over one collection, for many tables: every text is encoded now, into `cache` if given."""
        check_collection(collection, "Guide")
        assert collection is not None
        encoder = Encoder(self.guide, cache=cache)
        space = space_of(encoder, collection.query_texts(), collection.document_texts(), cache)

        def vet(evidence: pa.Table) -> pa.Table:
            query, document = pairs_of(evidence, collection, "Guide")
            rows = np.flatnonzero(comparable(evidence))
            return self._doubted(evidence, rows, space.pairs(query[rows], document[rows]))

        return vet

    def __str__(self) -> str:
        return spell(self)

    def _doubted(self, evidence: pa.Table, rows: np.ndarray, similarity: np.ndarray) -> pa.Table:
        check(evidence)
        seen = at_rows(similarity, rows, len(evidence))
        line = line_per_row(evidence, seen, self.margin, self.strategy, self.reference)
        return doubt_above(evidence, seen, line, str(self))


def space_of(encoder: Encoder, queries: list[str], documents: list[str], cache: str | Path | None) -> Space:
    """The space in which an encoder sees these texts; with a cache the vectors are memory-mapped files in it."""
    vectors = []
    for kind, texts in (("query", queries), ("document", documents)):
        out = None
        if cache is not None:
            digest = hashlib.sha256(f"{encoder.checksum}\0{kind}".encode())
            for text in texts:
                digest.update(hashlib.sha256(text.encode()).digest())
            out = Path(cache) / f"{kind}-{digest.hexdigest()[:32]}.npy"
        if out is not None and out.exists():
            vectors.append(np.load(out, mmap_mode="r"))
        else:
            vectors.append(encoder.encode(texts, kind, out=out))
    return Space(vectors[0], vectors[1], encoder.similarity, encoder.name, encoder.checksum)
