"""Estimates of shares with their intervals; what they rest on is part of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUPS = 2000
RESAMPLES = 1000
LEAST_QUERIES = 30
_QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1] with its 95 % interval and the sentence that says how it was formed."""

    value: float
    low: float
    high: float
    rests_on: str = ""


def grouped_ratio(group: np.ndarray, over: np.ndarray, under: np.ndarray, *, seed: int = 0) -> Estimate:
    """sum(over) / sum(under), at most 1, with a bootstrap interval over groups (queries): items of one go together.

    `over` is 0 or 1. Where few are 1 a bootstrap is too sure of itself: the upper end is at least that of a Poisson
    count.
    More than GROUPS groups are joined into so many by a drawn order, which keeps the cost of a resample constant.
    """
    sums = _by_group(group, np.stack([over, under], axis=1), seed)
    value = _ratio(sums.sum(axis=0))
    drawn = _ratio(_resampled(sums, seed))
    low, high = np.quantile(drawn, [0.025, 0.975])
    high = min(1.0, max(high, _poisson_end(over.sum()) / max(under.sum(), 1e-12)))
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def hidden_share(
    positive_group: np.ndarray,
    positive_score: np.ndarray,
    negative_group: np.ndarray,
    negative_score: np.ndarray,
    *,
    seed: int = 0,
) -> Estimate | None:
    """The largest share of negatives that may be positives without a label, judged by their scores alone.

    If a share pi of the negatives scored as the positives do, then at or above any line t at least pi of the
    positives' share lies there too, whatever the true negatives do:

        pi <= (share of negatives at or above t) / (share of positives at or above t)

    The least of these ratios over t is the estimate: pi itself if true negatives do not reach the scores of the best
    positives, more if they do. So it is an upper one. It is too low only if unlabelled answers score lower than the
    labelled ones do. t is one of five quantiles of the positives (median to 90 %); each half of the queries chooses it
    for the other, so that the least ratio is not the luckiest one. The interval is a bootstrap over queries at those t;
    its upper end is at least that of a Poisson count, which matters where next to no negative lies above t.

    In:   group (query) and score of each positive [P] and each negative [N]; scores comparable between queries.
    Out:  None where fewer than LEAST_QUERIES queries have both.
    Source: Semi-supervised novelty detection (Blanchard, Lee and Scott 2010), mixture proportion; halves are ours.
    """
    both = np.intersect1d(positive_group, negative_group)
    if len(both) < LEAST_QUERIES:
        return None
    lines = np.quantile(positive_score, _QUANTILES)
    group = np.concatenate([positive_group, negative_group])
    up = np.arange(len(group)) < len(positive_group)
    score = np.concatenate([positive_score, negative_score])
    above = (score[:, None] >= lines).astype(float)  # ties count: scores of cross-encoders saturate
    columns = np.concatenate([above * up[:, None], up[:, None], above * ~up[:, None], ~up[:, None]], axis=1)
    sums = _by_group(group, columns, seed)
    half = np.arange(len(sums)) % 2 == 0
    chosen = [int(np.argmin(_shares(sums[~side].sum(axis=0)))) for side in (half, ~half)]
    parts = [sums[side] for side in (half, ~half)]
    value = np.mean([_shares(part.sum(axis=0))[j] for part, j in zip(parts, chosen, strict=True)])
    drawn = np.mean(
        [_shares(_resampled(part, seed + i))[:, j] for i, (part, j) in enumerate(zip(parts, chosen, strict=True))],
        axis=0,
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    n = len(_QUANTILES)
    totals = [part.sum(axis=0) for part in parts]
    count = sum(total[n + 1 + j] for total, j in zip(totals, chosen, strict=True))
    each = [total[n] / (total[2 * n + 1] * max(total[j], 1e-12)) for total, j in zip(totals, chosen, strict=True)]
    high = max(high, _poisson_end(count) / 2 * float(np.mean(each)))
    value = min(float(value), 1.0)
    return Estimate(value, float(min(low, value)), float(min(max(high, value), 1.0)))


def _poisson_end(count: float) -> float:
    """Upper end of the exact 95 % interval of a Poisson mean, from one count."""
    from scipy import stats

    return float(stats.chi2.ppf(0.975, 2 * (count + 1)) / 2)


def _shares(sums: np.ndarray) -> np.ndarray:
    """The ratio at each line; sums [..., 2 n + 2] as `hidden_share` lays them out."""
    n = len(_QUANTILES)
    with np.errstate(divide="ignore", invalid="ignore"):
        positives = sums[..., :n] / sums[..., n : n + 1]
        negatives = sums[..., n + 1 : 2 * n + 1] / sums[..., 2 * n + 1 :]
        ratio = negatives / positives
    return np.minimum(np.nan_to_num(ratio, nan=1.0, posinf=1.0), 1.0)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.minimum(sums[..., 0] / np.maximum(sums[..., 1], 1e-12), 1.0)


def _by_group(group: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
    """Sums of the columns of `values` for each group: float64 [G, columns]."""
    unique, place = np.unique(group, return_inverse=True)
    joined = np.random.default_rng(seed).permutation(len(unique)) % GROUPS
    place = joined[place]
    count = min(len(unique), GROUPS)
    return np.stack([np.bincount(place, column, minlength=count) for column in values.T], axis=1)


def _resampled(sums: np.ndarray, seed: int) -> np.ndarray:
    """Sums over groups drawn with replacement: float64 [RESAMPLES, columns]."""
    random, count = np.random.default_rng(seed + 1), len(sums)
    drawn = np.empty((RESAMPLES, sums.shape[1]))
    at_once = max(1, 1_000_000 // count)
    for low in range(0, RESAMPLES, at_once):
        part = min(at_once, RESAMPLES - low)
        group = random.integers(0, count, (part, count)) + np.arange(part)[:, None] * count
        drawn[low : low + part] = np.bincount(group.ravel(), minlength=part * count).reshape(part, count) @ sums
    return drawn
