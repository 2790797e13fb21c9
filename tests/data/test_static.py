"""A static model says of a lone word what its teacher says, and of a text the mean."""

import numpy as np
import pytest

from litotes.data.static import static_from


@pytest.fixture(scope="module")
def teacher(tiny_bert, tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("teacher"))


def load(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def test_lone_words_are_the_teachers_and_texts_their_mean(teacher, tmp_path):
    plain = load(static_from(teacher, tmp_path / "plain", smoothing=None, batch=7))
    words = ["wing", "of", "z"]
    assert plain.encode(words) == pytest.approx(load(teacher).encode(words), abs=1e-5)
    assert plain.encode("wing of z") == pytest.approx(plain.encode(words).mean(axis=0), abs=1e-5)


def test_frequent_words_are_marked_down_by_the_formula_and_unknown_ones_are_silent(teacher, tmp_path):
    plain = load(static_from(teacher, tmp_path / "plain", smoothing=None))
    smooth = load(static_from(teacher, tmp_path / "smooth", smoothing=0.01))
    ids = plain.tokenizer.get_vocab()
    harmonic = sum(1 / rank for rank in range(1, len(ids) + 1))
    for word in ("a", "wing", "document"):
        factor = 0.01 / (0.01 + 1 / (ids[word] + 1) / harmonic)
        assert smooth.encode(word) == pytest.approx(plain.encode(word) * factor, rel=1e-4, abs=1e-6)
    assert np.abs(smooth.encode("[SEP] ?")).max() == 0


def test_what_cannot_be_is_refused(teacher, tmp_path):
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"smoothing must be > 0 and finite, or None, got {bad}"):
            static_from(teacher, tmp_path / "new", smoothing=bad)
    with pytest.raises(ValueError, match="batch must be >= 1, got 0"):
        static_from(teacher, tmp_path / "new", batch=0)
    with pytest.raises(ValueError, match="exists already"):
        static_from(teacher, tmp_path)
    assert list(tmp_path.iterdir()) == []
