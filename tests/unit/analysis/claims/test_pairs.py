"""Comparing two settings, and choosing among comparisons on other items than are reported."""

from __future__ import annotations

import pytest

from sft_tradeoff.analysis.claims.base import Kind, Part, Place, Untested
from sft_tradeoff.analysis.claims.pairs import (
    Candidate,
    Setting,
    choose,
    domain_part,
    rate_pairs,
)
from sft_tradeoff.analysis.claims.results import Half, Results
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.variance import Components
from tests.unit.analysis.claims.simulated import LARGE, SMALL, Run, study

PLACE = Place("m", "d", "sft")


def test_pairs_of_rates() -> None:
    """A ratio of exactly 4 counts, whatever floating point makes of it."""
    (arm,) = study({"sft": {rate: Run() for rate in (1e-5, 3e-5, 4e-5, 1.2e-4)}}).arms
    pairs = [(small.rate, large.rate) for small, large in rate_pairs(arm, 4)]
    assert pairs == [(1e-5, 4e-5), (1e-5, 1.2e-4), (3e-5, 1.2e-4)]
    assert str(Setting(arm, 3e-5)) == "sft at 3e-5"


def test_items_lost_and_gained() -> None:
    """One seed; of 400 items 40 are right at the small rate and 60 at the large one."""
    one = (0.0,)
    results = study({"sft": {SMALL: Run(0.1, seeds=one), LARGE: Run(0.15, seeds=one)}})
    (arm,) = results.arms
    part = domain_part(results, Setting(arm, LARGE), Setting(arm, SMALL), None, Kind.GREATER, 0.03)
    assert (part.lost, part.gained, part.name) == (0, 20, "D(sft at 1e-4) − D(sft at 1e-5)")


def candidate(name: str, results: Results, asked: list[tuple[str, Half]]) -> Candidate:
    arm = next(arm for arm in results.arms if arm.label == name)
    sft = next(arm for arm in results.arms if arm.label == "sft")

    def parts(half: Half) -> tuple[Part, ...]:
        asked.append((name, half))
        pair = Setting(arm, SMALL), Setting(sft, SMALL)
        return (domain_part(results, *pair, half, Kind.GREATER, 0.03),)

    return Candidate(name, parts)


def test_chosen_on_one_half_and_reported_on_the_other() -> None:
    arms = {"sft": {SMALL: Run(0.4)}, "dft": {SMALL: Run(0.5)}, "flow": {SMALL: Run(0.6)}}
    asked: list[tuple[str, Half]] = []
    results = study(arms)
    found = choose([candidate(name, results, asked) for name in ("dft", "flow")], PLACE)
    assert asked == [("dft", 0), ("flow", 0), ("flow", 1)]
    assert found.comparison == "flow (best of 2, chosen on other items)"
    assert found.chosen_of == 2
    asked.clear()
    assert choose([candidate("dft", results, asked)], PLACE).comparison == "dft"
    assert asked == [("dft", None)], "nothing to choose, so all items"


def test_what_is_missing_is_the_reason() -> None:
    def missing(half: Half) -> tuple[Part, ...]:
        raise Untested("no such run")

    assert choose([Candidate("a", missing)] * 2, PLACE).missing == "no such run"


@pytest.mark.parametrize(("bias", "expected"), [(0.0, "first"), (0.02, "second")])
def test_the_smallest_slack_counts(bias: float, expected: str) -> None:
    """In units of the margins: 1 and 0.5, so 0.5, against 1 and 0.4 or 0.6."""

    def part(value: float, kind: Kind, margin: float) -> Part:
        effect = Effect(Interval(value, 0, 0, 1, 1), Components(0, 0, 0), 9, 9, 2)
        return Part("x", effect, kind, margin, "u")

    first = part(0.2, Kind.GREATER, 0.1), part(-0.05, Kind.NOT_LESS, 0.1)
    second = part(0.2, Kind.GREATER, 0.1), part(-0.06 + bias, Kind.NOT_LESS, 0.1)
    found = choose(
        [Candidate("first", lambda _: first), Candidate("second", lambda _: second)], PLACE
    )
    assert found.comparison.startswith(expected)
