"""Break-points: the largest learning rate whose general loss stays within the tolerance.

The rates that were run are judged in fixed sequence, from the smallest upwards, stopping at the
first that is not *within* (:func:`~.tolerance.judge`): so no correction for many rates is needed.
The break-point lies in the *bracket* between the last rate within and the first that exceeds,
whatever the loss does in between.

In the bracket it is interpolated: where the loss, linear in the logarithm of the rate between
neighbors, *first* rises above the tolerance. A larger rate whose loss happens to be smaller again
does not count, as in the fixed sequence: whoever lowers the rate from there would meet the loss in
between. Loss grows faster than the logarithm of the rate, so in a wide bracket the interpolated
break-point is rather too low.

Its interval holds the rates at which the tolerance lies within the 95 % interval of the
interpolated loss (an inverted test, so it is not symmetric, and open where the grid ends): from
where the upper bound first rises above the tolerance to where the lower bound does. It lies within
the bracket and does not include the error of the interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sft_tradeoff.analysis.evidence import Measured
from sft_tradeoff.analysis.loss_curve import LossCurve, loss_curves, missing_rates
from sft_tradeoff.analysis.tables import LEVEL
from sft_tradeoff.analysis.tolerance import Tolerance, Verdict, combined, judge, n_within
from sft_tradeoff.stats.estimates import quantile_of_level
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.study.names import format_learning_rate


@dataclass(frozen=True)
class JudgedRate:
    """A rate that was run.

    Args:
        rate: Learning rate.
        verdict: On all measures of the tolerance together.
        losses: General loss by measure, with its interval.
    """

    rate: float
    verdict: Verdict
    losses: dict[str, Interval]


@dataclass(frozen=True)
class BreakPoint:
    """The largest rate within the tolerance, for one method.

    Args:
        model: Model.
        domain: Domain.
        label: Method label.
        rates: Rates with a score, in increasing order.
        missing: Rates without a finite score; they end what is known to be within.
        value: The interpolated break-point: 0 if it lies below the smallest rate, infinite if above
            the largest, NaN if no rate has a score.
        low: Lower bound of its 95 % interval; 0 if below the smallest rate.
        high: Upper bound; infinite if above the largest rate.
        df: Degrees of freedom: the smallest of all losses'.
    """

    model: str
    domain: str
    label: str
    rates: tuple[JudgedRate, ...]
    missing: tuple[float, ...]
    value: float
    low: float
    high: float
    df: float

    @property
    def largest_within(self) -> float | None:
        """The largest rate such that it and all smaller ones are within the tolerance.

        A rate without a score is not known to be: it may have failed because it is too large.
        """
        first_missing = min(self.missing, default=math.inf)
        n = n_within(judged.verdict for judged in self.rates if judged.rate < first_missing)
        return self.rates[n - 1].rate if n else None

    @property
    def first_exceeding(self) -> float | None:
        """The smallest rate whose loss exceeds the tolerance."""
        return next((r.rate for r in self.rates if r.verdict is Verdict.EXCEEDS), None)

    @property
    def bracket(self) -> tuple[float, float]:
        """Largest rate within, 0 if there is none; first rate that exceeds, or infinity."""
        within, exceeding = self.largest_within, self.first_exceeding
        return within or 0.0, math.inf if exceeding is None else exceeding

    def __str__(self) -> str:
        """``2.1e-5 (1.2e-5 to 3.5e-5)``; ``above 3e-4`` if the grid ends before it."""
        if not self.rates:
            return "unknown"
        ends = [format_learning_rate(self.rates[i].rate) for i in (0, -1)]
        if self.value == 0:
            bound = "" if self.high in (0, math.inf) else f" (at most {_short(self.high)})"
            return f"below {ends[0]}{bound}"
        if self.value == math.inf:
            bound = "" if self.low in (0, math.inf) else f" (at least {_short(self.low)})"
            return f"above {ends[1]}{bound}"
        low = f"below {ends[0]}" if self.low == 0 else _short(self.low)
        high = f"above {ends[1]}" if self.high == math.inf else _short(self.high)
        return f"{_short(self.value)} ({low} to {high})"


def _short(rate: float) -> str:
    return format_learning_rate(float(f"{rate:.1e}"))


def break_points(measured: Measured, tolerance: Tolerance) -> list[BreakPoint]:
    """Find the break-point of every model, domain and method.

    Args:
        measured: Per-item scores, suite sizes and numerical noise.
        tolerance: Largest general loss allowed, by measure, complete
            (:func:`~.tolerance.complete_tolerance`).
    """
    missing = missing_rates(measured, tolerance)
    return [
        _break_point(key, curves, tolerance, missing[key])
        for key, curves in loss_curves(measured, tolerance).items()
    ]


def _break_point(
    key: tuple[str, str, str],
    curves: Mapping[str, LossCurve],
    tolerance: Tolerance,
    missing: Sequence[float],
) -> BreakPoint:
    rates = next(iter(curves.values())).rates if curves else ()
    judged = [_judged(rate, curves, tolerance) for rate in rates]

    def first(bound: Callable[[Interval], float]) -> float:
        found = [_crossing(curve, bound, tolerance[name]) for name, curve in curves.items()]
        return min(found, default=math.nan)

    return BreakPoint(
        *key,
        rates=tuple(judged),
        missing=tuple(missing),
        value=first(lambda loss: loss.value),
        low=first(lambda loss: math.inf if math.isnan(loss.high) else loss.high),
        high=first(lambda loss: loss.low),
        df=min((loss.df for r in judged for loss in r.losses.values()), default=math.nan),
    )


def _judged(rate: float, curves: Mapping[str, LossCurve], tolerance: Tolerance) -> JudgedRate:
    losses = {measure: curve.at(rate) for measure, curve in curves.items()}
    verdicts = [judge(loss.low, loss.high, tolerance[name]) for name, loss in losses.items()]
    return JudgedRate(rate, combined(verdicts), losses)


def _crossing(curve: LossCurve, bound: Callable[[Interval], float], allowed: float) -> float:
    """The rate at which a bound first rises above the tolerance: 0 at the smallest, inf if never.

    Where the bound is infinite, the last rate before it.
    """
    from scipy.optimize import brentq  # slow to import, and planning needs only the classes

    above = [i for i, rate in enumerate(curve.rates) if bound(curve.at(rate)) > allowed]
    if not above or above[0] == 0:
        return 0.0 if above else math.inf
    left, right = curve.rates[above[0] - 1], curve.rates[above[0]]
    if bound(curve.at(right)) == math.inf:
        return left

    def distance(x: float) -> float:
        return bound(curve.at(min(max(math.exp(x), left), right))) - allowed

    root = brentq(distance, math.log(left), math.log(right))
    return min(max(math.exp(root), left), right)


def log_ratio(one: BreakPoint, other: BreakPoint) -> Interval:
    """Interval of ln(one / other), e.g. of how much wider the range of safe rates is.

    With θ the logarithm of an interpolated break-point and l, u those of its bracket's ends, the
    limits are combined by the square-and-add method (Zou and Donner 2008):

        L = θ₁ − θ₂ − √((θ₁ − l₁)² + (u₂ − θ₂)²),    U likewise.

    The brackets hold whatever the loss does between the rates that were run, and the method takes
    both as independent, although they share the general items; so the interval is rather too wide.
    Where the grid ends before a break-point, the value is NaN, and the interval is as wide as the
    ends of both brackets allow.
    """
    (l1, t1, u1), (l2, t2, u2) = (_logarithms(point) for point in (one, other))
    df = min(one.df, other.df)
    if not (math.isfinite(t1) and math.isfinite(t2)):
        return Interval(math.nan, l1 - u2, u1 - l2, math.nan, df)
    value = t1 - t2
    low = value - math.hypot(t1 - l1, u2 - t2)
    high = value + math.hypot(u1 - t1, t2 - l2)
    stderr = max(value - low, high - value) / quantile_of_level(LEVEL, df)
    return Interval(value, low, high, stderr, df)


def _logarithms(point: BreakPoint) -> tuple[float, float, float]:
    """Logarithms of the bracket's lower end, the break-point and the upper end."""
    low, high = point.bracket
    least, value, most = (
        math.log(x) if x > 0 else -math.inf if x == 0 else math.nan
        for x in (low, point.value, high)
    )
    return least, value, most
