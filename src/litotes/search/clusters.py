"""Clusters of vectors: k-means, and clusters of one size by halving again and again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from litotes.search.cores import cores
from litotes.search.definition import check_vectors

_BLOCK = 1 << 22  # scores formed at a time
_SAMPLE = 16  # points per cluster among which the starting centres are drawn


def kmeans(
    x: Any, k: int, *, iters: int = 20, restarts: int = 1, seed: int = 0, spherical: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """k clusters by Lloyd's algorithm, started as k-means++ does.

        label of x = the centre nearest to it (ties: the lowest number);    centre = mean of its points

    Out of several starts the one with the smallest sum of squared distances stays. A centre that loses all its points
    moves to the point that is farthest from its own; so a number is given to nobody only if there are fewer than k
    different points, or if it loses its points in the last round. Products are in float32, so points at one distance of
    two centres may go to either; on one machine with one number of threads a seed gives one result.

    In:   x float [N, D], a numpy array or a tensor, which is worked on where it lies.
    Out:  labels int32 [N]; centroids float32 [k, D], of length 1 if spherical (0 for a cluster of zero vectors).
    Cost: restarts * iters * N k D products, one float32 copy of x, 16 MB of scores at a time; k-means++ looks at 16 k
          points (1,024 at least) only.
    Args:
        k: number of clusters, in [1, N]. iters: rounds at most, >= 1. restarts: starts, >= 1.
        spherical: by cosine: points and centres are scaled to length 1.
    Raises:
        ValueError: an argument is out of range.
        BadInput: vectors hold NaN or infinity.
    Source: k-means++: The Advantages of Careful Seeding (Arthur and Vassilvitskii, 2007).
    """
    import torch

    points = torch.from_numpy(_floats(x)) if not isinstance(x, torch.Tensor) else x.detach().float()
    if points.ndim != 2 or not 1 <= k <= len(points):
        raise ValueError(f"kmeans: k must be in [1, {len(points)}] for x of {list(points.shape)}, got {k!r}")
    for name, value in (("iters", iters), ("restarts", restarts)):
        if not value >= 1:
            raise ValueError(f"kmeans: {name} must be >= 1, got {value!r}")
    if not bool(points.isfinite().all()):
        check_vectors(points.cpu().numpy(), "x")
    points = torch.nn.functional.normalize(points, dim=1, eps=1e-12) if spherical else points
    best: tuple[float, Any, Any] | None = None
    for start in range(restarts):
        random = np.random.default_rng([seed, start])
        found = _lloyd(points, _starting_centres(points, k, random), iters, spherical)
        best = found if best is None or found[0] < best[0] else best
    assert best is not None
    return best[1].to(torch.int32).cpu().numpy(), best[2].cpu().numpy()


def balanced_clusters(x: Any, size: int, *, seed: int = 0, iters: int = 10, spherical: bool = True) -> np.ndarray:
    """Clusters of near-by points, all of about one size: the points are cut into two halves again and again.

    Each cut is 2-means under the condition that the halves have equal size (+- 1): points are ranked by

        x . (c_1 - c_2),    c = the centre of a half, of length 1 if spherical

    and the upper half goes to c_1. Identical points are split by rank too. Cutting ends where a part has at most `size`
    points; so clusters have between size / 2 and size points, exactly `size` if N / size is a power of 2. The first
    centres are a random point and the one least like it: two random ones can mix two far groups.

    In:   x float [N, D], a numpy array or a tensor (it is copied to the CPU).
    Out:  labels int32 [N], 0 .. number of clusters - 1; numbers close to each other are parts of one larger half. The
          same for any number of threads.
    Cost: at most iters * N D products per halving, log2(N / size) halvings; one float32 copy of x.
    Args:
        size: most points of a cluster, >= 1. iters: rounds of a cut at most, >= 1.
        spherical: by cosine; else by squared distance.
    Raises:
        ValueError: an argument is out of range.
        BadInput: vectors hold NaN or infinity.
    Source: NGAME: Negative Mining-aware Mini-batching for Extreme Classification (arXiv:2207.04452), section 3.
    """
    order = balanced_order(x, size, seed=seed, iters=iters, spherical=spherical)
    labels = np.empty(len(order), np.int32)
    sizes = halves(len(order), size)
    labels[order] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return labels


def balanced_order(x: Any, size: int, *, seed: int = 0, iters: int = 10, spherical: bool = True) -> np.ndarray:
    """The points in an order of which `halves(N, size)` cuts the clusters of `balanced_clusters`: int32 [N].

    `halves(N, larger)` cuts the clusters of a larger size from the same order, as if it had been made for that size.
    """
    points = np.ascontiguousarray(_floats(x))
    for name, value in (("size", size), ("iters", iters)):
        if not value >= 1:
            raise ValueError(f"balanced_clusters: {name} must be >= 1, got {value!r}")
    if points.ndim != 2:
        raise ValueError(f"balanced_clusters: x must be [N, D], got {list(points.shape)}")
    if not np.isfinite(points.sum(dtype=np.float64)):
        check_vectors(points, "x")
    order = np.arange(len(points), dtype=np.int32)
    if len(points) > size:
        _halve_all(_laid_out(points, spherical), order, size, seed, iters, spherical)
    return order


def halves(n: int, size: int) -> np.ndarray:
    """Sizes of the clusters into which n points fall, in order: int64. Of an odd number the first half is larger."""
    parts = np.array([n], np.int64)[: int(n > 0)]
    while (parts > size).any():
        cut = parts > size
        pieces = np.stack([np.where(cut, (parts + 1) // 2, parts), np.where(cut, parts // 2, 0)], axis=1).ravel()
        parts = pieces[pieces > 0]
    return parts


def _floats(x: Any) -> np.ndarray:
    """x as a float32 matrix in memory."""
    if hasattr(x, "detach"):
        x = x.detach().float().cpu().numpy()
    return np.asarray(x, dtype=np.float32)


# ---- k-means ---------------------------------------------------------------------------------------------------------


def _starting_centres(points: Any, k: int, random: np.random.Generator) -> Any:
    """k-means++ over a sample: each further centre is drawn with the squared distance to the nearest one so far."""
    import torch

    sample = random.choice(len(points), min(len(points), max(_SAMPLE * k, 1024)), replace=False)
    x = points[torch.from_numpy(sample).to(points.device)]
    norms = x.square().sum(dim=1)
    chosen = [int(random.integers(len(x)))]
    distance = torch.full_like(norms, torch.inf)
    while len(chosen) < k:
        centre = x[chosen[-1]]
        distance = torch.minimum(distance, (norms + centre.square().sum() - 2 * (x @ centre)).clamp(min=0))
        distance[chosen] = 0
        total = distance.double().cumsum(dim=0).cpu().numpy()
        if total[-1] > 0:
            drawn = int(np.searchsorted(total, random.random() * total[-1], side="right"))
            chosen.append(min(drawn, len(x) - 1))
        else:  # fewer different points than centres
            chosen.append(int(random.choice(np.setdiff1d(np.arange(len(x)), chosen))))
    return x[chosen].clone()


def _lloyd(points: Any, centres: Any, iters: int, spherical: bool) -> tuple[float, Any, Any]:
    """Sum of squared distances, labels [N] and centres [k, D]; labels are those of these centres."""
    import torch

    labels, best = _nearest(points, centres)
    for _ in range(iters):
        sums = torch.zeros(centres.shape, dtype=torch.float64, device=points.device)
        for low in range(0, len(points), 1 << 16):
            sums.index_add_(0, labels[low : low + (1 << 16)], points[low : low + (1 << 16)].double())
        counts = torch.bincount(labels, minlength=len(centres))
        moved = (sums / counts.clamp(min=1)[:, None]).float()
        if spherical:
            moved = torch.nn.functional.normalize(sums, dim=1, eps=1e-12).float()
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            far = (points.square().sum(dim=1) / 2 - best).argsort(descending=True, stable=True)[: len(empty)]
            moved[empty] = points[far]
        centres = moved
        before = labels
        labels, best = _nearest(points, centres)
        if bool((labels == before).all()):
            break
    inertia = float((points.double().square().sum(dim=1) - 2 * best.double()).sum())
    return inertia, labels, centres


def _nearest(points: Any, centres: Any) -> tuple[Any, Any]:
    """Label [N] of the nearest centre, and x . c - |c|^2 / 2 of it [N]."""
    import torch

    half = -centres.square().sum(dim=1) / 2
    step = max(_BLOCK // len(centres), 1)
    found = [torch.addmm(half, points[low : low + step], centres.T).max(dim=1) for low in range(0, len(points), step)]
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


# ---- halving ---------------------------------------------------------------------------------------------------------


def _laid_out(points: np.ndarray, spherical: bool) -> np.ndarray:
    """A copy whose width is a multiple of the lanes of the compiled loops, of length 1 if spherical."""
    from litotes.search.halving import LANES

    width = -(-points.shape[1] // LANES) * LANES
    laid = np.zeros((len(points), max(width, LANES)), np.float32)
    laid[:, : points.shape[1]] = points
    if spherical:
        for low in range(0, len(laid), 1 << 16):
            block = laid[low : low + (1 << 16)]
            norms = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1))
            block /= np.maximum(norms, 1e-12)[:, None].astype(np.float32)
    return laid


def _halve_all(points: np.ndarray, order: np.ndarray, size: int, seed: int, iters: int, spherical: bool) -> None:
    """Put points and order, in place, into the order of the tree. Parts are worked on side by side."""
    from litotes.search.halving import child, grow, halve, rooted

    threads = cores()
    nodes = [(0, len(order), rooted(seed & 0x7FFFFFFFFFFFFFFF))]
    with ThreadPoolExecutor(threads) as pool:
        while nodes and len(nodes) < 4 * threads:  # so many parts keep all threads busy to the end

            def cut(node: tuple[int, int, Any]) -> list[tuple[int, int, Any]]:
                low, high, key = node
                if high - low <= size:
                    return []
                middle = halve(points, order, low, high, key, iters, spherical)
                return [(low, middle, child(key, 0)), (middle, high, child(key, 1))]

            nodes = [one for pair in pool.map(cut, nodes) for one in pair]
        list(pool.map(lambda node: grow(points, order, *node, size, iters, spherical), nodes))
