"""The paper's theorems, T2 and T3: computed exactly on small distributions, no run is needed.

What a theorem says is compared with its margin without a test: there is no noise. Both theorems are
known here by their statements only; :mod:`sft_tradeoff.theory` says what in them is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from pydantic import Field, field_validator

from sft_tradeoff.analysis.claims.base import (
    NATS,
    Finding,
    Kind,
    Part,
    Place,
    Quantity,
    QuantityOptions,
    Untested,
    Verdict,
)
from sft_tradeoff.analysis.claims.ranges import UNKNOWN, WiderOptions, wider_range
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.theory.equal_gain import Outcome, at_gain
from sft_tradeoff.theory.example import FIXED, MOVING, doublings, example
from sft_tradeoff.theory.hard_tokens import Positions

DECIMALS = 9
Pairs = tuple[tuple[float, float], ...]
LOG_STEPS = "ln of a ratio of steps"
LOSS, CURVATURE, NORMALIZER = "loss", "curvature_bound", "normalizer_bound"


class TiltingOptions(QuantityOptions):
    """Parameters of ``tilting_bound``."""

    gain: float = Field(0.5, gt=0, description="domain gain, the same for all steps, in nats")
    most_steps: int = Field(32, ge=2, description="number of the smallest steps; the largest is 1")


class HardTokenOptions(WiderOptions):
    """Parameters of ``hard_tokens_and_range``; the inherited ones are those of F2's measurement."""

    few: float = Field(0.05, gt=0, lt=1, description="the smaller share of hard tokens")
    many: float = Field(0.2, gt=0, lt=1, description="the larger share")
    tokens: Pairs = Field(
        ((0.99, 0.25), (0.99, 0.1), (0.99, 0.01)),
        description="θ0's probability of the target token at easy and at hard positions",
    )
    details: Pairs = Field(
        ((0.99, 1e-3), (0.99, 1e-5), (0.9, 1e-5)), description="the same, shown as details"
    )
    target: float = Field(0.999, gt=0, lt=1, description="what the target distribution gives it")
    nats: float = Field(0.01, gt=0, description="largest general loss, in nats per token")

    @field_validator("tokens", "details")
    @classmethod
    def _probabilities(cls, pairs: Pairs) -> Pairs:
        for pair in pairs:
            if not all(0 < p < 1 for p in pair):
                raise ValueError(f"{list(pair)}: give two probabilities between 0 and 1")
        return pairs


def _exact(
    name: str, value: float, margin: float, unit: str, comparison: str, detail: bool = False
) -> Finding:
    """A number without noise that a claim says to exceed its margin."""
    value = round(value, DECIMALS) + 0.0  # beyond them is the rounding of float64; no −0
    interval = Interval(value, math.nan, math.nan, math.nan, math.nan)
    part = Part(name, Effect(interval, UNKNOWN, 0, 0, 0), Kind.GREATER, margin, unit)
    verdict = Verdict.SUPPORTED if value > margin else Verdict.EQUIVALENT
    verdict = Verdict.CONTRADICTED if value < -margin else verdict
    return Finding(Place(), comparison, (part,), detail=detail, decided=verdict)


# --- T2 -------------------------------------------------------------------------------------------


def _tilting_bound(results: Results, options: TiltingOptions, margin: float) -> Sequence[Finding]:
    """Bound with the largest step − bound with the smallest one, at the same domain gain.

    Details: the loss itself; and the other bound, which rises as the step falls.
    """
    steps = doublings(options.most_steps)
    try:
        found = {
            name: [at_gain(tilting, options.gain, n) for n in steps]
            for name, tilting in example().items()
        }
    except ValueError as error:
        raise Untested(str(error)) from None
    return [
        *(_falls(found, name, CURVATURE, margin) for name in (FIXED, MOVING)),
        *(_falls(found, name, LOSS, margin, detail=True) for name in (FIXED, MOVING)),
        *(_falls(found, name, NORMALIZER, margin, detail=True) for name in (FIXED, MOVING)),
    ]


TOLD = {CURVATURE: "bound", LOSS: "loss itself", NORMALIZER: "cruder bound"}


def _falls(
    found: dict[str, list[Outcome]], name: str, column: str, margin: float, detail: bool = False
) -> Finding:
    """Value with one step minus that with many; it may not rise with any doubling."""
    values = [getattr(outcome, column) for outcome in found[name]]
    large, small = (f"{found[name][i].step:.2g}" for i in (0, -1))
    whole = _exact(
        name=f"{TOLD[column]} at λ = {large} − at {small}",
        value=values[0] - values[-1],
        margin=margin,
        unit=NATS,
        comparison=f"{name}, {TOLD[column]}: λ = {large} against {small}",
        detail=detail,
    )
    rises = any(round(after - before, DECIMALS) > 0 for before, after in pairwise(values))
    if whole.decided is Verdict.SUPPORTED and rises:
        return replace(whole, decided=Verdict.CANNOT_TELL)
    return whole


# --- T3 -------------------------------------------------------------------------------------------


def _hard_tokens_and_range(
    results: Results, options: HardTokenOptions, margin: float
) -> Sequence[Finding]:
    """Logarithm of the ratio of the largest safe steps, with few and with many hard tokens."""
    shares = {"few": options.few, "many": options.many}
    if not options.few < options.many:
        raise Untested(f"few = {options.few:g} is not less than many = {options.many:g}")
    pairs = [(pair, False) for pair in options.tokens] + [(pair, True) for pair in options.details]
    found = []
    for (easy, hard), detail in pairs:
        positions = Positions(easy, hard, options.target)
        few, many = (positions.largest_safe_step(s, options.nats) for s in shares.values())
        told = f"{options.few:.0%} against {options.many:.0%} hard tokens"
        found.append(
            _exact(
                name="ln λ(few) − ln λ(many)",
                value=math.log(few / many),
                margin=margin,
                unit=LOG_STEPS,
                comparison=f"{told}, p = {hard:g} beside {easy:g}: λ up to {few:.3g}, {many:.3g}",
                detail=detail,
            )
        )
    return [*found, *_measured(results, options, margin)]


def _measured(results: Results, options: HardTokenOptions, margin: float) -> list[Finding]:
    """F2's measurement beside the theorem. It decides F2, not T3: the texts differ in more."""
    why = "measured for F2; says nothing about why"
    try:
        rows = wider_range(results, options, margin)
    except Untested as reason:
        return [Finding(Place(), "F2's measurement", missing=str(reason), detail=True)]
    return [
        replace(
            row,
            detail=True,
            parts=tuple(replace(part, blocked=part.blocked or why) for part in row.parts),
        )
        for row in rows
    ]


QUANTITIES = (
    Quantity("tilting_bound", NATS, TiltingOptions, _tilting_bound),
    Quantity("hard_tokens_and_range", LOG_STEPS, HardTokenOptions, _hard_tokens_and_range),
)
