"""Concepts of WordNet as labels under distant supervision: a gloss that names a concept is its positive.

Labels are noun concepts; every word stands for its first sense alone. What is tested is implicit: glosses of nouns
below a label that do not name it. All test texts leave the training evidence altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from claims.worlds.wordnet_heads import vectors
from scipy.optimize import minimize

from litotes.data.collection import Collection, judgements_table
from litotes.data.wordnet import load_synsets
from litotes.data.wordnet.relations import KINDS
from litotes.sources.structured.literal_match import literal_match

FIRST_SENSES = Path(__file__).with_name("first_noun_senses.parquet")
LEVELS, GLOSSES, BELOW, SIBLINGS = 3, 30, 5, 2


@dataclass(frozen=True, eq=False)
class Nouns:
    """The noun synsets: key -> definition, lemmas, keys of hypernyms (instances included)."""

    definition: dict[str, str]
    lemmas: dict[str, list[str]]
    parents: dict[str, list[str]]

    def above(self, key: str, levels: int) -> set[str]:
        """Concepts at most so many levels above."""
        seen: set[str] = set()
        front = {key}
        for _ in range(levels):
            front = {parent for one in front for parent in self.parents.get(one, [])} - seen
            seen |= front
        return seen - {key}

    def below(self) -> dict[str, set[str]]:
        """Concept -> what lies at most LEVELS below it."""
        made: dict[str, set[str]] = {}
        for key in self.definition:
            for upper in self.above(key, LEVELS):
                made.setdefault(upper, set()).add(key)
        return made


@dataclass(frozen=True, eq=False)
class World:
    """`labels`: keys. `tree`: queries table (labels first, then what lies above them) with `taxonomy` = parents.

    `texts`: every text used, key -> gloss. `literal`: label -> texts that name it. `implicit`: text -> its labels.
    """

    labels: list[str]
    tree: pa.Table
    texts: dict[str, str]
    literal: dict[str, set[str]]
    implicit: dict[str, set[str]]


@dataclass(frozen=True, eq=False)
class Draw:
    """One seed: `collection` with the training evidence as split "train" (its queries are labels and what lies above).

    `x` float32 [N, D]: vectors of the corpus; `tests`: name -> (x [T, D], truth bool [T, L]).
    """

    collection: Collection
    x: np.ndarray
    names: np.ndarray
    tests: dict[str, tuple[np.ndarray, np.ndarray]]


@cache
def nouns() -> Nouns:
    """WordNet's nouns and their hypernyms."""
    synsets = load_synsets("all")
    rows = synsets.table.select(["key", "file", "lemmas", "definition"]).to_pylist()
    chosen = np.isin(synsets.kind, [KINDS.index("hypernym"), KINDS.index("instance_hypernym")])
    parents: dict[str, list[str]] = {}
    for child, parent in zip(synsets.source[chosen].tolist(), synsets.target[chosen].tolist(), strict=True):
        parents.setdefault(rows[child]["key"], []).append(rows[parent]["key"])
    mine = [row for row in rows if row["file"].startswith("noun")]
    return Nouns({row["key"]: row["definition"] for row in mine}, {row["key"]: row["lemmas"] for row in mine}, parents)


@cache
def make_world() -> World:
    """Labels, texts and what is true of them; nothing here is drawn."""
    known = nouns()
    below = known.below()
    first = dict(zip(*pq.read_table(FIRST_SENSES).to_pydict().values(), strict=True))
    wide = sorted(key for key, under in below.items() if len(under) >= BELOW)
    words = {key: [w for w in known.lemmas[key] if first.get(w.casefold(), key) == key] for key in wide}
    wide = [key for key in wide if words[key]]
    glosses = pa.table({"id": list(known.definition), "text": list(known.definition.values())})
    aliases = pa.array([words[key][1:] for key in wide], pa.list_(pa.string()))
    named = pa.table({"id": wide, "text": [words[key][0] for key in wide], "aliases": aliases})
    found = literal_match(glosses, named)
    literal: dict[str, set[str]] = {}
    for label, text in zip(found["anchor"].to_pylist(), found["candidate"].to_pylist(), strict=True):
        if label != text:
            literal.setdefault(label, set()).add(text)
    labels = {key for key in wide if len(literal.get(key, ())) >= GLOSSES}
    while True:
        children: dict[str, set[str]] = {}
        for key in labels:
            for parent in known.parents.get(key, []):
                children.setdefault(parent, set()).add(key)
        near = {k: set().union(*(children[p] for p in known.parents.get(k, [])), set()) - {k} for k in labels}
        kept = {key for key in labels if len(near[key]) >= SIBLINGS}
        if kept == labels:
            break
        labels = kept
    names = sorted(labels)
    implicit: dict[str, set[str]] = {}
    for text in known.definition:
        truth = known.above(text, LEVELS) & labels
        if truth and not any(text in literal[label] for label in truth):
            implicit[text] = truth
    nodes = names + sorted(set().union(*(known.above(key, 99) for key in names)) - labels)
    tree = pa.table(
        {
            "id": nodes,
            "text": [words[key][0] if key in labels else known.lemmas[key][0] for key in nodes],
            "taxonomy": ["|".join(known.parents.get(key, [])) or None for key in nodes],
        }
    )
    return World(names, tree, known.definition, {key: literal[key] for key in names}, implicit)


def draw(seed: int, tests: int = 1500, literal_tests: int = 1000) -> Draw:
    """Test texts drawn by seed, first and for good; the rest of the literal matches is the training evidence."""
    world, random = make_world(), np.random.default_rng(seed)
    place = {label: i for i, label in enumerate(world.labels)}
    implicit = random.permutation(sorted(world.implicit))[:tests].tolist()
    named: dict[str, set[str]] = {}
    for label, texts in world.literal.items():
        for text in texts:
            named.setdefault(text, set()).add(label)
    literal = random.permutation(sorted(set(named) - set(implicit)))[:literal_tests].tolist()
    held = set(implicit) | set(literal)
    pairs = [(label, text) for label in world.labels for text in sorted(world.literal[label] - held)]
    train = sorted({text for _, text in pairs})
    corpus = pa.table({"id": train, "text": [world.texts[text] for text in train]})
    qrels = judgements_table([label for label, _ in pairs], [text for _, text in pairs], [1.0] * len(pairs))

    def asked(texts: list[str], truth: dict[str, set[str]]) -> tuple[np.ndarray, np.ndarray]:
        true = np.zeros((len(texts), len(place)), bool)
        for row, text in enumerate(texts):
            true[row, [place[label] for label in truth[text]]] = True
        return vectors([world.texts[text] for text in texts]).numpy(), true

    return Draw(
        Collection("concepts", world.tree, corpus, {"train": qrels}),
        vectors(corpus["text"].to_pylist()).numpy(),
        vectors(world.tree["text"].to_pylist()).numpy(),
        {"implicit": asked(implicit, world.implicit), "literal": asked(literal, named)},
    )


def logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights [D] and bias of one balanced logistic regression: both classes weigh the same. y bool [n].

    Minimises mean loss of the positives / 2 + mean loss of the negatives / 2 + penalty / 2 |w|^2, to the end.
    """
    x = np.ascontiguousarray(x, np.float32)
    sign = np.where(y, 1.0, -1.0)
    weight = np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1))

    def cost(v: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ v[:-1].astype(np.float32) + v[-1])
        pull = -weight * sign / (1 + np.exp(np.minimum(margin, 500)))
        value = weight @ np.logaddexp(0, -margin) + penalty / 2 * v[:-1] @ v[:-1]
        return value, np.append(pull.astype(np.float32) @ x + penalty * v[:-1], pull.sum())

    v = minimize(cost, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return v[:-1], float(v[-1])
