"""Which places lie nearest to which: on a globe or in a plane, exactly."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

EARTH = 6371.0088
"""Mean radius of the earth, in kilometres."""

_CELLS = 1 << 22  # distances at a time


def gps_neighbours(
    coordinates: Any,
    k: int = 128,
    metric: Literal["haversine", "euclidean"] = "haversine",
    groups: Any = None,
    beyond: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k places nearest to each place, nearest first, ties to the lowest row; no place is its own neighbour.

    "haversine" takes degrees (latitude, longitude) and gives kilometres along the globe, also over the date line and
    the poles; "euclidean" takes any coordinates (UTM, say) and gives distances in their unit. Two photos of one spot
    are at distance 0: as negatives of each other they would be false ones, and `beyond` leaves them out.

    In:   coordinates [N, 2] (any width for "euclidean"), finite.
    Out:  ids int32 [N, k], -1 padded; distances float64 [N, k], inf padded.
    Cost: O(N^2) per group, in blocks: 50,000 places take about three minutes on one core.

    Args:
        k: how many, in [1, N - 1].
        groups: int [N]; the neighbours of a place are of its group (a city) only. None = one group.
        beyond: leave out places at this distance or nearer, >= 0; None = none.
    Raises:
        ValueError: an argument is out of range; k is named with N.
    """
    made = np.asarray(coordinates, dtype=np.float64)
    if metric not in ("haversine", "euclidean"):
        raise ValueError(f"gps_neighbours: metric must be 'haversine' or 'euclidean', got {metric!r}")
    if made.ndim != 2 or made.shape[1] == 0 or (metric == "haversine" and made.shape[1] != 2):
        raise ValueError(f"gps_neighbours: coordinates must be [N, 2], got {list(made.shape)}")
    n = len(made)
    if not 1 <= k <= n - 1:
        raise ValueError(f"gps_neighbours: k must be in [1, n - 1], got k={k!r} of n={n} places")
    if beyond is not None and not 0 <= beyond < np.inf:
        raise ValueError(f"gps_neighbours: beyond must be >= 0 and finite or None, got {beyond!r}")
    bad = ~np.isfinite(made).all(axis=1)
    if metric == "haversine":
        bad |= (np.abs(made[:, 0]) > 90) | (np.abs(made[:, 1]) > 360)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"gps_neighbours: coordinates must be finite, and degrees on a globe; row {row} is not")
    group = np.zeros(n, np.int64) if groups is None else np.asarray(groups)
    if group.shape != (n,):
        raise ValueError(f"gps_neighbours: groups must be [{n}], got {list(group.shape)}")
    points = _on_sphere(made) if metric == "haversine" else made
    ids, distances = np.full((n, k), -1, np.int32), np.full((n, k), np.inf)
    for name in np.unique(group):
        rows = np.flatnonzero(group == name)
        step = max(1, _CELLS // len(rows))
        for low in range(0, len(rows), step):
            _fill(points, rows, rows[low : low + step], metric, beyond, ids, distances)
    return ids, distances


def _fill(
    points: np.ndarray,
    rows: np.ndarray,
    asked: np.ndarray,
    metric: str,
    beyond: float | None,
    ids: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Write the neighbours of `asked` among `rows`, which ascend."""
    # differences, not products: those would cancel for near places, which are the ones that matter
    square = np.zeros((len(asked), len(rows)))
    for axis in range(points.shape[1]):
        square += np.square(points[asked, axis][:, None] - points[rows, axis][None, :])
    far = np.sqrt(square)
    if metric == "haversine":
        far = 2 * EARTH * np.arcsin(np.minimum(far / 2, 1))
    far[asked[:, None] == rows[None, :]] = np.inf
    if beyond is not None:
        far[far <= beyond] = np.inf
    k = min(ids.shape[1], len(rows))
    line = np.partition(far, k - 1, axis=1)[:, k - 1 : k]
    for place, row in enumerate(asked):
        near = np.flatnonzero(far[place] <= line[place])  # with every tie at the line, rows ascending
        best = near[np.argsort(far[place, near], kind="stable")][:k]
        best = best[np.isfinite(far[place, best])]
        ids[row, : len(best)], distances[row, : len(best)] = rows[best], far[place, best]


def _on_sphere(degrees: np.ndarray) -> np.ndarray:
    """Latitude and longitude as points of the unit sphere: [N, 3]."""
    latitude, longitude = np.radians(degrees).T
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
