"""Power against tables, against simulation, and what is needed against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_tradeoff.stats.estimates import quantile_of_level
from sft_tradeoff.stats.power import needed, power_of, smallest_detectable
from sft_tradeoff.stats.variance import Components


def test_many_degrees_of_freedom_give_the_textbook_factor() -> None:
    assert smallest_detectable(2.0, math.inf) == pytest.approx(2 * (1.959964 + 0.841621), abs=1e-5)
    assert smallest_detectable(1.0, 1e6) == pytest.approx(2.801585, abs=1e-4)


@pytest.mark.parametrize("df", [1, 4, 30])
def test_the_smallest_detectable_effect_is_seen_as_often_as_stated(df: int) -> None:
    effect, rng = smallest_detectable(1.0, df), np.random.default_rng(df)
    n = 20_000
    found = (effect + rng.normal(size=n)) / np.sqrt(rng.chisquare(df, n) / df)
    share = np.mean(found > quantile_of_level(0.95, df))
    assert share == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / n))
    assert power_of(effect, 1.0, df) == pytest.approx(0.8, abs=1e-6)


def test_unknown_errors_have_no_power() -> None:
    assert math.isnan(smallest_detectable(math.nan, 3))


def test_items_alone_follow_the_square_of_the_distance() -> None:
    """v (1.96 + 0.84)² / d² = 7.849 / 0.01, and a little more for Student's t."""
    found = needed(0.1, Components(0.0, 1.0, 0.0), clusters=10, seeds=1)
    assert found.clusters == pytest.approx(787, abs=2)
    assert found.seeds is None  # seeds do not reduce the noise of items


def test_no_number_of_items_settles_what_seeds_disturb() -> None:
    found = needed(0.1, Components(0.04, 0.0001, 0.0), clusters=50, seeds=3)
    assert found.clusters is None
    assert found.seeds == pytest.approx(34, abs=2)  # 0.04 · 7.849 / 0.01 = 31.4, and Student's t
    assert found.both is not None and found.both[1] > found.seeds


def test_both_together_where_neither_alone_is_enough() -> None:
    found = needed(0.1, Components(0.04, 1.0, 0.2), clusters=100, seeds=3)
    assert found.clusters is None and found.seeds is None
    assert found.both is not None
    clusters, seeds = found.both
    error = math.sqrt(0.04 / seeds + (1.0 + 0.2 / seeds) / clusters)
    assert 2.8 < 0.1 / error < 3.0


def test_an_effect_at_the_margin_is_never_settled() -> None:
    assert needed(0.0, Components(0.1, 0.1, 0.1), 10, 3) == (None, None, None)
