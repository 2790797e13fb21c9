"""QuestionSwap: the questions of other clips as negatives of a clip, so that every clip has a choice for free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from litotes.spelling import spell


@dataclass(frozen=True)
class QuestionSwap:
    """For each (clip, question) pair a choice of M questions: its own, and M - 1 of other clips.

    "Which question belongs to this clip" asks for no label beside the pairs, and a model that can tell reads both.
    Other questions of the same clip are true of it and never negatives; neither are questions worded like one of them
    ("who speaks first?"), if texts are given.

    Cost: O(N^2) time, O(N M) memory.

    Args:
        n_candidates: M, >= 2; as many as there are answers lets the main stage keep its shapes.
        policy: "uniform" draws the others evenly; "hard" takes those most alike by the inner product of features.
        seed: of the draw, with the epoch.
    Raises:
        ValueError: an argument is out of range.
    Source: Self-supervised pre-training and contrastive representation learning for multiple-choice video QA
        (arXiv:2009.08043), its pre-training; number and draw of the others are our reading.

    Example:
        >>> QuestionSwap(n_candidates=2).groups([0, 0, 1])[:, 0].tolist()
        [0, 1, 2]
    """

    n_candidates: int = 5
    policy: Literal["uniform", "hard"] = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.n_candidates, int) and self.n_candidates >= 2):
            raise ValueError(f"QuestionSwap: n_candidates must be a whole number >= 2, got {self.n_candidates!r}")
        if self.policy not in ("uniform", "hard"):
            raise ValueError(f"QuestionSwap: policy must be 'uniform' or 'hard', got {self.policy!r}")

    def groups(
        self,
        clips: Sequence[int] | np.ndarray,
        texts: Sequence[str] | None = None,
        features: np.ndarray | None = None,
        epoch: int = 0,
    ) -> np.ndarray:
        """Rows of the questions each pair chooses from: int64 [N, M], column 0 its own, no question twice.

        In:   clips [N], the clip of each question; texts [N], or None = no two are alike; features [N, D] for "hard".
        Raises:
            ValueError: a clip has fewer than M - 1 foreign questions, or features lack.
        """
        clip = np.unique(np.asarray(clips), return_inverse=True)[1]
        word = np.arange(len(clip)) if texts is None else np.unique(np.asarray(texts), return_inverse=True)[1]
        if len(word) != len(clip) or (features is not None and len(features) != len(clip)):
            raise ValueError(f"QuestionSwap: {len(clip)} clips need as many texts and features")
        if self.policy == "hard" and features is None:
            raise ValueError("QuestionSwap: policy='hard' needs features of the questions")
        random = np.random.default_rng([self.seed, epoch])
        found = np.empty((len(clip), self.n_candidates), np.int64)
        for row in range(len(clip)):
            true = word[clip == clip[row]]
            foreign = np.flatnonzero((clip != clip[row]) & ~np.isin(word, true))
            foreign = foreign[np.unique(word[foreign], return_index=True)[1]]  # a text is a candidate once
            if len(foreign) < self.n_candidates - 1:
                raise ValueError(
                    f"QuestionSwap: n_candidates={self.n_candidates} needs {self.n_candidates - 1} foreign questions, "
                    f"question {row} has {len(foreign)}"
                )
            if features is None or self.policy == "uniform":
                taken = random.choice(foreign, self.n_candidates - 1, replace=False)
            else:
                alike = np.asarray(features)[foreign] @ np.asarray(features)[row]
                taken = foreign[np.argsort(-alike, kind="stable")[: self.n_candidates - 1]]
            found[row] = [row, *taken]
        return found

    def __str__(self) -> str:
        return spell(self)
