"""CurrentTop: the loss of queries against the documents that they rank highest at this very step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.chain import Chain
from litotes.data.anchors import duplicate_groups
from litotes.search.definition import norms
from litotes.search.exact import top_k
from litotes.training.rows import TrainingRows


def current_top(
    queries: Tensor,
    documents: np.ndarray,
    k: int,
    *,
    similarity: str = "dot",
    document_norms: np.ndarray | None = None,
) -> np.ndarray:
    """The documents that these very embeddings rank highest: int64 [B, min(k, N)], best first, ties to the lowest row.

    Args:
        queries: [B, D], the embeddings that carry the gradient; nothing flows through the search.
        documents: float32 [N, D]; may be memory-mapped.
        document_norms: as `search.definition.norms` gives them; without them the corpus is read once more.
    """
    asked = queries.detach().to("cpu", torch.float32).numpy()
    found, _ = top_k(asked, documents, min(k, len(documents)), similarity=similarity, corpus_norms=document_norms)
    return found.astype(np.int64)


def with_positives(ids: np.ndarray, there: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Lists [B, K + more] in rank order, -1 padded: a row in which no positive is gets all of its own behind it.

    A row that holds one is left as it is, however many others are missing.

    Args:
        ids: int [B, K]. there: bool [B, K], which of them are positives. positives: rows of documents, a list per row.
    """
    missing = [np.empty(0, np.int64) if has.any() else own for has, own in zip(there, positives, strict=True)]
    more = max((len(own) for own in missing), default=0)
    lists = np.concatenate([ids, np.full((len(ids), more), -1, ids.dtype)], axis=1)
    for row, own in enumerate(missing):
        lists[row, ids.shape[1] : ids.shape[1] + len(own)] = own
    return lists


def ranked_batch(queries: Tensor, vectors: Tensor, sign: np.ndarray, weight: np.ndarray | None = None) -> SignedBatch:
    """Lists in rank order as a batch whose scores are still to be formed, with gradient to the queries only.

    Args:
        queries: [B, D]. vectors: [B, K, D], the documents of each list. sign: int8 [B, K]. weight: [B, K]; None = 1.
    """
    signs = torch.from_numpy(sign.astype(np.int8)).to(queries.device)
    belief = torch.ones(sign.shape) if weight is None else torch.from_numpy(weight.astype(np.float32))
    return SignedBatch(None, signs, belief.to(queries.device), queries, own=vectors.detach())


class CurrentTop(nn.Module):
    """`loss=` of the trainer: queries in, searched, listed, and pushed.

    In:   features of one column of queries, and labels {"row": [B training rows]}.
    Out:  0-d tensor. The documents are no parameter and no buffer: nothing can move them.

    Args:
        model: the query side. chain: scorer and objective. documents: float32 [N, D]. known: what is known of pairs.
    """

    def __init__(
        self, model: nn.Module, chain: Chain, documents: np.ndarray, known: Known, k: int, similarity: str = "dot"
    ):
        super().__init__()
        self.model, self.chain = model, chain
        self.documents, self.known, self.k, self.similarity = documents, known, k, similarity
        self.norms = norms(documents)
        self.now: Moment | None = None

    def forward(self, sentence_features: Any, labels: Any) -> Tensor:
        (features,) = sentence_features
        queries = self.model(dict(features))["sentence_embedding"]
        loss: Tensor = self.chain(self.batch(queries, labels["row"]), now=self.now)
        return loss

    def batch(self, queries: Tensor, rows: Sequence[int]) -> SignedBatch:
        """The current lists of these training rows."""
        ids = current_top(queries, self.documents, self.k, similarity=self.similarity, document_norms=self.norms)
        numbers = np.asarray(rows)
        sign, weight = self.known(numbers, ids)
        lists = with_positives(ids, (sign > 0) & (weight > 0), [self.known.positives(row) for row in numbers])
        sign, weight = self.known(numbers, lists)
        vectors = torch.from_numpy(np.asarray(self.documents[np.maximum(lists, 0)]))
        return ranked_batch(queries, vectors.to(queries.device), sign, weight)


@dataclass(frozen=True, eq=False)
class Known:
    """What evidence and judgements say of any document, for the training rows.

    Exact copies of a document that evidence names (`normalise`) are that document.

    `keys` int64 [R], ascending: anchor code * width + candidate code of the pairs of the lookup; `code` int64 [N]: the
    candidate code of every document, -1 where evidence is silent. `judged` int64, ascending: query row * N + group of
    the judged positives; `group` int32 [N].
    """

    rows: TrainingRows
    keys: np.ndarray
    width: int
    code: np.ndarray
    group: np.ndarray
    judged: np.ndarray

    @classmethod
    def of(cls, rows: TrainingRows, split: str) -> Known:
        """Raises ValueError if the collection has judgements, but no such split."""
        lookup, collection = rows.lookup, rows.collection
        width = int(lookup.candidate_code.max(initial=0)) + 1
        anchor = np.repeat(np.arange(len(lookup.offsets) - 1), np.diff(lookup.offsets))
        group = duplicate_groups(rows.document_texts)
        named = rows.candidate_code >= 0
        of_group = np.full(len(group), -1, np.int64)
        of_group[group[named]] = rows.candidate_code[named]
        judged = np.empty(0, np.int64)
        if collection.qrels:
            query, document, grade = collection.judgements(split)
            relevant = grade > 0
            judged = np.unique(query[relevant].astype(np.int64) * len(group) + group[document[relevant]])
        return cls(rows, anchor * width + lookup.candidate, width, of_group[group], group, judged)

    def __call__(self, numbers: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sign int8 and weight float32 of documents [B, K] for training rows [B]; -1 among the ids is sign 0."""
        query = self.rows.anchor[numbers]
        document = np.maximum(ids, 0)
        code = self.code[document]
        wanted = self.rows.anchor_code[query][:, None] * self.width + code
        place = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        said = (code >= 0) & (self.keys[place] == wanted)
        sign = np.where(said, self.rows.lookup.sign[place], -1)
        weight = np.where(said, self.rows.lookup.weight[place], 1.0)
        relevant = np.isin(query[:, None].astype(np.int64) * len(self.group) + self.group[document], self.judged)
        sign = np.where(~said & relevant, 1, sign)
        return np.where(ids >= 0, sign, 0).astype(np.int8), weight.astype(np.float32)

    def positives(self, number: int) -> np.ndarray:
        """Documents that evidence believes to answer the query of a training row, ascending."""
        return np.sort(self.rows.positives.row(int(number)))


class QueryCollator:
    """`data_collator=` for queries alone: rows of training to one column of tokens and the numbers of the rows."""

    valid_label_columns = ("label",)

    def __init__(self, preprocess: Any, rows: TrainingRows, prompt: str):
        self.preprocess, self.rows, self.prompt = preprocess, rows, prompt
        self.epoch = 0
        self.seen: Counter[str] = Counter()

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        numbers = [int(row["row"]) for row in features]
        texts = [self.rows.query_texts[row] for row in self.rows.anchor[numbers]]
        made = self.preprocess(texts, prompt=self.prompt)
        self.seen.update(batches=1, anchors=len(texts))
        return {**{f"anchor_{key}": value for key, value in made.items()}, "label": {"row": numbers}}
