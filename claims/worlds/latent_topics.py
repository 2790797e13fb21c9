"""A generated corpus with topics, where one relevant document of five is labelled.

A query has a latent point near one of the topics; its five relevant documents lie around that point, the rest of the
corpus anywhere near the topics. What is seen is that point with as many dimensions of noise behind it, so that a linear
head has something to learn, and unlabelled relevant documents are among the nearest negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOPICS, LATENT, RELEVANT = 100, 32, 5


@dataclass(frozen=True, eq=False)
class LatentTopics:
    """`queries` float32 [Q, 64], `documents` float32 [N, 64], of length 1; query i has the relevant documents
    5 i to 5 i + 4, of which 5 i is labelled. `train`, `test`: rows of queries."""

    queries: np.ndarray
    documents: np.ndarray
    train: np.ndarray
    test: np.ndarray

    def relevant(self, query: int) -> np.ndarray:
        """All relevant documents."""
        return np.arange(RELEVANT) + RELEVANT * query


def latent_topics(train: int, test: int, documents: int, seed: int) -> LatentTopics:
    """The world of one seed."""
    random = np.random.default_rng([seed, 7])
    topics = random.normal(size=(TOPICS, LATENT))
    asked = train + test

    def near(points: np.ndarray, spread: float) -> np.ndarray:
        return points + spread * random.normal(size=points.shape)

    query = near(topics[random.integers(TOPICS, size=asked)], 0.5)
    answers = near(np.repeat(query, RELEVANT, axis=0), 0.4)
    others = near(topics[random.integers(TOPICS, size=documents - len(answers))], 0.5)
    seen = [
        np.concatenate([x, 1.6 * random.normal(size=x.shape)], axis=1)
        for x in (query, np.concatenate([answers, others]))
    ]
    made = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in seen]
    return LatentTopics(made[0], made[1], np.arange(train), np.arange(train, asked))
