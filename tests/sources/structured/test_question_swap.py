"""Every group holds its own question once and none that is true of the clip."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_groups
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.sources.structured.question_swap import QuestionSwap


@given(st.lists(st.integers(0, 5), min_size=8, max_size=20), st.integers(0, 9), st.sampled_from(["uniform", "hard"]))
def test_the_true_question_is_there_once_and_no_other_of_its_clip(clips, seed, policy):
    clips = np.array([*clips, 90, 91, 92])
    features = np.random.default_rng(seed).normal(size=(len(clips), 3))
    least = min((clips != clip).sum() for clip in clips)
    m = min(4, least + 1)
    groups = QuestionSwap(m, policy, seed).groups(clips, features=features)
    assert groups.shape == (len(clips), m)
    for row, group in enumerate(groups):
        assert group[0] == row and len(set(group)) == m
        assert (clips[group[1:]] != clips[row]).all()
        if policy == "hard":
            foreign = np.flatnonzero(clips != clips[row])
            best = np.sort(features[foreign] @ features[row])[::-1][: m - 1]
            assert np.allclose(features[group[1:]] @ features[row], best)


def test_questions_worded_alike_are_no_negatives():
    clips, texts = [0, 0, 1, 1, 2, 2], ["a", "who?", "who?", "b", "who?", "c"]
    groups = QuestionSwap(2).groups(clips, texts)
    for row, group in enumerate(groups):
        true = {texts[other] for other in range(6) if clips[other] == clips[row]}
        assert texts[group[1]] not in true


def test_draws_follow_seed_and_epoch():
    clips = np.arange(40)
    one, two, later, other = (
        QuestionSwap(5, seed=seed).groups(clips, epoch=epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert (one == two).all() and (one != later).any() and (one != other).any()


def test_too_few_foreign_questions_are_refused_and_uniform_scores_cost_ln_m():
    assert QuestionSwap(3).groups([0, 1, 2]).shape == (3, 3)
    with pytest.raises(ValueError, match="needs 3 foreign questions, question 0 has 2"):
        QuestionSwap(4).groups([0, 1, 2])
    with pytest.raises(ValueError, match="n_candidates must be a whole number >= 2"):
        QuestionSwap(1)
    with pytest.raises(ValueError, match="needs features"):
        QuestionSwap(2, "hard").groups([0, 1])
    assert InfoNCE(1.0)(from_groups(torch.zeros(2, 5))).item() == pytest.approx(math.log(5))
