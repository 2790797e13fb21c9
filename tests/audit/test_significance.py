import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from litotes.audit.significance import (
    Interval,
    benjamini_hochberg,
    bootstrap_difference,
    bootstrap_mean,
    paired_t_interval,
    sign_flip_test,
    verdict,
)

numbers = st.integers(-20, 20).map(lambda x: x / 8)
samples = st.lists(numbers, min_size=2, max_size=10)
probabilities = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.05]), max_size=12)


@given(samples)
def test_the_sign_flip_test_of_few_values_is_the_share_of_all_patterns(values):
    seen = abs(sum(values))
    patterns = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    assert sign_flip_test(values) == pytest.approx(np.mean([total >= seen for total in patterns]))  # eighths are exact


def test_the_sign_flip_test_agrees_with_scipy_drawn_and_exact():
    for n, seed in [(9, 0), (200, 1), (200, 2)]:
        values = np.random.default_rng(seed).normal(0.1, 1, n)
        peer = stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=9_999, vectorized=True, rng=seed
        )
        assert sign_flip_test(values) == pytest.approx(peer.pvalue, abs=0.02 if n > 13 else 1e-9)


def test_a_pattern_that_is_equal_up_to_rounding_counts_as_equal():
    tenths = (
        [0.1, -0.1, 0.3, 0.1, -0.3],
        [-0.2, 0.2, 0.5, -0.1, 0.7, -0.3],
        [0.2, 0.5, 0.0, -0.4, -0.5, -0.2, 0.1, -0.5],
    )
    for values in tenths:  # in binary their sums depend on the order; ten times as large they are exact
        assert sign_flip_test(values) == sign_flip_test(np.round(np.multiply(values, 10)))
    assert sign_flip_test(np.zeros(50)) == 1.0


def test_no_drawn_p_is_zero_and_the_seed_draws():
    assert sign_flip_test(np.ones(100), resamples=500) == 1 / 501
    values = np.arange(-20, 24.0)
    drawn = [sign_flip_test(values, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] == pytest.approx(drawn[0], abs=0.02)


@pytest.mark.slow
def test_under_the_null_p_is_below_a_line_as_often_as_the_line_says():
    random = np.random.default_rng(0)
    p = [sign_flip_test(random.standard_t(3, 40), resamples=999, seed=i) for i in range(2000)]
    for line in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= line) == pytest.approx(line, abs=4 * math.sqrt(line * (1 - line) / 2000))


@given(samples, st.integers(0, 3), st.sampled_from([0.8, 0.95]))
def test_the_bootstrap_is_the_percentiles_of_resampled_means(values, seed, level):
    interval = bootstrap_mean(values, seed=seed, level=level, resamples=200)
    assert interval == bootstrap_mean(values, seed=seed, level=level, resamples=200)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval.value == pytest.approx(np.mean(values)) and interval.level == level
    if len(set(values)) > 1:
        drawn = np.random.default_rng(seed).integers(0, len(values), (200, len(values)))
        ends = np.percentile(np.array(values)[drawn].mean(axis=1), [50 - 50 * level, 50 + 50 * level])
        assert [interval.low, interval.high] == pytest.approx(ends)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_for_many_values_the_bootstrap_is_the_normal_interval(method):
    values = np.random.default_rng(5).normal(2, 3, 3000)
    interval = bootstrap_mean(values, method=method)
    reach = 1.96 * values.std() / math.sqrt(3000)
    assert [interval.low, interval.high] == pytest.approx(
        [values.mean() - reach, values.mean() + reach], abs=0.06 * reach
    )


def test_bca_leans_towards_the_long_tail():
    values = np.random.default_rng(1).exponential(1, 40)
    plain, corrected = bootstrap_mean(values), bootstrap_mean(values, method="BCa")
    assert corrected.low > plain.low and corrected.high > plain.high


@given(samples, st.randoms(use_true_random=False))
def test_a_difference_is_the_mean_of_paired_differences(values, random):
    baseline = [random.randrange(-8, 8) / 8 for _ in values]
    treated = [v + b for v, b in zip(values, baseline, strict=True)]
    assert bootstrap_difference(treated, baseline, resamples=100) == bootstrap_mean(values, resamples=100)


def test_values_that_are_all_the_same_have_no_width():
    assert bootstrap_mean([0.25] * 7, method="BCa") == Interval(0.25, 0.25, 0.25)
    assert paired_t_interval([0.25] * 7) == Interval(0.25, 0.25, 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says(method):
    random = np.random.default_rng(2)
    hits = 0
    for seed in range(600):
        interval = bootstrap_mean(random.beta(0.5, 0.7, 100), seed=seed, resamples=1000, method=method)
        hits += interval.low <= 0.5 / 1.2 <= interval.high
    assert hits / 600 == pytest.approx(0.945, abs=0.03)


@pytest.mark.slow
def test_the_t_interval_of_five_seeds_covers_95_percent():
    drawn = np.random.default_rng(3).normal(1, 2, (4000, 5))
    hits = np.mean([i.low <= 1 <= i.high for i in map(paired_t_interval, drawn)])
    assert hits == pytest.approx(0.95, abs=0.012)


@given(samples.filter(lambda v: len(set(v)) > 1), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_t_interval_is_scipys(values, level):
    interval, peer = paired_t_interval(values, level), stats.ttest_1samp(values, 0).confidence_interval(level)
    assert [interval.low, interval.high] == pytest.approx([peer.low, peer.high])


def test_a_t_interval_one_can_do_by_hand():
    interval = paired_t_interval([1.0, 3.0])  # s = sqrt 2, n = 2, t(1) = tan(0.475 pi)
    assert interval.high - 2 == pytest.approx(math.tan(0.475 * math.pi)) and interval.value == 2


@given(probabilities, st.sampled_from([0.05, 0.1]))
def test_benjamini_hochberg_finds_what_the_step_up_rule_finds(p, q):
    ordered = sorted(p)
    line = max((value for i, value in enumerate(ordered) if value <= q * (i + 1) / len(p)), default=-1.0)
    adjusted = benjamini_hochberg(p)
    for value, corrected in zip(p, adjusted, strict=True):
        assert corrected >= value - 1e-15
        if abs(corrected - q) > 1e-12:
            assert (corrected <= q) == (value <= line)


@pytest.mark.parametrize(
    "low, high, higher, lower",
    [(0.1, 0.2, "holds", "reversed"), (-0.2, -0.1, "reversed", "holds"), (-0.1, 0.1, "not shown", "not shown"),
     (0.0, 0.1, "not shown", "not shown"), (-0.1, 0.0, "not shown", "not shown"), (0.0, 0.0, "not shown", "not shown")],
)  # fmt: skip
def test_a_verdict_needs_the_whole_interval_on_one_side(low, high, higher, lower):
    effect = Interval((low + high) / 2, low, high)
    assert (verdict(effect), verdict(effect, "lower")) == (higher, lower)


@pytest.mark.parametrize("bad", [[], [1.0], [[1.0, 2.0]], [1.0, math.nan], [1.0, math.inf]])
@pytest.mark.parametrize("function", [bootstrap_mean, sign_flip_test, paired_t_interval])
def test_too_few_or_unfinished_numbers_are_refused(function, bad):
    with pytest.raises(ValueError, match=f"{function.__name__}: values must be at least 2 finite numbers"):
        function(bad)


def test_the_gates_name_argument_range_and_value():
    for call, message in [
        (lambda: bootstrap_mean([1, 2], level=1.0), r"level must be in \(0, 1\), got 1.0"),
        (lambda: paired_t_interval([1, 2], level=math.nan), r"level must be in \(0, 1\), got nan"),
        (lambda: bootstrap_mean([1, 2], resamples=10), "resamples must be >= 100, got 10"),
        (lambda: sign_flip_test([1, 2], resamples=10), "resamples must be >= 100, got 10"),
        (lambda: bootstrap_mean([1, 2], method="basic"), "method must be 'percentile' or 'BCa', got 'basic'"),
        (lambda: bootstrap_difference([1, 2], [1, 2, 3]), "equally many, got 2 and 3"),
        (lambda: benjamini_hochberg([0.5, 1.5]), r"in \[0, 1\]"),
        (lambda: verdict(Interval(0, 0, 0), "up"), "direction must be 'higher' or 'lower', got 'up'"),
        (lambda: Interval(0.0, math.nan, 1.0), "low must be <= high, got nan and 1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
