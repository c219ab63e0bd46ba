"""Estimates and intervals, compared with values by hand, the bootstrap and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from sft_tradeoff.stats.bootstrap import Clustered
from sft_tradeoff.stats.estimates import (
    Estimate,
    confidence_interval,
    crossed_estimate,
    degrees_of_freedom,
    effective_n,
    least_half_width,
    mean_estimate,
    mean_over_seeds,
    no_change_bound,
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
    """R = 9/4; without one item it is 8/3, 7/3, 3/2; df = 4² / (1 + 1 + 4) − 1."""
    changes = np.array([8 / 3, 7 / 3, 3 / 2]) - 9 / 4
    stderr = math.sqrt(2 / 3 * np.square(changes).sum())
    estimate = ratio_estimate([1, 2, 6], [1, 1, 2])
    assert estimate == pytest.approx((2.25, stderr, 3, 5 / 3))


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
    assert paired_difference(y, y, x)[:3] == (0, 0, len(rows))


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
        pytest.approx(df, rel=1e-9),
    )


def test_clusters_of_equal_size_are_a_sample_of_their_means() -> None:
    """Means 1, 2 and 6 of two items each: s = √7."""
    value, cluster = [0, 2, 2, 2, 5, 7], ["a", "a", "b", "b", "c", "c"]
    found = ratio_estimate(value, np.ones(6), cluster)
    assert found == pytest.approx((3, math.sqrt(7 / 3), 6, 2))
    assert ratio_estimate(value, np.ones(6)).stderr < found.stderr


def test_one_cluster_has_no_standard_error() -> None:
    found = ratio_estimate([1, 2, 4], np.ones(3), ["a", "a", "a"])
    assert math.isnan(found.stderr) and found.n == 3


def test_clusters_of_unequal_size_have_fewer_degrees_of_freedom() -> None:
    """10² / (64 + 1 + 1) − 1, and never fewer than 1."""
    cluster = ["a"] * 8 + ["b", "c"]
    assert ratio_estimate(np.arange(10), np.ones(10), cluster).df == 1
    assert Clustered.of(np.arange(4), [3, 3, 3, 1]).df == pytest.approx(100 / 28 - 1)


def test_seeds_and_items_are_crossed() -> None:
    """Items 0, 2, 4 in seeds 1 apart, without interaction: 4 / 3 of items, 0.5 / 2 of seeds."""
    found = crossed_estimate([[0, 2, 4], [1, 3, 5]], np.ones(3))
    assert (found.value, found.stderr) == pytest.approx((2.5, math.sqrt(4 / 3 + 0.25)))


def test_the_interaction_of_seeds_and_items_counts_once() -> None:
    """If everything is noise of single scores, S seeds reduce it, too: σ² / (S n)."""
    rng = np.random.default_rng(0)
    found = [crossed_estimate(rng.normal(size=(4, 25)), np.ones(25)) for _ in range(300)]
    errors = np.array([estimate.stderr for estimate in found])
    assert 0.01 < np.mean(errors**2) < 0.0135  # seeds never count less than nothing
    apart = mean_over_seeds([ratio_estimate(rng.normal(size=25), np.ones(25)) for _ in range(4)])
    assert apart.stderr**2 > 0.03


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
    assert degrees_of_freedom([1, 1], [math.inf, 3]) == 12
    # two seeds: the mean of the quantiles 1.960 and 12.706, as Student has with 1.49
    assert t.ppf(0.975, degrees_of_freedom([1, 1], [math.inf, 1])) == pytest.approx(
        7.3331, abs=1e-4
    )


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
    value, error, n, df = mean_over_seeds(seeds)
    assert (value, error, n) == pytest.approx((0.5, math.sqrt(0.00125 + 0.01), 10))
    # the weights of the quantiles 2.262 and 12.706 are 1 : 8
    assert t.ppf(0.975, df) == pytest.approx((2.262157 + 8 * 12.706205) / 9, abs=1e-5)


def test_one_seed_keeps_its_error_and_equal_seeds_gain_nothing() -> None:
    seed = Estimate(0.4, 0.03, 10, 9)
    assert mean_over_seeds([seed]) == pytest.approx(seed)
    assert mean_over_seeds([seed] * 5) == pytest.approx(seed)


def test_a_missing_seed_is_not_averaged_away() -> None:
    seeds = [Estimate(0.4, 0.03, 10, 9), Estimate(NAN, NAN, 10, 9)]
    assert all(map(math.isnan, mean_over_seeds(seeds)[:2]))


def test_no_change_among_n_items() -> None:
    """ln(40) / 80 = 3.689 / 80; if 4.6 % changed, none of 80 would with probability below 2.5 %."""
    bound = no_change_bound(80, 0.95)
    assert bound == pytest.approx(0.046111, abs=1e-6)
    assert (1 - bound) ** 80 < 0.025 < (1 - 0.9 * bound) ** 80
    assert no_change_bound(0, 0.95) == math.inf


def test_clustered_proportions_are_worth_fewer_items() -> None:
    """Ten queries of four items that are all right or all wrong are ten items, less t for z."""
    right = np.repeat([1, 0, 1, 1, 0, 0, 1, 0, 1, 0], 4)
    query = np.repeat(np.arange(10), 4)
    found = effective_n(ratio_estimate(right, np.ones(40), query))
    few = t.ppf(0.975, 9) / quantile_of_level(0.95)
    # the design effect is (1/36) / (0.25/39) = 13/3 instead of 4, as C − 1 is for n − 1
    assert found == pytest.approx(40 * 3 / 13 / few**2)
    assert effective_n(ratio_estimate(right, np.ones(40))) == 40
    assert effective_n(ratio_estimate(np.zeros(40), np.ones(40), query)) == 10


def test_the_rule_of_three_counts_independent_items() -> None:
    query = np.repeat(np.arange(10), 4)
    nothing, all_of_one = np.zeros((1, 40)), (query == 3)[None].astype(float)
    assert least_half_width(nothing, None, 0.95) == no_change_bound(40, 0.95)
    assert least_half_width(nothing, query, 0.95) == no_change_bound(10, 0.95)
    assert least_half_width(all_of_one, query, 0.95) == no_change_bound(10, 0.95)
    one_of_each = (np.arange(40) % 4 == 0)[None].astype(float)
    one_of_each[0, 0] = 0
    assert least_half_width(one_of_each, query, 0.95) == no_change_bound(40, 0.95)
