"""Nouns of WordNet in the tree of their hypernyms: glosses as frozen vectors, and the path from the root of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from claims.worlds.wordnet_heads import hypernym_pairs, vectors
from torch import Tensor

from litotes.data.wordnet import load_synsets

LEVELS = (2, 3, 4, 5, 6)


@dataclass(frozen=True, eq=False)
class Nouns:
    """`vectors` float32 [N, 384] of the glosses, `paths` from the root, `files`: the lexicographer file of each."""

    vectors: Tensor
    paths: list[list[str]]
    files: np.ndarray


def make_nouns(train: int, test: int, seed: int, held_out: float = 0.25) -> tuple[Nouns, Nouns]:
    """Nouns for training and for the test, from different branches at level 5, a share of which is held out.

    Only nouns at level 6 or below it; of several hypernyms the first counts.
    """
    paths = _paths()
    rows = np.array([row for row, path in paths.items() if len(path) >= max(LEVELS)])
    random = np.random.default_rng(seed)
    branch = np.unique([paths[row][4] for row in rows.tolist()], return_inverse=True)[1]
    apart = random.random(branch.max() + 1) < held_out
    drawn = [random.permutation(rows[apart[branch] == side])[:count] for side, count in ((False, train), (True, test))]
    table = load_synsets("all").table
    made = []
    for chosen in drawn:
        taken = table.take(chosen)
        named = [[str(node) for node in paths[row]] for row in chosen.tolist()]
        made.append(Nouns(vectors(taken["definition"].to_pylist()), named, np.array(taken["file"].to_pylist())))
    return made[0], made[1]


@cache
def _paths() -> dict[int, list[int]]:
    """The rows from the root down to each noun, itself last."""
    lower, upper = hypernym_pairs()
    child, first = np.unique(lower, return_index=True)
    parent = dict(zip(child.tolist(), upper[first].tolist(), strict=True))
    found: dict[int, list[int]] = {}

    def path(row: int) -> list[int]:
        if row not in found:
            found[row] = [*path(parent[row]), row] if row in parent else [row]
        return found[row]

    for row in child.tolist():
        path(row)
    return found
