import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.metrics.rp_at_k import rp_at_k

few = st.sampled_from([-np.inf, 0.0, 0.5, 1.0])


@st.composite
def cases(draw):
    t, n = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    scores = np.array([[draw(few) for _ in range(n)] for _ in range(t)])
    truth = np.array([[draw(st.booleans()) for _ in range(n)] for _ in range(t)])
    truth[0, 0] = True
    return scores, truth


@given(cases(), st.integers(1, 8))
def test_it_is_its_definition(case, k):
    scores, truth = case
    values = []
    for s, true in zip(scores, truth, strict=True):
        if true.any():
            ranks = [sum(other >= own for other in s) for own in s]
            hits = sum(t and r <= k and own > -np.inf for t, r, own in zip(true, ranks, s, strict=True))
            values.append(hits / min(k, true.sum()))
    assert rp_at_k(scores, truth, k) == pytest.approx(np.mean(values))


def test_by_hand():
    ten = np.arange(20, 0, -1.0)[None]
    truth = np.zeros((1, 20), bool)
    truth[0, [0, 3, 9]] = True
    assert rp_at_k(ten, truth, 5) == pytest.approx(2 / 3)
    truth[0, :] = np.arange(20) < 10
    assert rp_at_k(ten, truth, 5) == 1.0
    both = np.concatenate([truth, np.zeros_like(truth)])
    assert rp_at_k(np.concatenate([ten, ten]), both, 5) == 1.0  # nothing is true of the second text: left out


@given(st.integers(0, 99))
def test_at_1_it_is_precision_at_1(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.5
    truth[:, 0] = True
    assert rp_at_k(scores, truth, 1) == pytest.approx(np.mean(truth[np.arange(5), scores.argmax(1)]))


def test_a_scorer_that_says_nothing_earns_nothing_and_a_label_without_a_classifier_is_missed():
    assert rp_at_k(np.ones((1, 9)), np.ones((1, 9)), 5) == 0
    assert rp_at_k([[1.0, -np.inf]], [[1, 1]], 5) == 0.5


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        rp_at_k([[1.0]], [[1]], 0)
    with pytest.raises(ValueError, match=r"both be \[T, L\], got \[1, 2\] and \[1, 1\]"):
        rp_at_k([[1.0, 2.0]], [[1]], 1)
    with pytest.raises(ValueError, match="NaN in row 1"):
        rp_at_k([[1.0], [np.nan]], [[1], [1]], 1)
    with pytest.raises(ValueError, match="no text has a true label"):
        rp_at_k([[1.0]], [[0]], 1)
