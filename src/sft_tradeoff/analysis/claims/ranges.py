"""Claims about the range of safe learning rates: F2 and V1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import Field

from sft_tradeoff.analysis.breakpoints import BreakPoint, break_points, log_ratio
from sft_tradeoff.analysis.claims.base import (
    GENERAL_MARGIN,
    Finding,
    Kind,
    Part,
    Place,
    Quantity,
    QuantityOptions,
    Untested,
    Verdict,
    finding,
)
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import Effect, effect_of
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.tables import CODE_LENGTH
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.variance import Components
from sft_tradeoff.study.names import format_learning_rate

LOG_RATIO = "ln of a ratio of rates"
UNKNOWN = Components(math.nan, math.nan, math.nan)


class RangeOptions(QuantityOptions):
    """Parameters of the quantities of this family."""

    tolerance: float = Field(GENERAL_MARGIN, gt=0, description="largest loss, bits per byte")


class WiderOptions(RangeOptions):
    """Parameters of ``wider_range``."""

    wider: str = Field("label_only", description="variant of a domain that is said to be wider")
    narrower: str = Field("cot", description="variant of the same domain")


def _break_points(results: Results, options: RangeOptions) -> Mapping[Place, BreakPoint]:
    if results.folder is None:
        raise Untested("the scores are not in files")
    measured = read_measured(results.runs, results.folder)
    found = break_points(measured, {CODE_LENGTH: options.tolerance})
    return {Place(point.model, point.domain, point.label): point for point in found}


def wider_range(results: Results, options: WiderOptions, margin: float) -> Sequence[Finding]:
    """Logarithm of the ratio of two break-points, of the same domain with two kinds of targets.

    Raises:
        Untested: If no domain has both kinds, or the scores are not in files.
    """
    pairs = [
        (wide, narrow)
        for wide in results.arms
        for narrow in results.arms
        if (wide.model, wide.label) == (narrow.model, narrow.label)
        and wide.domain_config.get("name") == narrow.domain_config.get("name") is not None
        and wide.domain_config.get("variant") == options.wider
        and narrow.domain_config.get("variant") == options.narrower
    ]
    if not pairs:
        raise Untested(f"no domain has both variants, {options.wider!r} and {options.narrower!r}")
    points = _break_points(results, options)
    found = []
    for wide, narrow in pairs:

        def parts(wide: Arm = wide, narrow: Arm = narrow) -> tuple[Part, ...]:
            return (_ratio_part(results, wide, narrow, points, margin),)

        told = f"{points[wide.place]} against {narrow.domain}: {points[narrow.place]}"
        found.append(finding(parts, wide.place, told))
    return found


def _ratio_part(
    results: Results, wide: Arm, narrow: Arm, points: Mapping[Place, BreakPoint], margin: float
) -> Part:
    one, other = points[wide.place], points[narrow.place]
    ratio = log_ratio(one, other)
    return Part(
        name=f"ln r({wide.domain}) − ln r({narrow.domain})",
        effect=_with_counts(results, wide, ratio),
        kind=Kind.GREATER,
        margin=margin,
        unit=LOG_RATIO,
        blocked="a break-point lies beyond the grid" if math.isnan(ratio.value) else "",
    )


def _with_counts(results: Results, arm: Arm, interval: Interval) -> Effect:
    """An effect of break-points, with the items and seeds of the losses behind them."""
    loss = effect_of(results.general_loss(arm, min(arm.rates)))
    return loss._replace(interval=interval, components=UNKNOWN)


def _bracketed(results: Results, options: RangeOptions, margin: float) -> Sequence[Finding]:
    """Logarithm of first rate that exceeds the tolerance / largest within; at most the margin."""
    points = _break_points(results, options)
    return [_bracket(results, arm, points[arm.place], margin) for arm in results.arms]


def _bracket(results: Results, arm: Arm, point: BreakPoint, margin: float) -> Finding:
    low, high = point.bracket
    if low == 0 or high == math.inf:
        return Finding(arm.place, missing=f"no rate within and another that exceeds: {point}")
    width = math.log(high / low)
    try:
        effect = _with_counts(results, arm, Interval(width, *[math.nan] * 4))
    except Untested as reason:
        return Finding(arm.place, missing=str(reason))
    part = Part("ln(first exceeding / largest within)", effect, Kind.WITHIN, margin, LOG_RATIO)
    ends = " and ".join(map(format_learning_rate, (low, high)))
    told = f"break-point {point}, between {ends}"
    verdict = Verdict.SUPPORTED if width <= margin else Verdict.CANNOT_TELL
    return Finding(arm.place, told, (part,), decided=verdict)


QUANTITIES = (
    Quantity("wider_range", LOG_RATIO, WiderOptions, wider_range),
    Quantity("bracketed", LOG_RATIO, RangeOptions, _bracketed),
)
