"""The claims about the paper's theorems: T2 and T3, which need no runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.analysis.claims import theory
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.spec import read_claims
from sft_tradeoff.analysis.claims.study import judge_claims
from sft_tradeoff.analysis.claims.verdict import Judged
from sft_tradeoff.theory.equal_gain import at_gain
from sft_tradeoff.theory.example import FIXED, MOVING, example
from sft_tradeoff.theory.hard_tokens import Positions
from tests.unit.analysis.claims.simulated import SMALL, Run, claim, study, value_of
from tests.unit.analysis.claims.test_ranges import two

S, C, E = "supported", "contradicted", "equivalent"
NOTHING = study({"sft": {SMALL: Run()}})


def rows_of(results: Results, quantity: str, margin: float, **options: Any) -> list[Judged]:
    about = claim(quantity, margin, options=options, about_training=False)
    (found,) = judge_claims([about], results)
    return list(found.rows)


def test_the_projects_own_claims_need_no_runs() -> None:
    claims = [claim for claim in read_claims() if claim.id in ("T2", "T3")]
    found = judge_claims(claims, NOTHING)
    assert [judgment.verdict for judgment in found] == [S, S]
    assert not any(claim.about_training for claim in claims)
    assert all(math.isnan(judgment.p_holm) for judgment in found), "nothing is tested"


def test_bound_loss_and_cruder_bound() -> None:
    """The bound falls for both kinds of target; the loss only if the target moves."""
    rows = rows_of(NOTHING, "tilting_bound", 0.01)
    told = [(row.finding.comparison.partition(":")[0], str(row.verdict)) for row in rows]
    assert told == [
        (f"{FIXED}, bound", S),
        (f"{MOVING}, bound", S),
        (f"{FIXED}, loss itself", E),
        (f"{MOVING}, loss itself", S),
        (f"{FIXED}, cruder bound", C),
        (f"{MOVING}, cruder bound", C),
    ]
    assert [row.finding.detail for row in rows] == [False] * 2 + [True] * 4
    assert value_of(rows[2]) == 0
    one, many = (at_gain(example()[FIXED], 0.5, n).curvature_bound for n in (1, 32))
    assert value_of(rows[0]) == pytest.approx(one - many, abs=1e-9)


def test_a_fall_within_the_margin() -> None:
    rows = rows_of(NOTHING, "tilting_bound", 0.1)
    assert [str(row.verdict) for row in rows][:2] == [E, S]


def test_a_bound_that_rises_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    def bumped(tilting, gain, n):  # type: ignore[no-untyped-def]
        found = at_gain(tilting, gain, n)
        return found._replace(curvature_bound=9.0) if n == 2 else found

    monkeypatch.setattr(theory, "at_gain", bumped)
    assert str(rows_of(NOTHING, "tilting_bound", 0.01)[0].verdict) == "cannot tell"


def test_a_gain_that_no_step_reaches() -> None:
    (row,) = rows_of(NOTHING, "tilting_bound", 0.01, gain=3.0)
    assert row.verdict == "not tested" and row.note.startswith("gain 3 in 1 steps: give one")


def test_ratio_of_safe_steps() -> None:
    rows = rows_of(NOTHING, "hard_tokens_and_range", 0.4)
    assert [str(row.verdict) for row in rows] == [S, S, S, E, E, E, "not tested"]
    assert [row.finding.detail for row in rows] == [False] * 3 + [True] * 4
    few, many = (Positions(0.99, 0.25, 0.999).largest_safe_step(h, 0.01) for h in (0.05, 0.2))
    assert value_of(rows[0]) == pytest.approx(math.log(few / many))
    assert value_of(rows[5]) < 0, "hardest tokens beside tokens that are not easy"
    assert rows[6].note == "no domain has both variants, 'label_only' and 'cot'"


def test_a_counterexample_contradicts() -> None:
    options = {"tokens": [[0.9, 1e-5]], "details": [], "few": 0.02, "many": 0.9}
    row = rows_of(NOTHING, "hard_tokens_and_range", 0.4, **options)[0]
    assert row.verdict == C and not row.finding.detail


def test_shares_in_the_wrong_order() -> None:
    (row,) = rows_of(NOTHING, "hard_tokens_and_range", 0.4, few=0.3)
    assert row.note == "few = 0.3 is not less than many = 0.2"


def test_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"\[0.99, 0.0\]: give two probabilities between 0 and 1"):
        claim("hard_tokens_and_range", options={"tokens": [[0.99, 0.0]]})


def test_f2_is_shown_and_decides_nothing(tmp_path: Path) -> None:
    """Measured the other way round, it does not contradict a theorem; nor is it a second test."""
    results = two(5e-6, 2e-5, tmp_path)
    rows = rows_of(results, "hard_tokens_and_range", 0.4)
    assert value_of(rows[-1]) == pytest.approx(math.log(1 / 4), abs=0.01)
    assert rows[-1].verdict == "cannot tell" and rows[-1].finding.detail
    assert rows[-1].note == "measured for F2; says nothing about why"
    assert all(math.isnan(row.p_holm) for row in rows)
    about = claim("hard_tokens_and_range", 0.4, about_training=False)
    (judgment,) = judge_claims([about], results)
    assert judgment.verdict == S
