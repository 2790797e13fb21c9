import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.audit.negatives.shingles import Closeness, shingles
from litotes.data.anchors import normalise

texts = st.text(st.sampled_from("abC \u00e9"), max_size=30)


def runs(text, length=5):
    text = normalise(text)
    return {text[i : i + length] for i in range(max(len(text) - length, 0) + 1)}


@given(texts, texts, st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_it_is_the_jaccard_similarity_of_the_runs_where_it_reaches_the_line(one, other, line):
    a, b = runs(one), runs(other)
    jaccard = len(a & b) / len(a | b)
    got = Closeness([one], [other]).above(np.array([0]), np.array([0]), line)[0]
    assert got == pytest.approx(jaccard if jaccard >= line else 0.0, abs=1e-6)


@given(texts)
def test_one_hash_for_each_different_run(text):
    made = shingles(text)
    assert len(made) == len(runs(text)) and (np.diff(made.astype(object)) > 0).all()
    assert (shingles(text.upper()) == shingles(text.upper().lower())).all()


@pytest.mark.parametrize("length", [0, 65])
def test_a_bad_length_is_named(length):
    with pytest.raises(ValueError, match=rf"length must be in \[1, 64\], got {length}"):
        Closeness([], [], length)
