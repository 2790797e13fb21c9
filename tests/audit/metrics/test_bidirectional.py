"""Both directions by definition: ties are faults, the best of several answers counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.metrics.bidirectional import bidirectional_recall


def test_the_identity_finds_everything_and_a_constant_nothing():
    found = bidirectional_recall(np.eye(10), np.eye(10))
    assert found["rows r@1"] == found["columns r@1"] == 1 and found["rows median"] == found["columns median"] == 1
    level = bidirectional_recall(np.zeros((10, 10)), np.eye(10))
    assert level["rows r@1"] == 0 and level["rows r@10"] == 1 and level["columns median"] == 10


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_ranks_are_counted_one_by_one(r, c, seed):
    random = np.random.default_rng(seed)
    scores, true = random.integers(0, 4, (r, c)) / 2, random.random((r, c)) < 0.4
    true[0, 0] = True
    found = bidirectional_recall(scores, true, ks=(1, 2))
    for name, s, t in (("rows", scores, true), ("columns", scores.T, true.T)):
        ranks = []
        for row, answers in zip(s.tolist(), t.tolist(), strict=True):
            if any(answers):
                best = max(v for v, a in zip(row, answers, strict=True) if a)
                ranks.append(1 + sum(v >= best and not a for v, a in zip(row, answers, strict=True)))
        assert found[f"{name} r@2"] == pytest.approx(np.mean([rank <= 2 for rank in ranks]))
        assert found[f"{name} median"] == np.median(ranks)
    assert found["gap r@1"] == pytest.approx(found["rows r@1"] - found["columns r@1"])


@pytest.mark.parametrize(
    "scores, positives, message",
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "must both be"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "nothing is an answer"),
        (np.full((1, 1), np.nan), np.ones((1, 1)), "got NaN"),
    ],
)
def test_bad_input_is_named(scores, positives, message):
    with pytest.raises(ValueError, match=message):
        bidirectional_recall(scores, positives)
