"""How sure a difference is: intervals, a randomisation test, the count of chance findings, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Verdict = Literal["holds", "not shown", "reversed"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, `low <= high`, at confidence `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.low <= self.high:  # NaN fails too
            raise ValueError(f"Interval: low must be <= high, got {self.low!r} and {self.high!r}")


def bootstrap_mean(
    values: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: Literal["percentile", "BCa"] = "percentile",
) -> Interval:
    """Mean of `values` over queries, with a bootstrap interval: how far would it move with other queries like these?

    Queries are drawn with replacement, `resamples` times; the interval holds the middle `level` of the means. For a
    paired comparison give the differences query by query (or call `bootstrap_difference`). It says nothing of other
    seeds: one trained model is one draw.

    In:   [n] finite numbers, n >= 2.
    Out:  `Interval`; equal for an equal seed. Values that are all the same give an interval of width 0.
    Cost: O(resamples n) time, about 0.2 s for n = 1,500 and 10,000 resamples; about 64 MB.

    Args:
        level: in (0, 1).
        resamples: >= 100.
        seed: of the draw.
        method: "percentile", or "BCa" (corrects bias and skew; costs n more means).
    Raises:
        ValueError: an argument is out of range, or values are fewer than 2 or not finite.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 14; scipy.stats.bootstrap.
    """
    values = _sample(values, "bootstrap_mean")
    _check_level(level, "bootstrap_mean")
    if not resamples >= 100:
        raise ValueError(f"bootstrap_mean: resamples must be >= 100, got {resamples!r}")
    if method not in ("percentile", "BCa"):
        raise ValueError(f"bootstrap_mean: method must be 'percentile' or 'BCa', got {method!r}")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean, level)

    from scipy import stats

    drawn = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(values)),
        confidence_level=level,
        method=method,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(drawn.low), float(drawn.high), level)


def bootstrap_difference(
    treated: ArrayLike,
    baseline: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: Literal["percentile", "BCa"] = "percentile",
) -> Interval:
    """Mean of `treated - baseline` with its paired bootstrap interval: value i of both is the same query.

    Arguments, cost and errors as `bootstrap_mean`; ValueError, too, for arrays of different length.
    """
    one, other = _sample(treated, "bootstrap_difference"), _sample(baseline, "bootstrap_difference")
    if len(one) != len(other):
        raise ValueError(f"bootstrap_difference: pairs must be equally many, got {len(one)} and {len(other)}")
    return bootstrap_mean(one - other, level=level, resamples=resamples, seed=seed, method=method)


def sign_flip_test(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p value of the paired randomisation test: were the two systems interchangeable on each query?

    If they were, every difference could as well have had the other sign. p is the share of sign patterns whose mean is
    at least as far from 0 as the one seen: of all 2^n patterns where they are no more than `resamples`, else of
    `resamples` drawn ones, the seen one counted among them (so p is never 0).

        p = (1 + #{ |mean flipped| >= |mean seen| }) / (1 + resamples)

    In:   [n] finite paired differences, n >= 2. All zeros give p = 1.
    Out:  p in (0, 1]; equal for an equal seed.
    Cost: O(resamples n).

    Args:
        resamples: >= 100.
        seed: of the drawn patterns.
    Raises:
        ValueError: an argument is out of range, or differences are fewer than 2 or not finite.
    Source: A comparison of statistical significance tests for information retrieval evaluation (Smucker, Allan and
        Carterette 2007); Phipson and Smyth 2010 for the added one.
    """
    differences = _sample(differences, "sign_flip_test")
    if not resamples >= 100:
        raise ValueError(f"sign_flip_test: resamples must be >= 100, got {resamples!r}")
    n = len(differences)
    seen = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # a pattern equal up to rounding is as far
    if n < 63 and 2**n <= resamples:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(_far(differences, flipped, seen)))
    random, far, left = np.random.default_rng(seed), 0, resamples
    while left:
        now = min(left, max(1, 4_000_000 // n))
        packed = random.integers(0, 256, (now, (n + 7) // 8), np.uint8)
        far += int(_far(differences, np.unpackbits(packed, axis=1, count=n), seen).sum())
        left -= now
    return (1 + far) / (1 + resamples)


def paired_t_interval(differences: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of paired differences over seeds with the two-sided t interval: mean +- t(n-1) * s / sqrt(n).

    For few, roughly normal values (5 seeds), where a bootstrap interval is too narrow.

    In:   [n] finite numbers, one per seed, n >= 2. Out: `Interval`; equal values give width 0.

    Args:
        level: in (0, 1).
    Raises:
        ValueError: level is out of range, or differences are fewer than 2 or not finite.
    """
    differences = _sample(differences, "paired_t_interval")
    _check_level(level, "paired_t_interval")

    from scipy import stats

    mean, n = float(differences.mean()), len(differences)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - reach, mean + reach, level)


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p values: calling everything at or below q a finding makes at most a share q of the findings chance.

    In:   [n] p values in [0, 1], independent or positively dependent. Out: float64 [n], same order.

    Raises:
        ValueError: a value is outside [0, 1].
    Source: Controlling the false discovery rate (Benjamini and Hochberg 1995); scipy.stats.false_discovery_control.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"benjamini_hochberg: p values must be [n] numbers in [0, 1], got {p_values!r}")

    from scipy import stats

    return stats.false_discovery_control(p) if len(p) else p


def verdict(effect: Interval, direction: Literal["higher", "lower"] = "higher") -> Verdict:
    """What an interval of `treated - baseline` says of the claim that treated is `direction`.

    "holds": the whole interval lies on the claimed side of 0; "reversed": on the other side; "not shown": 0 is in it
    (an end at exactly 0 counts as in it).
    """
    if direction not in ("higher", "lower"):
        raise ValueError(f"verdict: direction must be 'higher' or 'lower', got {direction!r}")
    low, high = (effect.low, effect.high) if direction == "higher" else (-effect.high, -effect.low)
    return "holds" if low > 0 else "reversed" if high < 0 else "not shown"


def _far(differences: np.ndarray, flipped: np.ndarray, seen: float) -> np.ndarray:
    """Per sign pattern (1 = flipped): is its sum at least as far from 0 as `seen`?"""
    return np.abs(differences.sum() - 2 * (flipped.astype(np.float64) @ differences)) >= seen


def _sample(values: ArrayLike, who: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"{who}: values must be at least 2 finite numbers in one row, got shape {list(array.shape)}")
    return array


def _check_level(level: float, who: str) -> None:
    if not 0 < level < 1:
        raise ValueError(f"{who}: level must be in (0, 1), got {level!r}")
