"""WordNet pairs with false negatives in every batch, planted and natural, and a student that trains in seconds.

A row is (question, answer). For every synset there is (definition, document), and for each of its usage examples
(example, lemmas), which nobody connects with the first: when they meet in a batch, each is a false negative for the
other (planted). Synsets come in neighbourhoods, one and up to two that WordNet relates to it, and a neighbourhood stays
together in a batch, so that near answers meet as well (natural: a hypernym, a similar word, a derivation).
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
from litotes.data.wordnet.relations import KINDS, SUSPICIOUS

GUIDE = "all-MiniLM-L6-v2"


@dataclass(frozen=True, eq=False)
class World:
    """`questions`, `answers`: texts of the training rows [R]; `synset` int64 [R]; `groups`: rows of each neighbourhood.

    `collection` is the held-out task: its training split and the synsets of its test split are in no row.
    """

    collection: Collection
    questions: list[str]
    answers: list[str]
    synset: np.ndarray
    groups: list[list[int]]
    related: set[tuple[int, int]]

    def batches(self, steps: int, size: int, seed: int) -> list[np.ndarray]:
        """Row numbers of each batch: whole neighbourhoods in drawn order until it is full."""
        random = np.random.default_rng(seed)
        made = []
        for _ in range(steps):
            rows: list[int] = []
            for group in random.permutation(len(self.groups)):
                rows += self.groups[group]
                if len(rows) >= size:
                    break
            made.append(np.array(rows[:size]))
        return made

    def false(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Which pairs of a batch are false negatives: planted (same synset) and natural (related): bool [B, B] each."""
        names = self.synset[rows].tolist()
        same = torch.tensor([[a == b for b in names] for a in names]).fill_diagonal_(False)
        natural = torch.tensor([[a != b and (a, b) in self.related for b in names] for a in names])
        return same, natural


def make_world(size: int, neighbourhoods: int, seed: int) -> World:
    """The world of one seed: a task of `size` synsets, and training neighbourhoods outside its test split."""
    collection = load_wordnet(size, "text", seed=seed)
    held_out = set(collection.qrels["test"]["query"].to_pylist())
    synsets = load_synsets("all")
    columns = synsets.table.select(["key", "definition", "lemmas", "examples"]).to_pylist()
    near: dict[int, list[int]] = {}
    suspicious = np.isin(synsets.kind, [KINDS.index(name) for name in SUSPICIOUS])
    for a, b in zip(synsets.source[suspicious].tolist(), synsets.target[suspicious].tolist(), strict=True):
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)

    random = np.random.default_rng(seed)
    questions: list[str] = []
    answers: list[str] = []
    names: list[int] = []
    groups: list[list[int]] = []
    used: set[int] = set()
    for start in random.permutation(sorted(near)).tolist():
        others = random.permutation(sorted(set(near[start]) - {start}))[:2].tolist()
        members = [row for row in (start, *others) if row not in used and columns[row]["key"] not in held_out]
        used |= set(members)
        first = len(questions)
        for row in members:
            words, examples = ", ".join(columns[row]["lemmas"]), columns[row]["examples"]
            document = f"{words}. {'; '.join(examples)}" if examples else words
            for question, answer in [(columns[row]["definition"], document), *((e, words) for e in examples[:2])]:
                questions.append(question)
                answers.append(answer)
                names.append(row)
        if len(questions) > first:
            groups.append(list(range(first, len(questions))))
        if len(groups) == neighbourhoods:
            break
    inside = set(names)
    related = {(a, b) for a in inside for b in near.get(a, ()) if b in inside}
    return World(collection, questions, answers, np.array(names), groups, related)


class BagOfTokens(nn.Module):
    """A student: the mean of token vectors, started from the guide's input embeddings. n texts -> [n, 384]."""

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
