import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.errors import BadInput
from litotes.search.clusters import _lloyd, balanced_clusters, balanced_order, halves, kmeans


def noise(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def blobs(centres, each, spread, seed=0):
    """`each` points around every centre, blob by blob."""
    x = np.repeat(np.asarray(centres, np.float32), each, axis=0)
    return x + spread * noise(len(x), x.shape[1], seed)


def unit(x):
    return x / np.maximum(np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-12)


# ---- k-means


@given(st.integers(1, 40), st.integers(1, 5), st.data(), st.booleans(), st.integers(0, 99))
def test_every_point_is_with_its_nearest_centre_and_every_centre_is_a_mean(n, d, data, spherical, seed):
    k = data.draw(st.integers(1, n))
    x = noise(n, d, seed)
    labels, centres = kmeans(x, k, iters=300, seed=seed, spherical=spherical)
    assert labels.dtype == np.int32 and centres.dtype == np.float32 and centres.shape == (k, d)
    points = unit(x) if spherical else x.astype(np.float64)
    distance = np.square(points[:, None] - centres[None]).sum(axis=2)
    assert (distance[np.arange(n), labels] <= distance.min(axis=1) + 1e-5).all()
    for cluster in np.unique(labels):
        mean = points[labels == cluster].mean(axis=0)
        mean = mean / max(np.linalg.norm(mean), 1e-12) if spherical and np.linalg.norm(mean) > 1e-6 else mean
        if not spherical or np.linalg.norm(mean) > 1e-6:
            assert np.allclose(centres[cluster], mean, atol=1e-4)
    assert len(np.unique(labels)) == k or spherical  # on a circle of one dimension there are two points


def test_far_blobs_are_found_from_any_seed():
    x = blobs(10 * np.eye(6), 20, 0.5)
    for seed in range(20):
        labels, _ = kmeans(x, 6, seed=seed, restarts=3)
        assert all(len(set(labels[i : i + 20])) == 1 for i in range(0, 120, 20)) and len(set(labels)) == 6


def test_more_rounds_and_more_starts_never_cost_more():
    x = noise(300, 4)

    def cost(**given):
        labels, centres = kmeans(x, 12, seed=3, **given)
        return np.square(x - centres[labels]).sum()

    rounds = [cost(iters=i) for i in (1, 2, 4, 8, 16)]
    assert all(a >= b - 1e-3 for a, b in zip(rounds, rounds[1:], strict=False)) and rounds[0] > rounds[-1] + 1
    starts = [cost(restarts=r) for r in (1, 2, 8)]
    assert all(a >= b for a, b in zip(starts, starts[1:], strict=False)) and starts[0] > starts[-1]


def test_a_centre_that_loses_its_points_takes_the_farthest_point():
    x = np.array([[0.0], [0.1], [0.2], [100.0]], np.float32)
    assert all(len(np.unique(kmeans(x, 3, seed=seed)[0])) == 3 for seed in range(30))
    lost = torch.tensor([[0.0], [0.1], [999.0]])
    _, labels, centres = _lloyd(torch.from_numpy(x), lost, 10, False)
    assert labels.tolist() == [0, 1, 1, 2] or labels.tolist() == [0, 0, 1, 2] and centres[2] == 100
    same = np.ones((7, 3), np.float32)
    labels, centres = kmeans(same, 3)
    assert len(set(labels.tolist())) == 1 and np.isfinite(centres).all()


def test_tensors_and_arrays_give_the_same_and_a_seed_gives_it_again():
    x = noise(200, 8)
    for spherical in (False, True):
        one = kmeans(x, 7, seed=1, spherical=spherical)
        for other in (
            kmeans(torch.from_numpy(x), 7, seed=1, spherical=spherical),
            kmeans(x, 7, seed=1, spherical=spherical),
        ):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0], kmeans(x, 7, seed=2, spherical=True)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans(noise(3, 2), 4), r"kmeans: k must be in \[1, 3\] for x of \[3, 2\], got 4"),
        (lambda: kmeans(noise(3, 2), 0), r"kmeans: k must be in \[1, 3\]"),
        (lambda: kmeans(noise(3, 2), 2, iters=0), "kmeans: iters must be >= 1, got 0"),
        (lambda: kmeans(noise(3, 2), 2, restarts=0), "kmeans: restarts must be >= 1, got 0"),
        (lambda: balanced_clusters(noise(3, 2), 0), "balanced_clusters: size must be >= 1, got 0"),
        (lambda: balanced_clusters(noise(3, 2), 1, iters=0), "balanced_clusters: iters must be >= 1, got 0"),
        (lambda: balanced_clusters(np.zeros(3), 1), r"balanced_clusters: x must be \[N, D\], got \[3\]"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_with_its_row(bad):
    x = noise(6, 3)
    x[4, 1] = bad
    for call in (lambda: kmeans(x, 2), lambda: balanced_clusters(x, 2)):
        with pytest.raises(BadInput, match="NaN or infinity in row 4"):
            call()


# ---- halving


@given(st.integers(0, 90), st.integers(1, 100))
def test_parts_are_halved_until_they_are_small_enough(n, size):
    def slowly(part):
        return [part] if part <= size else slowly((part + 1) // 2) + slowly(part // 2)

    sizes = halves(n, size)
    assert sizes.tolist() == (slowly(n) if n else []) and sizes.sum() == n
    labels = balanced_clusters(noise(n, 3), size)
    assert labels.dtype == np.int32 and np.bincount(labels, minlength=len(sizes)).tolist() == sizes.tolist()
    if n > size:
        assert sizes.min() >= size // 2 and sizes.max() - sizes.min() <= max(1, sizes.min())


def test_eight_points_in_twos_make_four_pairs():
    assert np.bincount(balanced_clusters(noise(8, 4), 2)).tolist() == [2, 2, 2, 2]


def test_two_blobs_are_never_mixed():
    x = np.concatenate([blobs([[1, 0, 0]], 4, 0.05), blobs([[-1, 0.5, 0]], 4, 0.05, 1)])
    for size in (4, 2):
        for seed in range(100):
            for spherical in (True, False):
                labels = balanced_clusters(x, size, seed=seed, spherical=spherical)
                assert not set(labels[:4]) & set(labels[4:])


def mixed(x):
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def cut_slowly(x, seed, iters, spherical):
    """One cut by the definition, in float64: True = the upper half."""
    x = unit(x) if spherical else x.astype(np.float64)
    upper = (len(x) + 1) // 2
    first = mixed(mixed(seed)) % len(x)
    like = x @ x[first] if spherical else -np.square(x - x[first]).sum(axis=1)
    one, other = x[first], x[int(like.argmin())]
    kept = None
    for _ in range(iters):
        now = np.zeros(len(x), bool)
        now[np.argsort(-(x @ (one - other)), kind="stable")[:upper]] = True
        if kept is not None and (now == kept).all():
            break
        kept = now
        one, other = x[kept].mean(axis=0), x[~kept].mean(axis=0)
        if spherical:
            one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return kept


@given(st.integers(2, 60), st.integers(1, 40), st.integers(1, 12), st.booleans(), st.integers(0, 2**40))
def test_a_cut_is_its_definition(n, d, iters, spherical, seed):
    x = noise(n, d, seed % 1000) + 0.3
    labels = balanced_clusters(x, (n + 1) // 2, seed=seed, iters=iters, spherical=spherical)
    want = cut_slowly(x, seed, iters, spherical)
    if d > 1 or not spherical:  # on a line all cosines are 1 or -1: ties, which are split by order
        assert (labels == 0).tolist() == want.tolist()


@given(st.integers(4, 40), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_equal_points_are_ranked_in_order(n, different, spherical, seed):
    x = noise(different, 5, seed)[np.random.default_rng(seed).integers(different, size=n)]
    labels = balanced_clusters(x, (n + 1) // 2, seed=seed, spherical=spherical)
    assert (labels == 0).tolist() == cut_slowly(x, seed, 10, spherical).tolist()


def test_larger_clusters_are_cut_from_the_same_order():
    x = noise(1000, 8)
    fine = balanced_order(x, 3, seed=5)
    for size in (3, 10, 70, 400, 5000):
        coarse = np.empty(1000, int)
        coarse[fine] = np.repeat(np.arange(len(halves(1000, size))), halves(1000, size))
        assert (coarse == balanced_clusters(x, size, seed=5)).all()


def test_identical_points_are_split_evenly_and_quickly():
    for x in (np.ones((100_000, 4), np.float32), np.zeros((1000, 2), np.float32)):
        assert np.ptp(np.bincount(balanced_clusters(x, 100))) <= 1


def test_threads_do_not_change_the_clusters(monkeypatch):
    x = noise(3000, 20)
    found = []
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(balanced_clusters(x, 10, seed=1))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    assert not (found[0] == balanced_clusters(x, 10, seed=2)).all()


def test_length_does_not_matter_by_cosine_and_does_by_distance():
    x = noise(200, 6)
    longer = x * np.random.default_rng(0).uniform(0.1, 9, (200, 1)).astype(np.float32)
    same = balanced_clusters(x, 20) == balanced_clusters(longer, 20)
    assert same.mean() > 0.95  # but for rounding
    assert (balanced_clusters(x, 20, spherical=False) == balanced_clusters(longer, 20, spherical=False)).mean() < 0.9


def test_near_points_are_together_and_the_input_is_left_alone():
    x = blobs(noise(50, 16), 20, 0.2)
    before = x.copy()
    labels = balanced_clusters(torch.from_numpy(x), 20)
    assert np.array_equal(x, before) and np.array_equal(labels, balanced_clusters(x, 20))
    similar = unit(x) @ unit(x).T
    inside = labels[:, None] == labels[None, :]
    assert similar[inside].mean() > 0.6 > 0.2 > similar[~inside].mean()
