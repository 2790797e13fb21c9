import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.search.bm25 import Bm25Index
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined

names = ["a", "b", "c", "d", "e"]
corpus = pa.table({"id": names, "text": ["red sea", "red sky", "blue sea", "green sky red", "sea sea"]})
queries = pa.table({"id": ["q"], "text": ["red sea"]})
collection = Collection("five", queries, corpus, {"train": judgements_table(["q"], ["a"], [1.0])})
anchors = Anchors.of(collection, "train")
space = Space(np.array([[1.0, 0.0]], np.float32), np.array([[5, 0], [2, 0], [4, 0], [2, 1], [3, 0]], np.float32), "dot")


def found_by(source):
    return source.prepare(collection, space)(anchors)


@given(st.integers(1, 6), st.integers(0, 6))
def test_the_window_counts_ranks_after_exclusion(depth, skip):
    found = found_by(Mined(depth, skip))
    ranked = [2, 4, 1, 3]  # scores 4, 3, 2, 2: ties to the lowest row; document 0 is the positive
    assert found.document.tolist() == ranked[skip : skip + depth]
    assert found.rank.tolist() == list(range(4))[skip : skip + depth]
    assert found.score.tolist() == [4.0, 3.0, 2.0, 2.0][skip : skip + depth]
    assert found.short == ({"dense": 1} if skip + depth > 4 else {})
    assert found.of_space == ("dense",)


def test_bm25_gives_the_scores_of_the_index_and_stops_where_no_word_is_shared():
    found = found_by(Bm25(10))
    index = Bm25Index.build(corpus["text"].to_pylist())
    assert set(found.document.tolist()) == {1, 2, 3, 4} and found.short == {"bm25": 1}
    assert (np.diff(found.score) <= 0).all()
    assert found.score.tolist() == index.pairs(["red sea"] * 4, found.document).tolist()


def test_what_is_kept_of_a_window_is_an_even_draw():
    kept = np.array(
        [[rank in found_by(Mined(4, per_anchor=2, seed=seed)).rank for rank in range(4)] for seed in range(400)]
    )
    assert (kept.sum(axis=1) == 2).all()
    assert (abs(kept.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(400)).all()
    assert len({tuple(row) for row in kept}) == 6


def test_spelling():
    assert str(Mined()) == "dense(depth=100, skip=0, per_anchor=None, seed=0)"


@pytest.mark.parametrize("kind", [Mined, Bm25])
@pytest.mark.parametrize(
    "bad", [{"depth": 0}, {"skip": -1}, {"per_anchor": 0}, {"depth": 3, "per_anchor": 4}, {"depth": float("nan")}]
)
def test_a_bad_window_is_refused(kind, bad):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {list(bad)[-1]} must be"):
        kind(**bad)


@pytest.mark.parametrize("bad", [{"k1": -0.1}, {"k1": float("inf")}, {"b": 1.1}, {"b": float("nan")}, {"method": "x"}])
def test_a_bad_setting_of_bm25_is_refused(bad):
    with pytest.raises(ValueError, match=f"Bm25: {next(iter(bad))} must be"):
        Bm25(**bad)
