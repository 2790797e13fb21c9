"""Noun definitions of WordNet with the lexicographer file as class, as frozen vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litotes.data.encoder import Encoder
from litotes.data.wordnet import load_synsets

SMALL = ("noun.Tops", "noun.motive")  # some 50 synsets each


@dataclass(frozen=True, eq=False)
class Classes:
    """`train` [24 n, 384], class by class, with `label` int64; `test` [24 m, 384] with `test_label`. `names`."""

    train: Tensor
    label: Tensor
    test: Tensor
    test_label: Tensor
    names: list[str]


def make_classes(train: int, test: int, seed: int) -> Classes:
    """The classes of one seed: `train` and `test` definitions of each, drawn anew, none of them twice."""
    table = load_synsets("all").table
    files, same = np.array(table["file"].to_pylist()), table["same"].to_numpy()
    names = sorted(name for name in set(files.tolist()) if name.startswith("noun.") and name not in SMALL)
    random, rows = np.random.default_rng(seed), []
    for name in names:
        of_class = np.flatnonzero((files == name) & (same == np.arange(len(same))))
        rows.append(random.permutation(of_class)[: train + test])
    chosen = np.stack(rows)
    texts = table["definition"].take(chosen.ravel()).to_pylist()
    vectors = torch.from_numpy(np.array(Encoder("all-MiniLM-L6-v2").encode(texts, kind="document"), np.float32))
    parts = vectors.view(len(names), train + test, -1).split([train, test], dim=1)
    labels = [torch.arange(len(names)).repeat_interleave(part.shape[1]) for part in parts]
    return Classes(parts[0].flatten(0, 1), labels[0], parts[1].flatten(0, 1), labels[1], names)
