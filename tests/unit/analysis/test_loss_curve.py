"""The general loss of a method at and between its rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from sft_tradeoff.analysis.evidence import Cost, Measured
from sft_tradeoff.analysis.loss_curve import LossCurve, loss_curves, missing_rates
from sft_tradeoff.analysis.noise_floor import NoiseFloor
from tests.loss_tables import KEY, exact, measured_of

LABEL = ("m", "d", "sft")
MEASURE = "bits_per_byte"


def curve_of(measured: Measured) -> LossCurve:
    return loss_curves(measured, [MEASURE])[LABEL][MEASURE]


def test_the_loss_is_linear_in_the_logarithm_of_the_rate() -> None:
    curve = curve_of(exact(lambda rate: 100 * rate, [1e-5, 1e-3, 1e-4]))
    assert curve.rates == (1e-5, 1e-4, 1e-3)
    assert curve.at(1e-4).value == pytest.approx(0.01)
    assert curve.at(math.sqrt(1e-5 * 1e-4)).value == pytest.approx((0.001 + 0.01) / 2)


def test_the_interval_is_students_over_items() -> None:
    """The bootstrap's standard error differs from the exact one by a few percent of it."""
    loss = np.random.default_rng(0).normal(0.01, 0.005, size=(1, 50))
    found = curve_of(measured_of({"sft": {1e-5: loss}})).at(1e-5)
    error = loss.std() / math.sqrt(50)
    assert found.value == pytest.approx(loss.mean())
    assert found.high - found.value == pytest.approx(t.ppf(0.975, 49) * error, rel=0.08)
    assert found.df == pytest.approx(49)


def test_copies_of_an_item_in_its_cluster_say_nothing_new() -> None:
    loss = np.random.default_rng(0).normal(0.01, 0.005, size=(1, 20))
    single = curve_of(measured_of({"sft": {1e-5: loss}})).at(1e-5)
    copies = measured_of({"sft": {1e-5: loss.repeat(3, axis=1)}}, per_cluster=3)
    assert curve_of(copies).at(1e-5)[1:] == pytest.approx(single[1:])


def test_noise_that_rates_share_does_not_average_out_between_them() -> None:
    """Half-way, independent noise shrinks by √2; that of the same items stays."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 0.01, size=(2, 1, 200))
    shared, own = (
        curve_of(measured_of({"sft": {1e-6: one, 1e-4: second}})) for second in (one, other)
    )
    assert shared.at(1e-5).stderr == pytest.approx(shared.at(1e-6).stderr)
    assert own.at(1e-5).stderr == pytest.approx(own.at(1e-6).stderr / math.sqrt(2), rel=0.1)


def test_seeds_add_their_noise() -> None:
    """Without noise of items: the t interval of two seeds, 0.01 ± 12.7 · 0.001."""
    found = curve_of(measured_of({"sft": {1e-5: np.array([[0.009] * 30, [0.011] * 30])}})).at(1e-5)
    assert (found.low, found.high) == pytest.approx((0.01 - 0.0127062, 0.01 + 0.0127062), rel=1e-5)


def test_the_numerical_floor_is_part_of_the_interval() -> None:
    floors = {"m": {KEY: NoiseFloor(floor=0.002, score=1.0, variants={})}}
    curve = curve_of(exact(lambda rate: 0.0, [1e-5])._replace(floors=floors))
    assert curve.at(1e-5).high == pytest.approx(0.002, abs=1e-5)


def test_items_without_spread_give_no_interval_unless_nothing_changed() -> None:
    same, none = (
        curve_of(measured_of({"sft": {1e-5: np.full((1, 30), loss)}})).at(1e-5)
        for loss in (0.5, 0.0)
    )
    assert math.isnan(same.low) and math.isnan(same.high)
    assert (none.low, none.high) == (0.0, 0.0)


def test_a_rate_without_a_score_is_left_out_and_listed() -> None:
    rates = [1e-6, 1e-5, 1e-4, 1e-3]
    measured = exact(lambda rate: 0.0, rates)
    measured.items["m", "d", "sft", 1e-5][0][KEY].iloc[0, 0] = math.nan  # a broken item
    del measured.items["m", "d", "sft", 1e-4]  # not evaluated
    measured = measured._replace(costs={("m", "d", "sft", rate): Cost() for rate in rates})
    assert curve_of(measured).rates == (1e-6, 1e-3)
    assert missing_rates(measured, [MEASURE])[LABEL] == (1e-5, 1e-4)


def test_a_rate_with_a_missing_seed_is_left_out() -> None:
    two, one = np.zeros((2, 10)), np.zeros((1, 10))
    measured = measured_of({"sft": {1e-5: two, 1e-4: one}})
    assert missing_rates(measured, [MEASURE])[LABEL] == (1e-4,)


def test_without_theta_0_nothing_has_a_score() -> None:
    measured = exact(lambda rate: 0.0, [1e-5])
    del measured.items["m", "d", "base", None]
    assert loss_curves(measured, [MEASURE]) == {LABEL: {}}
    assert missing_rates(measured, [MEASURE])[LABEL] == (1e-5,)


def test_accuracies_that_did_not_change_are_not_known_exactly() -> None:
    """The rule of three: none of 40 items changed, so at most −ln(0.025)/40 = 0.092 may."""
    measured = exact(lambda rate: 0.0, [1e-5], spread=0.0)
    items = {
        setting: [{("piqa", "acc_norm"): run[KEY]} for run in runs]
        for setting, runs in measured.items.items()
    }
    measured = measured._replace(items=items, suite={("m", "accuracy"): {"piqa": 40}})
    found = loss_curves(measured, ["accuracy"])[LABEL]["accuracy"].at(1e-5)
    assert found.high == pytest.approx(-math.log(0.025) / 40)


def test_an_accuracy_that_did_not_change_in_any_cluster() -> None:
    """Ten passages of four questions: the items of one may be all alike."""
    measured = measured_of({"sft": {1e-5: np.zeros((1, 40))}}, per_cluster=4)
    items = {
        setting: [{("boolq", "acc"): run[KEY]} for run in runs]
        for setting, runs in measured.items.items()
    }
    measured = measured._replace(items=items, suite={("m", "accuracy"): {"boolq": 40}})
    found = loss_curves(measured, ["accuracy"])[LABEL]["accuracy"].at(1e-5)
    assert found.high == pytest.approx(-math.log(0.025) / 10)


def test_the_mean_over_benchmarks_combines_their_noise() -> None:
    """Benchmarks of 10 and 30 items: se² = (se₁² + se₂²) / 4."""
    rng = np.random.default_rng(0)
    short, long = rng.normal(0, 0.01, size=(1, 10)), rng.normal(0.02, 0.01, size=(1, 30))
    parts = [measured_of({"sft": {1e-5: loss}}) for loss in (short, long)]
    items = {
        setting: [
            {("a", MEASURE): parts[0].items[setting][0][KEY], ("b", MEASURE): run[KEY]}
            for run in parts[1].items[setting]
        ]
        for setting in parts[0].items
    }
    suite = {("m", MEASURE): {"a": 10, "b": 30}}
    both = curve_of(parts[0]._replace(items=items, suite=suite)).at(1e-5)
    errors = [loss.std() / math.sqrt(loss.size) for loss in (short, long)]
    assert both.value == pytest.approx((short.mean() + long.mean()) / 2)
    assert both.stderr == pytest.approx(math.hypot(*errors) / 2, rel=0.05)
