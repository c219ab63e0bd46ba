"""Estimates and intervals, by hand, against the bootstrap and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sft_tradeoff.analysis.stats import (
    Estimate,
    confidence_interval,
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
    assert estimate == (2.25, pytest.approx(math.sqrt(93 / 256)), 3)


def test_size_one_is_the_sample_mean() -> None:
    # s² = (3 · 0.4² + 2 · 0.6²) / 4 = 0.3
    estimate = ratio_estimate([1, 0, 0, 1, 1], np.ones(5))
    assert estimate == (pytest.approx(0.6), pytest.approx(math.sqrt(0.3 / 5)), 5)


def test_one_item_has_no_standard_error() -> None:
    value, stderr, n = ratio_estimate([3], [2])
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
        mean_estimate([Estimate(0.5, 0.1, 3), Estimate(NAN, NAN, 3)]),
    ):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.stderr)


def test_paired_difference_by_hand() -> None:
    # differences 1, 0, 0, 0: mean 1/4, s² = 1/4, se = √(1/16)
    assert paired_difference([1, 1, 0, 1], [0, 1, 0, 1], np.ones(4)) == (0.25, 0.25, 4)


@given(items)
def test_paired_difference_is_the_difference_of_the_ratios(
    rows: list[tuple[float, float, float]],
) -> None:
    y, y0, x = np.array(rows).T
    expected = ratio_estimate(y, x).value - ratio_estimate(y0, x).value
    assert paired_difference(y, y0, x).value == pytest.approx(expected, abs=1e-9)
    assert paired_difference(y, y, x) == (0, 0, len(rows))


@given(items, st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_units_and_order_do_not_matter(
    rows: list[tuple[float, float, float]], unit: float, random: np.random.Generator
) -> None:
    value, stderr, n = ratio_estimate(*np.array(rows).T[[0, 2]])
    random.shuffle(rows)
    y, _, x = np.array(rows).T
    assert ratio_estimate(y, x * unit) == (
        pytest.approx(value / unit, rel=1e-9, abs=1e-9),
        pytest.approx(stderr / unit, rel=1e-6, abs=1e-6),
        n,
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
    mean = mean_estimate([Estimate(0.5, 0.03, 10), Estimate(0.7, 0.04, 20)])
    assert mean == (pytest.approx(0.6), pytest.approx(0.025), 30)
    assert math.isnan(mean_estimate([]).value)


def test_normal_interval() -> None:
    assert quantile_of_level(0.95) == pytest.approx(1.959964, abs=1e-6)
    low, high = confidence_interval(Estimate(1.0, 0.5, 9))
    assert (low, high) == (pytest.approx(1 - 0.979982), pytest.approx(1 + 0.979982))
    low, high = confidence_interval(Estimate(0.0, 1.0, 9), level=0.6827)
    assert high == -low == pytest.approx(1.0, abs=1e-4)


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
    # mean e² = 0.00125; s² = 0.02 over S = 2
    mean, error = mean_over_seeds([0.4, 0.6], [0.03, 0.04])
    assert (mean, error) == (pytest.approx(0.5), pytest.approx(math.sqrt(0.00125 + 0.01)))
    _, half_width = mean_over_seeds([0.4, 0.6], [0.06, 0.08], multiple=2)
    assert half_width == pytest.approx(2 * error)


def test_one_seed_keeps_its_error_and_equal_seeds_gain_nothing() -> None:
    assert mean_over_seeds([0.4], [0.03]) == (0.4, pytest.approx(0.03))
    assert mean_over_seeds([0.4] * 5, [0.03] * 5) == (pytest.approx(0.4), pytest.approx(0.03))


def test_a_missing_seed_is_not_averaged_away() -> None:
    assert all(map(math.isnan, mean_over_seeds([0.4, NAN], [0.03, NAN])))
