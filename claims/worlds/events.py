"""WordNet as news: an ambiguous word is the query, the sense that is meant now is the event, its definition the answer.

The topic is the word, so definitions of its other senses are stale: on topic, and about another event. What is known of
the event is a text: an example sentence of the sense, or the definition of its hypernym, among two such texts of other
words. Never does it hold the answer itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from claims.worlds.token_states import States, states_of
from torch import Tensor

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.data.encoder import Encoder
from litotes.data.wordnet import load_synsets
from litotes.data.wordnet.relations import KINDS
from litotes.sources.structured.stale import StaleNegatives

WORDS, CORPUS, SENSES = 4_500, 20_000, (2, 6)


@dataclass(frozen=True, eq=False)
class Pool:
    """What every seed draws from. A case is a word in one of its senses, with a text about it.

    `vectors` [20,000, 384] of the definitions; `words`, `events`: token states of words, and of the texts of cases;
    `word`, `answer` int64: of each case, the word and the row of its definition; `stale` int64 [cases, 5], rows of
    definitions of the word's other senses in a drawn order, -1 = no more.
    """

    vectors: Tensor
    words: States
    events: States
    word: np.ndarray
    answer: np.ndarray
    stale: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Cases by word: `train` and `test` hold the cases of each word, no word in both."""

    train: list[np.ndarray]
    test: np.ndarray


def make_split(pool: Pool, train: int, test: int, seed: int) -> Split:
    """Words of one seed."""
    cases = [np.flatnonzero(pool.word == word) for word in np.unique(pool.word)]
    drawn = np.random.default_rng(seed).permutation(len(cases))[: train + test]
    return Split([cases[word] for word in drawn[:train]], np.concatenate([cases[word] for word in drawn[train:]]))


@cache
def make_pool() -> Pool:
    """Encoded once a process."""
    synsets = load_synsets("all")
    table = synsets.table
    key, same = table["key"].to_pylist(), table["same"].to_numpy()
    definition, lemmas, examples = (table[name].to_pylist() for name in ("definition", "lemmas", "examples"))
    noun = np.array([name[0] == "n" for name in key]) & (same == np.arange(len(same)))
    above = _hypernyms(synsets.source, synsets.target, synsets.kind)

    senses: dict[str, list[int]] = {}
    for row in np.flatnonzero(noun).tolist():
        for lemma in lemmas[row]:
            senses.setdefault(lemma, []).append(row)
    told = {row: _told(row, definition, examples, above) for row in np.flatnonzero(noun).tolist()}
    chosen = [lemma for lemma, rows in senses.items() if SENSES[0] <= len(set(rows)) <= SENSES[1]][:WORDS]
    inside = list(dict.fromkeys(row for lemma in chosen for row in senses[lemma]))
    others = [row for row in np.flatnonzero(noun).tolist() if row not in set(inside)]
    corpus = [*inside, *others][:CORPUS]
    place = {row: i for i, row in enumerate(corpus)}
    cases = [(w, row) for w, lemma in enumerate(chosen) for row in dict.fromkeys(senses[lemma]) if told[row]]

    texts = [definition[row] for row in corpus]
    vectors = torch.from_numpy(np.array(Encoder("all-MiniLM-L6-v2").encode(texts, kind="document"), np.float32))
    word, answer = np.array([w for w, _ in cases]), np.array([place[row] for _, row in cases])
    stale = _stale(chosen, senses, word, answer, place, texts)
    return Pool(vectors, states_of(chosen), states_of([told[row] for _, row in cases]), word, answer, stale)


def _hypernyms(source: np.ndarray, target: np.ndarray, kind: np.ndarray) -> dict[int, int]:
    is_hypernym = kind == KINDS.index("hypernym")
    pairs = zip(source[is_hypernym].tolist()[::-1], target[is_hypernym].tolist()[::-1], strict=True)
    return dict(pairs)  # the first one that is stored


def _told(row: int, definition: list[str], examples: list[list[str]], above: dict[int, int]) -> str:
    """A text about the sense that does not hold its definition; "" without any."""
    hypernym = [definition[above[row]]] if row in above else []
    return next((text for text in [*examples[row], *hypernym] if definition[row].lower() not in text.lower()), "")


def _stale(
    chosen: list[str], senses: dict[str, list[int]], word: np.ndarray, answer: np.ndarray, place: dict, texts: list[str]
) -> np.ndarray:
    """By the part itself: topic = word, event = sense; a definition is a document once for each of its words."""
    about = [(w, place[row]) for w, lemma in enumerate(chosen) for row in dict.fromkeys(senses[lemma])]
    documents = pa.table(
        {
            "id": [f"{w}-{row}" for w, row in about],
            "text": [f"{texts[row]} ({chosen[w]})" for w, row in about],
            "topic": [str(w) for w, _ in about],
            "event": [str(row) for _, row in about],
        }
    )
    ids = [f"{w}-{row}" for w, row in zip(word.tolist(), answer.tolist(), strict=True)]
    queries = pa.table(
        {
            "id": ids,
            "text": [chosen[w] for w in word],
            "topic": [str(w) for w in word.tolist()],
            "event": [str(row) for row in answer.tolist()],
        }
    )
    collection = Collection("events", queries, documents, {"train": judgements_table(ids, ids, [1.0] * len(ids))})
    anchors = Anchors.of(collection, "train")
    found = StaleNegatives(depth=SENSES[1] - 1).prepare(collection)(anchors)
    out = np.full((len(ids), SENSES[1] - 1), -1)
    out[anchors.query[found.anchor], found.rank] = np.array([row for _, row in about])[found.document]
    return out
