"""WordNet pairs with false negatives in every batch, planted and natural, and a student that trains in seconds.

A row is (question, answer). For every synset of the training split there is (definition, document). Where a synset has
usage examples there is a second row, (its first example, its lemmas), which nobody connects with the first: when both
meet in a batch, each is a false negative for the other (planted). Batches are made of pairs of related synsets, so
that near answers meet as well (natural: a hypernym, a similar word, a derivation).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from litotes.data.collection import Collection
from litotes.data.models import resolve_model
from litotes.data.wordnet import load_synsets, load_wordnet

GUIDE = "all-MiniLM-L6-v2"


@dataclass(frozen=True, eq=False)
class World:
    """`questions`, `answers`: texts of the training rows; `synset` int64 [R], `near`: related synsets of each synset."""

    collection: Collection
    questions: list[str]
    answers: list[str]
    synset: np.ndarray
    rows_of: dict[int, list[int]]
    near: dict[int, list[int]]

    def batches(self, steps: int, size: int, seed: int) -> list[np.ndarray]:
        """Row numbers of each batch: a synset, one related to it if there is one, all rows of both; then the next."""
        random = np.random.default_rng(seed)
        names = np.array(sorted(self.rows_of))
        made = []
        for _ in range(steps):
            rows: list[int] = []
            met: set[int] = set()
            for name in random.permutation(names):
                pair = [int(name), *([int(random.choice(self.near[int(name)]))] if self.near.get(int(name)) else [])]
                for one in pair:
                    if one not in met:
                        met.add(one)
                        rows += self.rows_of[one]
                if len(rows) >= size:
                    break
            made.append(np.array(rows[:size]))
        return made

    def false(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Which pairs of a batch are false negatives: planted (same synset) and natural (related): bool [B, B] each."""
        names = self.synset[rows]
        same = torch.from_numpy(names[:, None] == names[None, :])
        same.fill_diagonal_(False)
        related = np.array([[b in self.near.get(int(a), ()) for b in names] for a in names])
        return same, torch.from_numpy(related) & ~same


def make_world(size: int, seed: int) -> World:
    """The world of one seed: `size` synsets, with split and subset redrawn."""
    collection = load_wordnet(size, "text", seed=seed)
    synsets = load_synsets(size, seed)
    keys = synsets.table["key"].to_pylist()
    training = set(collection.qrels["train"]["query"].to_pylist())
    chosen = {row for row, key in enumerate(keys) if key in training}
    documents = dict(zip(collection.corpus["id"].to_pylist(), collection.document_texts(), strict=True))
    columns = synsets.table.select(["key", "definition", "lemmas", "examples"]).to_pylist()
    questions, answers, names = [], [], []
    for row in sorted(chosen):
        about = columns[row]
        if about["key"] not in documents:
            continue
        pairs = [(about["definition"], documents[about["key"]])]
        if about["examples"]:
            pairs.append((about["examples"][0], ", ".join(about["lemmas"])))
        for question, answer in pairs:
            questions.append(question)
            answers.append(answer)
            names.append(row)
    rows_of: dict[int, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    near: dict[int, list[int]] = {}
    for a, b in zip(synsets.source.tolist(), synsets.target.tolist(), strict=True):
        if a in rows_of and b in rows_of and a != b:
            near.setdefault(a, []).append(b)
            near.setdefault(b, []).append(a)
    return World(collection, questions, answers, np.array(names), rows_of, {k: sorted(set(v)) for k, v in near.items()})


class BagOfTokens(nn.Module):
    """A student encoder: the mean of token vectors, started from the guide's input embeddings. [n texts] -> [n, 384]."""

    def __init__(self) -> None:
        super().__init__()
        tokenizer, table = _tokens()
        self.tokenizer = tokenizer
        self.vectors = nn.EmbeddingBag.from_pretrained(table.clone(), freeze=False, mode="mean", sparse=True)

    def tokens(self, texts: list[str]) -> list[Tensor]:
        """Token ids of each text, without the special ones."""
        ids = self.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=64)["input_ids"]
        return [torch.tensor(row or [self.tokenizer.unk_token_id]) for row in ids]

    def forward(self, tokens: list[Tensor]) -> Tensor:
        offsets = torch.tensor([0, *(len(row) for row in tokens[:-1])]).cumsum(0)
        return self.vectors(torch.cat(tokens), offsets)


@cache
def _tokens() -> tuple:
    from transformers import AutoModel, AutoTokenizer

    path = resolve_model(GUIDE)
    table = AutoModel.from_pretrained(path).get_input_embeddings().weight.detach().float()
    return AutoTokenizer.from_pretrained(path), table
