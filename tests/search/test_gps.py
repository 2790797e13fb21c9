"""Places: a slow twin, the globe's seams, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.search.gps import EARTH, gps_neighbours
from litotes.search.neighbours import neighbours


def haversine(a, b):
    (p, x), (q, y) = np.radians(a), np.radians(b)
    h = np.sin((p - q) / 2) ** 2 + np.cos(p) * np.cos(q) * np.sin((x - y) / 2) ** 2
    return 2 * EARTH * np.arcsin(np.sqrt(h))


def test_a_degree_of_longitude_and_the_date_line():
    ids, far = gps_neighbours([[0, 0], [0, 1], [0, 50]], k=1)
    assert ids[:, 0].tolist() == [1, 0, 1] and far[0, 0] == pytest.approx(111.195, abs=5e-4)
    ids, far = gps_neighbours([[0, 179.9], [0, -179.9], [0, 170]], k=2)
    assert ids[0].tolist() == [1, 2] and far[0, 0] == pytest.approx(0.2 * 111.19508, rel=1e-6)
    assert gps_neighbours([[90, 0], [90, 120], [80, 0]], k=1)[1][0, 0] == pytest.approx(0, abs=1e-9)  # one pole


@given(st.integers(2, 25), st.integers(0, 99), st.sampled_from(["haversine", "euclidean"]), st.integers(1, 3))
def test_it_finds_what_a_loop_over_pairs_finds(n, seed, metric, groups):
    random = np.random.default_rng(seed)
    places = np.round(random.uniform(-80, 80, (n, 2)), 0 if seed % 2 else 6)
    group, k = random.integers(0, groups, n), int(random.integers(1, n))
    ids, far = gps_neighbours(places, k, metric, group)
    distance = haversine if metric == "haversine" else lambda a, b: np.linalg.norm(a - b)
    for i in range(n):
        others = [j for j in range(n) if j != i and group[j] == group[i]]
        want = sorted(distance(places[i], places[j]) for j in others)[:k]
        found = ids[i][ids[i] >= 0].tolist()
        assert len(set(found)) == len(found) == len(want) and set(found) <= set(others)
        assert np.allclose(far[i, : len(want)], want, atol=1e-6) and np.isinf(far[i, len(want) :]).all()
        assert np.allclose([distance(places[i], places[j]) for j in found], want, atol=1e-6)
        assert (ids[i, len(want) :] == -1).all()


def test_ties_go_to_the_lowest_row_and_one_spot_can_be_left_out():
    square = [[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0], [0, 0]]
    assert gps_neighbours(square, 3, "euclidean")[0][0].tolist() == [5, 1, 2]
    ids, far = gps_neighbours(square, 3, "euclidean", beyond=0)
    assert ids[0].tolist() == [1, 2, 3] and (far > 0).all() and ids[5].tolist() == [1, 2, 3]
    assert ids[1].tolist() == [0, 5, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(coordinates=np.zeros((3, 2)), k=3), r"k must be in \[1, n - 1\], got k=3 of n=3"),
        (dict(coordinates=np.zeros((3, 2)), k=0), "k must be in"),
        (dict(coordinates=np.zeros((3, 3)), k=1), r"coordinates must be \[N, 2\]"),
        (dict(coordinates=[[0, 0], [91, 0]], k=1), "row 1 is not"),
        (dict(coordinates=[[0, np.nan], [9, 0]], k=1), "row 0 is not"),
        (dict(coordinates=np.zeros((3, 2)), k=1, metric="cosine"), "metric must be"),
        (dict(coordinates=np.zeros((3, 2)), k=1, groups=[1]), r"groups must be \[3\]"),
        (dict(coordinates=np.zeros((3, 2)), k=1, beyond=-1), "beyond must be >= 0"),
    ],
)
def test_bad_arguments_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        gps_neighbours(**given)


def test_neighbours_of_a_query_leave_its_gold_out_even_when_tied_and_go_by_score_then_row():
    x = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    gold = np.arange(6), np.arange(5)
    ids, scores = neighbours(x, x, 3, exclude=gold)
    assert ids[1].tolist() == [0, 3, 4] and ids[0].tolist() == [1, 3, 4] and (np.diff(scores) <= 0).all()
    assert not (ids == np.arange(5)[:, None]).any()
