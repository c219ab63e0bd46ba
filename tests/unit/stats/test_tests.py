"""Tests of effects, against tables, SciPy, statsmodels and their own intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from sft_tradeoff.stats.estimates import quantile_of_level
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.tests import (
    holm,
    mcnemar_exact,
    noninferiority,
    superiority,
    two_one_sided,
)


def effect(value: float, stderr: float, df: float, floor: float = 0.0) -> Interval:
    half = quantile_of_level(0.95, df) * stderr + floor
    return Interval(value, value - half, value + half, stderr, df, floor)


@given(st.floats(-3, 3), st.floats(0.1, 2), st.integers(1, 100), st.floats(-1, 1), st.floats(0, 1))
def test_p_is_below_its_level_if_the_interval_lies_above_the_margin(
    value: float, stderr: float, df: int, margin: float, floor: float
) -> None:
    found = effect(value, stderr, df, floor)
    if abs(found.low - margin) > 1e-9:
        assert (superiority(found, margin) < 0.025) == (found.low > margin)


def test_superiority_is_students_tail() -> None:
    assert superiority(effect(1.0, 0.5, 8)) == pytest.approx(t.sf(2, 8))
    assert superiority(effect(1.0, 0.5, 8), 1.0) == pytest.approx(0.5)
    assert noninferiority(effect(-0.01, 0.01, 30), 0.03) == pytest.approx(t.sf(2, 30))


def test_equivalence_takes_the_worse_side() -> None:
    assert two_one_sided(effect(0.01, 0.01, 20), 0.03) == pytest.approx(t.sf(2, 20))
    assert two_one_sided(effect(-0.01, 0.01, 20), 0.03) == pytest.approx(t.sf(2, 20))
    assert two_one_sided(effect(0.05, 0.01, 20), 0.03) > 0.95
    # what the computer's rounding can cause leaves less room
    assert two_one_sided(effect(0.0, 0.01, 20, floor=0.01), 0.03) == pytest.approx(t.sf(2, 20))


def test_effects_without_spread_or_without_a_number() -> None:
    assert superiority(effect(0.1, 0.0, 5)) == 0
    assert superiority(effect(0.0, 0.0, 5)) == 1
    assert two_one_sided(effect(0.0, 0.0, 5), 0.01) == 0
    for unknown in (effect(math.nan, 0.1, 5), effect(0.1, math.nan, 5)):
        assert math.isnan(superiority(unknown))
        assert math.isnan(two_one_sided(unknown, 0.1))


def test_mcnemar_by_hand() -> None:
    """1 of 6 changes is a gain: P = 2 (1 + 6) / 2⁶."""
    assert mcnemar_exact(5, 1) == mcnemar_exact(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_exact(0, 0) == mcnemar_exact(3, 3) == 1
    assert mcnemar_exact(0, 6) == pytest.approx(2 / 64)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.04: times 3, 2 and 1, never falling."""
    assert holm([0.04, math.nan, 0.01, 0.02]) == pytest.approx(
        [0.04, math.nan, 0.03, 0.04], nan_ok=True
    )
    assert holm([]) == []
    assert all(map(math.isnan, holm([math.nan])))
