"""One content in two kinds: glosses as texts, and as "images", a second modality made from the same vectors.

A concept is a synset of WordNet. Its text candidate is the vector of its gloss; its image is a fixed random rotation of
that vector with noise and a constant offset (the gap between modalities). A query is the vector of its lemmas, which
no candidate holds, with a wish beside it: text or image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from claims.worlds.wordnet_heads import vectors
from torch import Tensor, nn

from litotes.data.collection import Collection, judgements_table
from litotes.data.wordnet import load_synsets

KINDS = ("text", "image")


@dataclass(frozen=True, eq=False)
class World:
    """`queries` float32 [N, 384]; `candidates` [2, N, 384]: texts and images of the same concepts; `train`: how many.

    The first `train` concepts are for training; `mining` is their task: query 2c + kind, document 2c + kind.
    """

    queries: Tensor
    candidates: Tensor
    train: int
    mining: Collection


def make_world(concepts: int, train: int, seed: int, noise: float = 0.03, offset: float = 1.0) -> World:
    """Split, rotation, noise and offset of one seed over the same concepts."""
    lemmas, glosses = _texts(concepts)
    random = np.random.default_rng(seed)
    order = random.permutation(concepts)
    names, texts = vectors(lemmas)[order], vectors(glosses)[order]
    width = texts.shape[1]
    rotation = torch.from_numpy(np.linalg.qr(random.normal(size=(width, width)))[0]).float()
    gap = torch.from_numpy(random.normal(size=width)).float()
    noisy = noise * torch.from_numpy(random.normal(size=tuple(texts.shape))).float()
    images = texts @ rotation + noisy + offset * F.normalize(gap, dim=0)
    kinds = list(KINDS) * train
    ids = [f"{kind}-{c:05d}" for c in range(train) for kind in KINDS]
    table = pa.table({"id": ids, "text": ids, "modality": kinds})
    task = Collection("two kinds", table, table, {"train": judgements_table(ids, ids, [1.0] * len(ids))})
    return World(names, torch.stack([texts, images]), train, task)


class TwoTowers(nn.Module):
    """A map for queries with their wish, and a linear map for each kind of candidate; unit vectors out."""

    def __init__(self, inputs: int = 384, hidden: int = 512, outputs: int = 256):
        super().__init__()
        self.query = nn.Sequential(nn.Linear(inputs + len(KINDS), hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        self.kinds = nn.ModuleList(nn.Linear(inputs, outputs) for _ in KINDS)

    def ask(self, queries: Tensor, kind: int) -> Tensor:
        """[n, 384] and the wish -> [n, 256]."""
        wish = F.one_hot(torch.tensor(kind), len(KINDS)).to(queries).expand(len(queries), -1)
        return F.normalize(self.query(torch.cat([queries, wish], dim=1)), dim=1)

    def candidate(self, candidates: Tensor, kind: int) -> Tensor:
        """[n, 384] of one kind -> [n, 256]."""
        return F.normalize(self.kinds[kind](candidates), dim=1)

    def interleaved(self, both: list[Tensor]) -> np.ndarray:
        """[n, 256] of each kind as rows 2c + kind: float32 [2n, 256]."""
        return torch.stack(both, dim=1).flatten(0, 1).numpy()


@cache
def _texts(concepts: int) -> tuple[list[str], list[str]]:
    """Lemmas and glosses of the first concepts in the standard order, each gloss once."""
    table = load_synsets(2 * concepts).table
    rows = table.filter(pa.array(table["same"].to_numpy() == np.arange(len(table)))).slice(0, concepts)
    return [", ".join(words) for words in rows["lemmas"].to_pylist()], rows["definition"].to_pylist()
