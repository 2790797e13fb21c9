"""From a word in use to its gloss: nouns and verbs of WordNet with an example, frozen vectors, and wrong labels.

A query is the first lemma of a synset and its first example; its answer is the gloss. Hard negatives are glosses of
siblings, synsets under the same hypernym, those that the untrained encoder ranks highest; a query with fewer siblings
gets the other glosses of highest rank. A share of the training answers is replaced by a random gloss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from claims.worlds.wordnet_heads import vectors
from torch import Tensor

from litotes.data.wordnet import load_synsets
from litotes.data.wordnet.relations import KINDS

GLOSSES, HARD = 20_000, 5


@dataclass(frozen=True, eq=False)
class Glosses:
    """`queries` float32 [Q, 384]; `documents` float32 [N, 384]; `answer` int64 [Q], the gloss of each query.

    `hard` int64 [Q, 5]: hard negatives.
    """

    queries: Tensor
    documents: Tensor
    answer: np.ndarray
    hard: np.ndarray


@dataclass(frozen=True, eq=False)
class Draw:
    """One seed of it. `train`, `test`: rows of queries. `label` int64 [Q]: the answers that training believes in."""

    glosses: Glosses
    train: np.ndarray
    test: np.ndarray
    label: np.ndarray

    def batches(self, steps: int, size: int, seed: int) -> np.ndarray:
        """Rows of queries of each step, int64 [steps, size], every pass over them in a new order."""
        random = np.random.default_rng([seed, 1])
        passes = steps * size // len(self.train) + 1
        return np.concatenate([random.permutation(self.train) for _ in range(passes)])[: steps * size].reshape(
            steps, size
        )

    def reciprocal_rank(self, queries: Tensor, documents: Tensor) -> float:
        """MRR@10 of the test queries; vectors of length 1, ties count against."""
        scores = queries[self.test] @ documents.T
        own = scores.gather(1, torch.from_numpy(self.glosses.answer[self.test])[:, None])
        rank = (scores >= own).sum(dim=1)
        return float(torch.where(rank <= 10, 1 / rank, 0).mean())


def drawn(train: int, test: int, noise: float, seed: int) -> Draw:
    """Queries and wrong labels of one seed."""
    glosses = load()
    random = np.random.default_rng(seed)
    order = random.permutation(len(glosses.answer))[: train + test]
    label = glosses.answer.copy()
    wrong = random.permutation(order[:train])[: round(noise * train)]
    label[wrong] = random.integers(len(glosses.documents), size=len(wrong))
    return Draw(glosses, order[:train], order[train:], label)


@cache
def load() -> Glosses:
    """The texts, their vectors and the hard negatives: the same under every seed."""
    synsets = load_synsets("all")
    columns = synsets.table.to_pydict()
    fine = [
        row for row, key in enumerate(columns["key"]) if key[0] in "nv" and columns["same"][row] == row
    ]  # one gloss each
    asked = [row for row in fine if columns["examples"][row]]
    corpus = (asked + [row for row in fine if not columns["examples"][row]])[:GLOSSES]
    asked = asked[: len(corpus)]
    place = {row: i for i, row in enumerate(corpus)}
    queries = vectors([f"{columns['lemmas'][row][0]}: {columns['examples'][row][0]}" for row in asked])
    documents = vectors([columns["definition"][row] for row in corpus])

    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    upward = synsets.kind == KINDS.index("hypernym")
    for source, target in zip(synsets.source[upward].tolist(), synsets.target[upward].tolist(), strict=True):
        if source in place:
            above.setdefault(source, []).append(target)
            below.setdefault(target, []).append(place[source])
    hard = np.empty((len(asked), HARD), np.int64)
    for start in range(0, len(asked), 1024):
        scores = queries[start : start + 1024] @ documents.T
        best = scores.topk(HARD + 1, dim=1).indices.tolist()
        for i, row in enumerate(asked[start : start + 1024]):
            siblings = sorted({s for parent in above.get(row, ()) for s in below[parent]} - {start + i})
            ranked = [siblings[j] for j in scores[i, siblings].argsort(descending=True, stable=True).tolist()]
            ranked += [other for other in best[i] if other != start + i and other not in ranked[:HARD]]
            hard[start + i] = ranked[:HARD]
    return Glosses(queries, documents, np.arange(len(asked)), hard)
