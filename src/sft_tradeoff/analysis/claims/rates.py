"""Claims about learning rates: F1, F7 and R2."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    BITS,
    DOMAIN_MARGIN,
    SHARE,
    Finding,
    Kind,
    Part,
    Place,
    Quantity,
    QuantityOptions,
    Untested,
)
from sft_tradeoff.analysis.claims.pairs import (
    Candidate,
    Setting,
    choose,
    domain_part,
    general_part,
    rate_pairs,
)
from sft_tradeoff.analysis.claims.results import Arm, Half, Results


class RateOptions(QuantityOptions):
    """Parameters of the quantities of this family."""

    method: str | None = Field("sft", description="method; null: all")
    ratio: float = Field(4.0, gt=1, description="smallest ratio of a large rate to a small one")


class SmallRateOptions(RateOptions):
    """Parameters of :data:`SMALL_RATE_KEEPS`."""

    domain_margin: float = Field(DOMAIN_MARGIN, gt=0, description="most accuracy lost")


def _arms(results: Results, options: RateOptions) -> list[Arm]:
    arms = [arm for arm in results.arms if options.method in (None, arm.method)]
    if not arms:
        raise Untested(f"the study has no run of method {options.method!r}")
    return arms


def _no_pair(arm: Arm, options: RateOptions) -> str:
    return f"{arm.label} has no two rates with a ratio of at least {options.ratio:g}"


def _small_rate_keeps(
    results: Results, options: SmallRateOptions, margin: float
) -> Sequence[Finding]:
    """G(large) − G(small), where D(small) is not less than D(large) by the domain margin."""

    def candidate(small: Setting, large: Setting) -> Candidate:
        def parts(half: Half) -> tuple[Part, ...]:
            return (
                general_part(results, small, large, half, Kind.GREATER, margin),
                domain_part(results, small, large, half, Kind.NOT_LESS, options.domain_margin),
            )

        return Candidate(f"{small} against {large}", parts)

    return [
        _choose_of(arm, [candidate(*pair) for pair in rate_pairs(arm, options.ratio)], options)
        for arm in _arms(results, options)
    ]


def _choose_of(arm: Arm, candidates: Sequence[Candidate], options: RateOptions) -> Finding:
    if not candidates:
        return Finding(arm.place, missing=_no_pair(arm, options))
    return choose(candidates, arm.place)


def _gain(results: Results, large: Setting, small: Setting, margin: float) -> Candidate:
    def parts(half: Half) -> tuple[Part, ...]:
        return (domain_part(results, large, small, half, Kind.GREATER, margin),)

    return Candidate(f"{large} against {small}", parts)


def _smallest_rate_cost(results: Results, options: RateOptions, margin: float) -> Sequence[Finding]:
    """D(best) − D(smallest), the best among rates that are at least the ratio larger."""
    return [
        _choose_of(
            arm,
            [
                _gain(results, large, small, margin)
                for small, large in rate_pairs(arm, options.ratio)
                if small.rate == min(arm.rates)
            ],
            options,
        )
        for arm in _arms(results, options)
    ]


def _large_rate_wins(results: Results, options: RateOptions, margin: float) -> Sequence[Finding]:
    """D(large) − D(small) of the pair of the whole study with the largest difference."""
    arms = _arms(results, options)
    pairs = [pair for arm in arms for pair in rate_pairs(arm, options.ratio)]
    if not pairs:
        raise Untested("; ".join(_no_pair(arm, options) for arm in arms))
    candidates = [
        gain._replace(comparison=f"{small.arm.model}, {small.arm.domain}: {gain.comparison}")
        for small, large in pairs
        for gain in [_gain(results, large, small, margin)]
    ]
    return [choose(candidates, Place())]


SMALL_RATE_KEEPS = Quantity("small_rate_keeps", BITS, SmallRateOptions, _small_rate_keeps)
SMALLEST_RATE_COST = Quantity("smallest_rate_cost", SHARE, RateOptions, _smallest_rate_cost)
LARGE_RATE_WINS = Quantity("large_rate_wins", SHARE, RateOptions, _large_rate_wins)
QUANTITIES = (SMALL_RATE_KEEPS, SMALLEST_RATE_COST, LARGE_RATE_WINS)
