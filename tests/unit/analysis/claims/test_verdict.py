"""Verdicts from effects with known intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from sft_tradeoff.analysis.claims.base import Finding, Kind, Part, Place
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.analysis.claims.verdict import Judged, Verdict, decisions, judge, p_values
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.variance import Components
from tests.unit.analysis.claims.simulated import claim

SUPPORTED, CONTRADICTED, EQUIVALENT, CANNOT_TELL, NOT_TESTED = Verdict
GREATER, NOT_LESS, WITHIN = Kind
M = 0.03


def part(
    value: float,
    stderr: float = 0.01,
    kind: Kind = GREATER,
    floor: float = 0.0,
    n_seeds: int = 3,
    df: float = math.inf,
    **other: Any,
) -> Part:
    half = 1.96 * stderr + floor
    interval = Interval(value, value - half, value + half, stderr, df, floor)
    components = Components(0.0, stderr**2 * 100, math.nan)
    effect = Effect(interval, components, 100, 100, n_seeds)
    return Part("x", effect, kind, M, "unit", **other)


def judged(*parts: Part, **of_claim: Any) -> Judged:
    (row,) = judge([claim("smallest_rate_cost", **of_claim)], [Finding(Place(), "c", parts)])
    return row


@pytest.mark.parametrize(
    ("value", "stderr", "kind", "verdict"),
    [
        (0.06, 0.01, GREATER, SUPPORTED),  # 0.06 − 1.96 · 0.01 > 0.03
        (0.049, 0.01, GREATER, CANNOT_TELL),
        (-0.06, 0.01, GREATER, CONTRADICTED),
        (-0.049, 0.01, GREATER, CANNOT_TELL),
        (0.0, 0.01, GREATER, EQUIVALENT),  # 1.645 · 0.01 < 0.03
        (0.0, 0.02, GREATER, CANNOT_TELL),
        (0.0, 0.01, NOT_LESS, SUPPORTED),
        (0.0, 0.02, NOT_LESS, CANNOT_TELL),
        (-0.06, 0.01, NOT_LESS, CONTRADICTED),
        (0.0, 0.01, WITHIN, SUPPORTED),
        (0.06, 0.01, WITHIN, CONTRADICTED),
        (-0.06, 0.01, WITHIN, CONTRADICTED),
        (0.03, 0.01, WITHIN, CANNOT_TELL),
        (0.5, math.nan, GREATER, CANNOT_TELL),
        (math.nan, math.nan, GREATER, CANNOT_TELL),
    ],
)
def test_verdicts_by_hand(value: float, stderr: float, kind: Kind, verdict: Verdict) -> None:
    assert judged(part(value, stderr, kind)).verdict is verdict


def test_p_values_by_hand() -> None:
    """0.05 is 2 standard errors above 0.03 and 8 above −0.03."""
    p_for, p_against, p_equal = p_values(part(0.05))
    assert p_for == pytest.approx(2 * norm.sf(2))
    assert p_against == 1
    assert p_equal == pytest.approx(norm.cdf(2))


def test_the_noise_floor_shifts_the_tests() -> None:
    """Two standard errors above the margin, but one of them may be noise of the numbers."""
    assert judged(part(0.05)).verdict is SUPPORTED
    noisy = judged(part(0.05, floor=0.01))
    assert noisy.verdict is CANNOT_TELL
    assert noisy.p == pytest.approx(min(2 * norm.sf(1), norm.cdf(3)))


def test_all_parts_have_to_hold() -> None:
    yes, no, unclear = part(0.06), part(-0.06), part(0.03)
    assert judged(yes, yes).verdict is SUPPORTED
    assert judged(yes, unclear).verdict is CANNOT_TELL
    assert judged(yes, no).verdict is CONTRADICTED
    assert judged(part(0.0), part(0.0, kind=NOT_LESS)).verdict is EQUIVALENT
    assert judged(part(0.0), no).verdict is CONTRADICTED
    p = decisions([yes, no])[CONTRADICTED]
    assert p == pytest.approx(2 * p_values(no)[1]), "Bonferroni"


def test_the_best_of_several_comparisons_of_the_same_runs() -> None:
    """Three seeds and ten comparisons whose true effect is the margin: the best has luck."""
    rng, stated = np.random.default_rng(0), claim("smallest_rate_cost").level
    wrong = {False: 0, True: 0}
    for _ in range(1000):
        runs = rng.normal(M, 0.02, (10, 3))
        best = runs[runs.mean(1).argmax()]
        one = part(best.mean(), best.std(ddof=1) / math.sqrt(3), df=2)
        for corrected in wrong:
            wrong[corrected] += decisions([one], 10 if corrected else 1)[SUPPORTED] <= stated
    assert wrong[False] / 1000 > 0.1
    assert wrong[True] / 1000 <= stated / 2 + 0.015


def test_a_wrong_premise_does_not_contradict() -> None:
    assert judged(part(0.0, kind=WITHIN), part(-0.06, premise=True)).verdict is CANNOT_TELL


def test_one_seed_decides_nothing_about_training() -> None:
    for value in (0.5, -0.5, 0.0):
        row = judged(part(value, n_seeds=1))
        assert row.verdict is CANNOT_TELL and row.note.startswith("this run only: one seed")
        assert math.isnan(row.p_holm) and row.needed is None and row.one_run
    row = judged(part(0.5, n_seeds=1), about_training=False)
    assert row.verdict is SUPPORTED and not row.one_run
    assert not judged(part(0.5)).one_run


def test_what_is_blocked_decides_nothing() -> None:
    row = judged(part(0.5, blocked="scores at chance"))
    assert (row.verdict, row.note) == (CANNOT_TELL, "scores at chance")


def test_what_is_missing_is_said() -> None:
    (row,) = judge([claim("smallest_rate_cost")], [Finding(Place(), missing="no runs")])
    assert (row.verdict, row.note) == (NOT_TESTED, "no runs")
    assert math.isnan(row.p)


def test_holm_over_all_findings() -> None:
    """p = 0.03 is enough alone, and not beside four others: it is corrected to 0.15 at least."""
    z = norm.isf(0.015)
    weak = Finding(Place(), "weak", (part(0.03 + z * 0.01),))
    unclear = Finding(Place(), "unclear", (part(0.03),))
    assert judge([claim("smallest_rate_cost")], [weak])[0].verdict is SUPPORTED
    together = judge([claim("smallest_rate_cost")] * 5, [weak, *[unclear] * 4])
    assert together[0].verdict is CANNOT_TELL
    assert together[0].p == pytest.approx(0.03)
    assert together[0].p_holm == pytest.approx(0.15)
    one_seed = Finding(Place(), "one seed", (part(0.03, n_seeds=1),))
    beside = judge([claim("smallest_rate_cost")] * 5, [weak, *[one_seed] * 4])
    assert beside[0].verdict is SUPPORTED, "what may not decide is not a test"


def test_what_would_settle_it_beside_other_findings() -> None:
    """A fifth of the level: z is 2.576 instead of 1.960."""
    rows = [Finding(Place(), "c", (part(0.03 + 0.014),))] * 5
    row = judge([claim("smallest_rate_cost")] * 5, rows)[0]
    assert row.visible == pytest.approx(0.03 + (2.5758 + 0.8416) * 0.01, abs=1e-5)
    assert row.needed is not None and row.needed.clusters is not None
    assert row.needed.clusters == pytest.approx(100 * (3.4174 / 1.4) ** 2, rel=0.02)
    assert row.needed.both is not None and row.needed.both[1] == 2, "even if seeds are all alike"


def test_lost_and_gained_items() -> None:
    """McNemar: 1 of 9 changes, 2 · (1 + 9) / 2⁹."""
    assert judged(part(0.06, lost=1, gained=8)).p_mcnemar == pytest.approx(20 / 512)
    assert math.isnan(judged(part(0.06)).p_mcnemar)


def test_what_could_be_seen_and_what_would_settle_it() -> None:
    """Margin and (1.96 + 0.84) standard errors; four times the items see half of the effect."""
    row = judged(part(0.03 + 0.014, 0.01))
    assert row.verdict is CANNOT_TELL
    assert row.visible == pytest.approx(0.03 + 2.8016 * 0.01, abs=1e-5)
    assert row.needed is not None and row.needed.clusters is not None
    assert row.needed.clusters == pytest.approx(100 * (2.8016 / 1.4) ** 2, rel=0.02)


def test_what_would_settle_a_score_that_is_not_less() -> None:
    """Only the lower bound counts: an effect at + m is two margins away from it."""
    row = judged(part(M, 0.035, NOT_LESS))
    assert row.verdict is CANNOT_TELL
    assert row.needed is not None and row.needed.clusters is not None
    assert row.needed.clusters == pytest.approx(100 * (2.8016 * 0.035 / 0.06) ** 2, rel=0.02)


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.1), st.sampled_from(Kind))
def test_verdicts_exclude_each_other_at_any_level(value: float, stderr: float, kind: Kind) -> None:
    """At most one of the three tests is significant at 5 %."""
    found = decisions([part(value, stderr, kind)])
    assert sum(p <= 0.05 for p in found.values()) <= 1


@pytest.mark.parametrize("truth", [-0.03, 0.0, 0.0299, 0.03, 0.05])
def test_wrong_verdicts_are_rarer_than_the_level(truth: float) -> None:
    """4,000 simulated effects around a known one; the level is 5 %, its standard error 0.35."""
    wrong = {
        -0.03: {SUPPORTED, CONTRADICTED},  # on the border, where −m is not below −m
        0.0: {SUPPORTED, CONTRADICTED},
        0.0299: {SUPPORTED, CONTRADICTED},
        0.03: {SUPPORTED, CONTRADICTED},
        0.05: {CONTRADICTED, EQUIVALENT},
    }[truth]
    values = np.random.default_rng(1).normal(truth, 0.01, 4000)
    found = (decisions([part(value)]) for value in values)
    names = [min(p, key=lambda name: p[name]) if min(p.values()) <= 0.05 else None for p in found]
    assert sum(name in wrong for name in names) / 4000 <= 0.05 + 0.01
