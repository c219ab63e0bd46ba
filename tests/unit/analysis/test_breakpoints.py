"""Break-points at known places, and how often their intervals hold them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_tradeoff.analysis import loss_curve
from sft_tradeoff.analysis.breakpoints import BreakPoint, JudgedRate, break_points, log_ratio
from sft_tradeoff.analysis.tolerance import Verdict
from tests.loss_tables import KEY, TOLERANCE, exact, measured_of

GRID = [1e-6, 1e-5, 1e-4, 1e-3]


def found(measured, tolerance=TOLERANCE) -> BreakPoint:
    (point,) = break_points(measured, tolerance)
    return point


def stepwise(*losses: float, rates: list[float] = GRID) -> BreakPoint:
    of_rate = dict(zip(rates, losses, strict=True))
    return found(exact(of_rate.__getitem__, rates))


def test_the_break_point_is_interpolated_between_its_neighbors() -> None:
    """From 0.002 at 1e-5 to 0.022 at 1e-4, the tolerance of 0.01 lies 0.4 of a decade above."""
    point = stepwise(0.0, 0.002, 0.022, 0.5)
    assert point.value == pytest.approx(10**-4.6, rel=1e-3)
    assert (point.largest_within, point.first_exceeding) == (1e-5, 1e-4)
    assert point.bracket == (1e-5, 1e-4)
    assert point.low < point.value < point.high
    assert str(point) == "2.5e-5 (2.5e-5 to 2.5e-5)"


def test_only_the_first_crossing_counts() -> None:
    point = stepwise(0.0, 0.02, 0.0, 0.02)
    assert point.value == pytest.approx(10**-5.5, rel=1e-3)
    assert (point.largest_within, point.first_exceeding) == (1e-6, 1e-5)
    assert [r.verdict for r in point.rates] == [
        Verdict.WITHIN,
        Verdict.EXCEEDS,
        Verdict.WITHIN,
        Verdict.EXCEEDS,
    ]


def test_a_gain_at_a_small_rate_is_within() -> None:
    assert stepwise(-0.01, -0.02, 0.03, 0.5).value == pytest.approx(10**-4.4, rel=1e-3)


@pytest.mark.parametrize(
    ("losses", "value", "text"),
    [((0.02, 0.03, 0.1, 0.5), 0.0, "below 1e-6"), ((0, 0, 0.001, 0.002), math.inf, "above 1e-3")],
)
def test_a_break_point_beyond_the_grid_is_one_sided(losses, value, text) -> None:
    point = stepwise(*losses)
    assert (point.value, point.low, point.high) == (value, value, value)
    assert str(point) == text and (0 in point.bracket or math.inf in point.bracket)


def test_an_interval_may_be_open_where_the_grid_ends() -> None:
    noise = np.tile([0.02, -0.02], 20)
    one, other = (
        found(measured_of({"sft": {r: (loss + noise)[None] for r, loss in losses.items()}}))
        for losses in ({1e-5: 0.002, 1e-4: 0.012}, {1e-5: 0.012, 1e-4: 0.05})
    )
    assert (one.low, one.high) == (pytest.approx(10**-4.84, rel=0.05), math.inf)
    assert str(one).endswith("to above 1e-4)") and one.first_exceeding is None
    assert (other.value, other.low) == (0.0, 0.0) and 1e-5 < other.high < 1e-4
    assert str(other).startswith("below 1e-5 (at most 1.")


def test_common_noise_shifts_the_crossing_by_its_interval() -> None:
    """With noise of half width h at every rate, the limits are where the loss is 0.01 ± h."""
    loss = np.random.default_rng(0).normal(0, 0.004, size=(1, 60))
    loss -= loss.mean()
    rates = {rate: loss + 0.01 * math.log10(rate / 1e-5) for rate in GRID}
    point = found(measured_of({"sft": rates}))
    half = loss_curve.loss_curves(measured_of({"sft": rates}), TOLERANCE)["m", "d", "sft"]
    half = half["bits_per_byte"].at(1e-4).high - 0.01
    assert point.value == pytest.approx(1e-4)
    assert point.low == pytest.approx(1e-4 * 10 ** (-half / 0.01))
    assert point.high == pytest.approx(1e-4 * 10 ** (half / 0.01))


def test_all_measures_have_to_be_within() -> None:
    """The break-point is the smaller one, that of accuracy."""
    n = 2000
    code = {1e-5: 0.0, 1e-4: 0.02}
    right = {1e-5: 0.0, 1e-4: 0.4}
    measured = measured_of({"sft": {r: np.full((1, n), x) for r, x in code.items()}})
    for setting, (run,) in measured.items.items():
        lost = int(n * right.get(setting[3], 0.0))
        frame = run[KEY].assign(value=[0.0] * lost + [1.0] * (n - lost))
        noise = 1e-6 * np.tile([1.0, -1.0], n // 2) * (setting[3] is not None)
        run[KEY] = run[KEY].assign(value=run[KEY]["value"] + noise)
        run["piqa", "acc_norm"] = frame
    suite = {**measured.suite, ("m", "accuracy"): {"piqa": n}}
    both = {"bits_per_byte": 0.01, "accuracy": 0.1}
    point = found(measured._replace(suite=suite), both)
    assert point.value == pytest.approx(10**-4.75, rel=1e-3)
    assert point.rates[1].losses["accuracy"].value == pytest.approx(0.4)
    assert point.rates[0].verdict is Verdict.WITHIN


def test_a_method_without_any_score_has_no_break_point() -> None:
    measured = exact(lambda rate: math.nan, [1e-5, 1e-4])
    point = found(measured)
    assert math.isnan(point.value) and math.isnan(point.low) and str(point) == "unknown"
    assert (point.rates, point.missing) == ((), (1e-5, 1e-4))
    assert (point.largest_within, point.first_exceeding) == (None, None)


def test_a_rate_without_a_score_ends_what_is_known_to_be_within() -> None:
    losses = {1e-6: 0.0, 1e-5: math.nan, 1e-4: 0.0, 1e-3: 0.5}
    point = found(exact(lambda rate: losses[rate], list(losses)))
    assert point.bracket == (1e-6, 1e-3) and point.missing == (1e-5,)


def test_a_rate_that_gives_no_interval_ends_what_is_known_to_be_within() -> None:
    """All items lost exactly 0.5: they may be copies of one item."""
    noise = 1e-5 * np.tile([1.0, -1.0], 20)[None]
    measured = measured_of({"sft": {1e-5: noise, 1e-4: np.full((1, 40), 0.5)}})
    point = found(measured)
    assert (point.low, point.high) == (1e-5, math.inf)
    assert point.rates[1].verdict is Verdict.CANNOT_TELL


def point_at(low: float | None, value: float, high: float | None) -> BreakPoint:
    """A break-point with this bracket."""
    ends = ((low, Verdict.WITHIN), (high, Verdict.EXCEEDS))
    rates = tuple(JudgedRate(rate, verdict, {}) for rate, verdict in ends if rate)
    return BreakPoint("m", "d", "sft", rates, (), value, math.nan, math.nan, 1e9)


def test_the_ratio_of_two_break_points_is_a_square_and_add_interval() -> None:
    ratio = log_ratio(point_at(1e-5, 3e-5, 6e-5), point_at(1e-6, 1e-5, 4e-5))
    assert ratio.value == pytest.approx(math.log(3))
    assert ratio.low == pytest.approx(math.log(3) - math.hypot(math.log(3), math.log(4)))
    assert ratio.high == pytest.approx(math.log(3) + math.hypot(math.log(2), math.log(10)))
    assert ratio.stderr == pytest.approx(math.hypot(math.log(2), math.log(10)) / 1.96, rel=1e-3)


def test_the_ratio_to_a_break_point_beyond_the_grid_is_one_sided() -> None:
    ratio = log_ratio(point_at(1e-4, math.inf, None), point_at(1e-6, 2e-6, 1e-5))
    assert math.isnan(ratio.value)
    assert (ratio.low, ratio.high) == (pytest.approx(math.log(10)), math.inf)
    ratio = log_ratio(point_at(None, 0, 1e-6), point_at(1e-6, 2e-6, None))
    assert (ratio.low, ratio.high) == (-math.inf, pytest.approx(0))
    both = log_ratio(point_at(None, 0, 1e-6), point_at(None, 0, 1e-6))
    assert (both.low, both.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_intervals_hold_the_break_point_as_often_as_they_say(monkeypatch, n_seeds) -> None:
    """True loss 0.01 · rate / 3e-5, so 1.74e-5 by interpolation; items in clusters of two.

    Of 100 intervals with a coverage of 95 %, fewer than 88 hold it with a probability of 0.2 %.
    """
    monkeypatch.setattr(loss_curve, "N_RESAMPLES", 200)
    rng = np.random.default_rng(0)
    truth = 1e-5 * 10 ** ((0.01 - 0.01 / 3) / (0.1 / 3 - 0.01 / 3))

    def noise(n: int) -> np.ndarray:
        """Of items, the same for all seeds or rates, or of seeds."""
        return rng.normal(0, 0.006, size=(1, n // 2)).repeat(2, axis=1)

    inside = 0
    for _ in range(100):
        shared, losses = noise(40), {}
        for rate in GRID:
            seeds = rng.normal(0, 0.002 * (n_seeds > 1), size=(n_seeds, 1))
            losses[rate] = 0.01 * rate / 3e-5 + shared + noise(40) + seeds
        point = found(measured_of({"sft": losses}, per_cluster=2))
        inside += point.low <= truth <= point.high
    assert inside >= 88
