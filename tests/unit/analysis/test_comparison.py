"""Which of two runs is better by an amount worth having, from items with known gains."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.analysis.comparison import (
    DEFAULT_SMALLEST_GAIN,
    Difference,
    Outcome,
    compare,
    parse_smallest_gain,
)
from sft_tradeoff.analysis.evidence import Setting
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.system.console import UserError

A: Setting = ("m", "d", "x", 1e-5)
B: Setting = ("m", "d", "y", 1e-5)
GAIN = DEFAULT_SMALLEST_GAIN
BETTER, WORSE, ALIKE, CANNOT_TELL = Outcome


def items_of(accuracy: list[float], nll: list[float]) -> Items:
    ids = [str(i) for i in range(len(accuracy))]
    columns = {"accuracy": accuracy, "nll": nll}
    return {
        ("d", metric): pd.DataFrame({"value": values, "size": [1.0] * len(ids)}, index=ids)
        for metric, values in columns.items()
    }


def difference_in_nll(gains: list[float], smallest: float = 0.01) -> Difference:
    """Losses of the second run are higher by ``gains``."""
    right = [1.0] * len(gains)
    ours, theirs = items_of(right, [1.0] * len(gains)), items_of(right, [1.0 + g for g in gains])
    return compare({A: [ours], B: [theirs]}, A, B, GAIN | {"nll": smallest})["nll"]


def test_paired_differences_by_hand() -> None:
    """Losses 1..4 below 2, 4, 6, 8: the mean gain is 2.5, its error s/√n = 1.2910/2 = 0.6455.

    With 3 degrees of freedom t = 3.1824, so ± 2.0543. Accuracy: differences 1, 0, 1, 0 have the
    error 0.2887, so ± 0.9187; but four items cannot show less than ± ln(40)/4 = 0.9222.
    """
    ours, theirs = items_of([1, 1, 1, 0], [1, 2, 3, 4]), items_of([0, 1, 0, 0], [2, 4, 6, 8])
    theirs = {key: frame.sample(frac=1, random_state=1) for key, frame in theirs.items()}
    found = compare({A: [ours], B: [theirs]}, A, B, GAIN)
    assert found["nll"].value == 2.5
    assert (found["nll"].low, found["nll"].high) == pytest.approx((0.4457, 4.5543), abs=1e-4)
    assert found["nll"].outcome is BETTER
    assert (found["accuracy"].value, found["accuracy"].n_items) == (0.5, 4)
    assert found["accuracy"].low == pytest.approx(0.5 - 0.92222, abs=1e-5)
    assert found["accuracy"].high == 1  # not 0.5 + 0.92222: no accuracy rises by more
    # noise: 4 (0.9187 / 0.5)² = 13.5; bound: 4 · 0.9222 / 0.5 = 7.4
    assert found["accuracy"].n_items_needed == 14
    back = compare({A: [ours], B: [theirs]}, B, A, GAIN)
    assert back["nll"].outcome is WORSE and back["nll"].high == -found["nll"].low


def test_seeds_are_paired_with_seeds() -> None:
    """Seeds gain 1 and 3 exactly: mean 2, error √2 / √2 = 1, and t = 12.7062 for two seeds."""
    ours = [items_of([1, 1], [1, 2]), items_of([1, 1], [5, 6])]
    theirs = [items_of([1, 1], [2, 3]), items_of([1, 1], [8, 9])]
    found = compare({A: ours, B: theirs}, A, B, GAIN)["nll"]
    assert (found.value, found.high) == pytest.approx((2.0, 2.0 + 12.7062), abs=1e-4)
    base: Setting = ("m", "d", "base", None)
    found = compare({A: ours, base: theirs[:1]}, A, base, GAIN)["nll"]
    assert found.value == pytest.approx(((2 + 3) - (1 + 2) + (2 + 3) - (5 + 6)) / 4)
    assert compare({A: ours[:1], B: theirs}, A, B, GAIN) == {}
    assert compare({B: theirs}, A, B, GAIN) == {}


@pytest.mark.parametrize(
    ("value", "half", "outcome"),
    [
        (0.03, 0.02, BETTER),
        (-0.03, 0.02, WORSE),
        (0.0001, 0.00005, ALIKE),  # not 0, but too small to matter
        (0.0, 0.0, ALIKE),
        (0.0, 0.01, ALIKE),
        (0.009, 0.005, CANNOT_TELL),  # above 0, but is it worth having?
        (0.01, 0.005, CANNOT_TELL),  # not more than the smallest gain
        (0.03, 0.03, CANNOT_TELL),
        (0.0, 0.02, CANNOT_TELL),
        (0.03, math.nan, CANNOT_TELL),
    ],
)
def test_outcomes_by_hand(value: float, half: float, outcome: Outcome) -> None:
    assert Difference(value, value - half, value + half, 0.01, 9, None).outcome is outcome


numbers = st.floats(-1, 1)


@given(numbers, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_smallest_gain_never_makes_a_run_better(
    value: float, half: float, one: float, other: float
) -> None:
    lax, strict = (
        Difference(value, value - half, value + half, smallest, 9, None).outcome
        for smallest in sorted([one, other])
    )
    assert strict is not BETTER or lax is BETTER
    assert lax is not ALIKE or strict is ALIKE


def test_no_gain_is_no_recommendation() -> None:
    """30 items, each better by about 1e-6: significant, but too small to matter."""
    found = difference_in_nll([1e-6 + 1e-8 * (-1) ** i for i in range(30)])
    assert found.excludes_zero and found.outcome is ALIKE


def test_copies_of_one_item_show_no_spread() -> None:
    """20 equal gains of 0.5 say nothing about what other items would gain."""
    found = difference_in_nll([0.5] * 20)
    assert found.value == 0.5 and math.isnan(found.low) and math.isnan(found.high)
    assert found.outcome is CANNOT_TELL and found.n_items_needed is None


def test_the_same_model_gains_nothing_for_sure() -> None:
    found = difference_in_nll([0.0] * 20)
    assert (found.low, found.high, found.outcome) == (0, 0, ALIKE)


def test_two_items_tell_next_to_nothing() -> None:
    """Gains 0.4 and 0.6: 0.5 ± 12.7062 · 0.1, where the normal quantile would exclude 0."""
    found = difference_in_nll([0.4, 0.6])
    assert found.high == pytest.approx(0.5 + 1.27062, abs=1e-5)
    assert found.outcome is CANNOT_TELL


def test_items_needed_lead_to_an_outcome() -> None:
    """Gains ± 0.1 around 0.002 with n = 4: noise 3.1824 · 0.1155 / 2 = 0.18375, distance 0.008."""
    found = difference_in_nll([0.102, -0.098, 0.102, -0.098])
    assert found.outcome is CANNOT_TELL
    assert found.n_items_needed == pytest.approx(4 * (0.18374 / 0.008) ** 2, rel=1e-3)


def test_smallest_gains_are_read() -> None:
    assert parse_smallest_gain("") == {"accuracy": 0.01, "nll": 0.01}
    assert parse_smallest_gain("nll=0.05") == {"accuracy": 0.01, "nll": 0.05}
    with pytest.raises(UserError, match=r"smallest_gain: 'bits=1' is not measure=number.*nll"):
        parse_smallest_gain("bits=1")


def test_items_of_a_cluster_are_not_independent() -> None:
    """Four queries of four items, with gains 0, 1, 1 and 2: 1 ± 3.182 · 0.8165 / 2."""
    gains = [gain for gain in (0.0, 1.0, 1.0, 2.0) for _ in range(4)]
    ours, theirs = items_of([1.0] * 16, [1.0] * 16), items_of([1.0] * 16, [1 + g for g in gains])
    for frame in (*ours.values(), *theirs.values()):
        frame["cluster"] = [f"query {i // 4}" for i in range(16)]
    found = compare({A: [ours], B: [theirs]}, A, B, GAIN)
    assert (found["nll"].low, found["nll"].high) == pytest.approx((-0.2992, 2.2992), abs=1e-4)
    # no accuracy changed: the rule of three, of four queries rather than 16 items
    assert found["accuracy"].high == pytest.approx(math.log(40) / 4)
