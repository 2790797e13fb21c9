"""WordNet through a frozen encoder: vectors made once and kept, tasks drawn by seed, and heads that train in seconds.

What claims about batches and losses compare is how a small head learns over vectors that do not change. The vectors of
all texts a claim has ever asked for lie in `.litotes/vectors` of the working copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from litotes.data.encoder import Encoder
from litotes.data.wordnet import Synsets, load_synsets
from litotes.data.wordnet.relations import KINDS

MODEL = "all-MiniLM-L6-v2"
STORE = Path(__file__).parents[2] / ".litotes" / "vectors"


def vectors(texts: Sequence[str]) -> Tensor:
    """float32 [n, 384] of length 1, each text encoded once in the life of the store."""
    return torch.from_numpy(np.array(_encoder().encode(list(texts), kind="document")))


class Head(nn.Module):
    """A trainable map over frozen vectors: linear, or with one hidden layer. Started from a seed."""

    def __init__(self, inputs: int, outputs: int, seed: int, hidden: int | None = None):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            layers = [nn.Linear(inputs, hidden), nn.GELU()] if hidden else []
            self.layers = nn.Sequential(*layers, nn.Linear(hidden or inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True, eq=False)
class HypernymTask:
    """Extreme classification: a point is the gloss of a noun, its labels are its direct hypernyms.

    `points` float32 [N, 384], `labels` float32 [L, 384]; `known` bool [N, L]; `train`, `test`: rows of points.
    """

    points: Tensor
    labels: Tensor
    known: Tensor
    train: np.ndarray
    test: np.ndarray


def hypernym_task(train: int, test: int, seed: int, children: int = 5) -> HypernymTask:
    """Points drawn by seed among the nouns below the hypernyms of at least `children` nouns, which are the labels.

    The text of a label is its lemmas and its gloss. All labels are candidates, also those no training point has.
    """
    synsets, texts = _nouns()
    lower, upper = hypernym_pairs()
    parents, counts = np.unique(upper, return_counts=True)
    labels = parents[counts >= children]
    kept = np.isin(upper, labels)
    lower, upper = lower[kept], upper[kept]
    drawn = np.random.default_rng(seed).permutation(np.unique(lower))[: train + test]
    place = np.full(len(synsets.table), -1)
    place[drawn] = np.arange(len(drawn))
    mine = place[lower] >= 0
    known = torch.zeros(len(drawn), len(labels), dtype=torch.bool)
    known[place[lower[mine]], np.searchsorted(labels, upper[mine])] = True
    names = [f"{texts.lemmas[row]}: {texts.glosses[row]}" for row in labels]
    points = vectors([texts.glosses[row] for row in drawn])
    return HypernymTask(points, vectors(names), known, np.arange(train), np.arange(train, train + test))


@dataclass(frozen=True, eq=False)
class SiblingTask:
    """Definition search with hard negatives: a query is the lemmas of a noun, its answer the gloss.

    `queries` float32 [Q, 384]; `corpus` float32 [C, 384]; `answer` int64 [Q], row of the corpus; `siblings`: for each
    query, rows of the corpus that are glosses of nouns under the same hypernym. `train`, `test`: rows of queries.
    """

    queries: Tensor
    corpus: Tensor
    answer: np.ndarray
    siblings: list[np.ndarray]
    train: np.ndarray
    test: np.ndarray


def sibling_task(train: int, test: int, corpus: int, seed: int, siblings: int = 2) -> SiblingTask:
    """Queries drawn by seed among the nouns of `corpus` that have at least so many siblings in it.

    A query says the lemmas and, where there is one, the first example; the corpus is a seeded draw of nouns.
    """
    synsets, texts = _nouns()
    lower, upper = hypernym_pairs()
    random = np.random.default_rng(seed)
    nouns = np.sort(random.permutation(texts.rows)[:corpus])
    place = np.full(len(synsets.table), -1)
    place[nouns] = np.arange(len(nouns))
    inside = place[lower] >= 0
    low, up = place[lower[inside]], upper[inside]
    order = np.argsort(up, kind="stable")
    groups = np.split(low[order], np.flatnonzero(np.diff(up[order])) + 1)
    near: dict[int, set[int]] = {}
    for group in groups:
        for row in group.tolist():
            near.setdefault(row, set()).update(group.tolist())
    glosses = [texts.glosses[row] for row in nouns]
    found = {row: [r for r in sorted(rows - {row}) if glosses[r] != glosses[row]] for row, rows in near.items()}
    able = np.array(sorted(row for row, rows in found.items() if len(rows) >= siblings))
    answer = random.permutation(able)[: train + test]
    asked = [texts.queries[nouns[row]] for row in answer]
    pools = [np.array(found[row]) for row in answer.tolist()]
    return SiblingTask(
        vectors(asked), vectors(glosses), answer, pools, np.arange(train), np.arange(train, train + test)
    )


@cache
def hypernym_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Rows of nouns and of their direct hypernyms, instances included: int32 both."""
    synsets, texts = _nouns()
    kinds = [KINDS.index(name) for name in ("hypernym", "instance_hypernym")]
    chosen = np.isin(synsets.kind, kinds) & np.isin(synsets.source, texts.rows)
    return synsets.source[chosen], synsets.target[chosen]


@dataclass(frozen=True, eq=False)
class _Texts:
    """Texts by row of synset; `rows` of the nouns."""

    rows: np.ndarray
    lemmas: list[str]
    glosses: list[str]
    queries: list[str]


@cache
def _nouns() -> tuple[Synsets, _Texts]:
    synsets = load_synsets("all")
    table = synsets.table
    rows = np.flatnonzero([file.startswith("noun") for file in table["file"].to_pylist()])
    lemmas = [", ".join(words) for words in table["lemmas"].to_pylist()]
    examples = table["examples"].to_pylist()
    queries = [f"{words}. {used[0]}" if used else words for words, used in zip(lemmas, examples, strict=True)]
    return synsets, _Texts(rows, lemmas, table["definition"].to_pylist(), queries)


@cache
def _encoder() -> Encoder:
    return Encoder(MODEL, cache=STORE)
