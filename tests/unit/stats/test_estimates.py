"""Estimates and intervals, compared with values by hand, the bootstrap and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from sft_tradeoff.stats.estimates import (
    Estimate,
    confidence_interval,
    degrees_of_freedom,
    mean_estimate,
    mean_over_seeds,
    paired_difference,
    quantile_of_level,
    ratio_estimate,
    wilson_interval,
)

NAN = math.nan
scores = st.floats(-100, 100)
sizes = st.floats(0.5, 1000)
items = st.lists(st.tuples(scores, scores, sizes), min_size=2, max_size=20)


def test_ratio_by_hand() -> None:
    # R = 9/4; residuals -1.25, -0.25, 1.5; se² = 3.875 / (3 · 2 · (4/3)²) = 93/256
    estimate = ratio_estimate([1, 2, 6], [1, 1, 2])
    assert estimate == (2.25, pytest.approx(math.sqrt(93 / 256)), 3, 2)


def test_size_one_is_the_sample_mean() -> None:
    # s² = (3 · 0.4² + 2 · 0.6²) / 4 = 0.3
    estimate = ratio_estimate([1, 0, 0, 1, 1], np.ones(5))
    assert estimate == (pytest.approx(0.6), pytest.approx(math.sqrt(0.3 / 5)), 5, 4)


def test_one_item_has_no_standard_error() -> None:
    value, stderr, n, _ = ratio_estimate([3], [2])
    assert (value, n) == (1.5, 1)
    assert math.isnan(stderr)


@pytest.mark.parametrize(("value", "size", "n"), [([], [], 0), ([0, 0], [0, 0], 2)])
def test_nothing_measured_is_nan(value: list[float], size: list[float], n: int) -> None:
    estimate = ratio_estimate(value, size)
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.stderr)
    assert estimate.n == n


def test_a_broken_item_breaks_the_estimate() -> None:
    for estimate in (
        ratio_estimate([1, NAN, 0], [1, 1, 1]),
        paired_difference([1, 0], [NAN, 0], [1, 1]),
        mean_estimate([Estimate(0.5, 0.1, 3, 2), Estimate(NAN, NAN, 3, 2)]),
    ):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.stderr)


def test_paired_difference_by_hand() -> None:
    # differences 1, 0, 0, 0: mean 1/4, s² = 1/4, se = √(1/16)
    assert paired_difference([1, 1, 0, 1], [0, 1, 0, 1], np.ones(4)) == (0.25, 0.25, 4, 3)


@given(items)
def test_paired_difference_is_the_difference_of_the_ratios(
    rows: list[tuple[float, float, float]],
) -> None:
    y, y0, x = np.array(rows).T
    expected = ratio_estimate(y, x).value - ratio_estimate(y0, x).value
    assert paired_difference(y, y0, x).value == pytest.approx(expected, abs=1e-9)
    assert paired_difference(y, y, x) == (0, 0, len(rows), len(rows) - 1)


@given(items, st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_units_and_order_do_not_matter(
    rows: list[tuple[float, float, float]], unit: float, random: np.random.Generator
) -> None:
    value, stderr, n, df = ratio_estimate(*np.array(rows).T[[0, 2]])
    random.shuffle(rows)
    y, _, x = np.array(rows).T
    assert ratio_estimate(y, x * unit) == (
        pytest.approx(value / unit, rel=1e-9, abs=1e-9),
        pytest.approx(stderr / unit, rel=1e-6, abs=1e-6),
        n,
        df,
    )


def test_standard_errors_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    n = 300
    x = rng.integers(50, 800, n).astype(float)
    y0 = x * rng.normal(1.0, 0.2, n)
    y = y0 + x * rng.normal(0.1, 0.03, n)
    picks = rng.integers(0, n, (3000, n))

    def bootstrap(numerator: np.ndarray) -> float:
        return float((numerator[picks].sum(1) / x[picks].sum(1)).std(ddof=1))

    assert ratio_estimate(y, x).stderr == pytest.approx(bootstrap(y), rel=0.06)
    paired = paired_difference(y, y0, x).stderr
    assert paired == pytest.approx(bootstrap(y - y0), rel=0.06)
    assert paired < 0.3 * ratio_estimate(y, x).stderr


def test_mean_over_benchmarks_by_hand() -> None:
    """df = (0.03² + 0.04²)² / (0.03⁴ / 9 + 0.04⁴ / 19) = 6.25e-6 / 2.2474e-7."""
    mean = mean_estimate([Estimate(0.5, 0.03, 10, 9), Estimate(0.7, 0.04, 20, 19)])
    assert mean == (pytest.approx(0.6), pytest.approx(0.025), 30, pytest.approx(27.81, abs=1e-2))
    assert math.isnan(mean_estimate([]).value)


variances = st.lists(st.tuples(st.floats(1e-3, 10), st.integers(1, 50)), min_size=1, max_size=5)


@given(variances)
def test_degrees_of_freedom_lie_between_the_smallest_and_the_sum(
    parts: list[tuple[float, int]],
) -> None:
    found = degrees_of_freedom(*zip(*parts, strict=True))
    dfs = [df for _, df in parts]
    assert min(dfs) * (1 - 1e-9) <= found <= sum(dfs) * (1 + 1e-9)


def test_degrees_of_freedom_at_the_limits() -> None:
    assert degrees_of_freedom([0, 0], [3, 7]) == 3
    assert degrees_of_freedom([2, 0], [7, 3]) == 7
    assert degrees_of_freedom([1, 1], [math.inf, math.inf]) == math.inf
    assert degrees_of_freedom([1, 1], [math.inf, 2]) == 8


@given(st.floats(1, 1000), st.floats(0.5, 0.999))
def test_quantiles_are_those_of_student(df: float, level: float) -> None:
    found = quantile_of_level(level, df)
    assert found == pytest.approx(t.ppf((1 + level) / 2, df), rel=1e-9)
    assert found > quantile_of_level(level)


def test_student_intervals() -> None:
    """t(0.975) is 2.306004 with 8 degrees of freedom and 12.706205 with one (any table)."""
    assert quantile_of_level(0.95) == pytest.approx(1.959964, abs=1e-6)
    low, high = confidence_interval(Estimate(1.0, 0.5, 9, 8))
    assert (low, high) == (pytest.approx(1 - 1.153002), pytest.approx(1 + 1.153002))
    low, high = confidence_interval(Estimate(0.0, 1.0, 2, 1))
    assert high == -low == pytest.approx(12.706205)
    low, high = confidence_interval(Estimate(0.0, 1.0, 9, math.inf), level=0.6827)
    assert high == -low == pytest.approx(1.0, abs=1e-4)


def test_student_intervals_of_few_items_cover_as_often_as_they_say() -> None:
    """Of 4,000 samples of five: 95 % within ± 3 standard errors; z would cover 88 %."""
    rng = np.random.default_rng(0)
    samples = [ratio_estimate(rng.normal(1, 2, 5), np.ones(5)) for _ in range(4000)]

    def coverage(df: float) -> float:
        bounds = [confidence_interval(sample._replace(df=df)) for sample in samples]
        return float(np.mean([low <= 1 <= high for low, high in bounds]))

    error = math.sqrt(0.95 * 0.05 / 4000)
    assert coverage(4) == pytest.approx(0.95, abs=3 * error)
    assert coverage(math.inf) < 0.95 - 10 * error


def test_wilson_at_the_floor_by_hand() -> None:
    # k = 0: low is 0, high is z² / (n + z²)
    z2 = quantile_of_level(0.95) ** 2
    assert wilson_interval(0, 10) == (0, pytest.approx(z2 / (10 + z2)))
    assert wilson_interval(10, 10) == (pytest.approx(10 / (10 + z2)), 1)


def test_wilson_without_trials_or_with_a_broken_count_is_nan() -> None:
    assert all(map(math.isnan, (*wilson_interval(0, 0), *wilson_interval(NAN, 10))))


@given(st.integers(1, 200), st.floats(0.5, 0.999), st.data())
def test_wilson_agrees_with_scipy(n: int, level: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n, level)
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert (low, high) == (
        pytest.approx(expected.low, abs=1e-9),
        pytest.approx(expected.high, abs=1e-9),
    )
    assert 0 <= low <= k / n <= high <= 1


def test_seeds_by_hand() -> None:
    """Mean e² = 0.00125 with 9 degrees of freedom, s² / 2 = 0.01 with one."""
    seeds = [Estimate(0.4, 0.03, 10, 9), Estimate(0.6, 0.04, 10, 9)]
    df = (0.00125 + 0.01) ** 2 / (0.00125**2 / 9 + 0.01**2)
    error = math.sqrt(0.00125 + 0.01)
    assert mean_over_seeds(seeds) == pytest.approx((0.5, error, 10, df))
    assert 1 < df < 2


def test_one_seed_keeps_its_error_and_equal_seeds_gain_nothing() -> None:
    seed = Estimate(0.4, 0.03, 10, 9)
    assert mean_over_seeds([seed]) == pytest.approx(seed)
    assert mean_over_seeds([seed] * 5) == pytest.approx(seed)


def test_a_missing_seed_is_not_averaged_away() -> None:
    seeds = [Estimate(0.4, 0.03, 10, 9), Estimate(NAN, NAN, 10, 9)]
    assert all(map(math.isnan, mean_over_seeds(seeds)[:2]))
