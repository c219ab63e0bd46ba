"""Claims about learning rates: F1, F7 and R2, on studies with known differences."""

from __future__ import annotations

import pytest

from tests.unit.analysis.claims.simulated import (
    LARGE,
    SMALL,
    Run,
    part_of,
    rows_of,
    study,
    value_of,
    verdicts,
)

MIDDLE = 3e-5


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [
        (Run(0.60, 0.00), Run(0.60, 0.10), "supported"),
        (Run(0.60, 0.10), Run(0.60, 0.00), "contradicted"),
        (Run(0.40, 0.00), Run(0.60, 0.10), "contradicted"),  # it learns much less
        (Run(0.60, 0.00), Run(0.60, 0.002), "equivalent"),
        (Run(0.57, 0.00), Run(0.60, 0.10), "cannot tell"),  # does it lose more than .03?
    ],
)
def test_a_small_rate_keeps_general_ability(small: Run, large: Run, verdict: str) -> None:
    (row,) = rows_of(study({"sft": {SMALL: small, LARGE: large}}), "small_rate_keeps", 0.01)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(large.code - small.code)
    assert value_of(row, 1) == pytest.approx(small.accuracy - large.accuracy)
    assert part_of(row, 1).effect.n_items == 400


def test_one_seed_is_this_run_only() -> None:
    one = (0.0,)
    arms = {"sft": {SMALL: Run(0.6, 0.0, seeds=one), LARGE: Run(0.6, 0.1, seeds=one)}}
    (row,) = rows_of(study(arms), "small_rate_keeps", 0.01)
    assert row.verdict == "cannot tell" and "this run only" in row.note


def test_rates_too_close_are_not_tested() -> None:
    results = study({"sft": {SMALL: Run(), MIDDLE: Run()}})
    (row,) = rows_of(results, "small_rate_keeps")
    assert row.verdict == "not tested"
    assert row.note == "sft has no two rates with a ratio of at least 4"
    (row,) = rows_of(study({"talr": {SMALL: Run(), LARGE: Run()}}), "small_rate_keeps")
    assert row.note == "the study has no run of method 'sft'"


def test_scores_at_chance_decide_nothing() -> None:
    """Accuracies .25 of four labels: the difference in code length is clear all the same."""
    arms = {"sft": {SMALL: Run(0.25), LARGE: Run(0.25, 0.1)}}
    (row,) = rows_of(study(arms, n_labels=4), "small_rate_keeps", 0.01)
    assert row.verdict == "cannot tell"
    assert row.note.startswith("no score is above chance (0.250): sft at 1e-5 0.250")
    assert verdicts(study(arms), "small_rate_keeps", 0.01) == ["supported"], "without labels"


@pytest.mark.parametrize(
    ("smallest", "verdict"),
    [(0.40, "supported"), (0.70, "contradicted"), (0.55, "equivalent"), (0.52, "cannot tell")],
)
def test_too_small_a_rate_costs_accuracy(smallest: float, verdict: str) -> None:
    results = study({"sft": {SMALL: Run(smallest), LARGE: Run(0.55)}})
    (row,) = rows_of(results, "smallest_rate_cost", ratio=2)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(0.55 - smallest)


def test_the_best_rate_is_chosen_on_other_items() -> None:
    """Of two rates above the smallest the better one is reported, on half of the items."""
    rates = {1e-6: Run(0.3), 1e-5: Run(0.7), 1e-4: Run(0.5)}
    (row,) = rows_of(study({"sft": rates}), "smallest_rate_cost", ratio=2)
    comparison = "sft at 1e-5 against sft at 1e-6 (best of 2, chosen on other items)"
    assert row.finding.comparison == comparison
    assert part_of(row).effect.n_items == 200
    assert value_of(row) == pytest.approx(0.4, abs=0.05) and row.verdict == "supported"


def test_a_case_in_which_the_small_rate_loses() -> None:
    """Only talr's small rate loses; the pair is found, and reported on the other half."""
    arms = {
        "sft": {SMALL: Run(0.5), LARGE: Run(0.5)},
        "talr": {SMALL: Run(0.3), LARGE: Run(0.6)},
    }
    (row,) = rows_of(study(arms), "large_rate_wins", method=None)
    assert row.verdict == "supported"
    assert row.finding.comparison.startswith("m, d: talr at 1e-4 against talr at 1e-5 (best of 2")
    arms["talr"] = {SMALL: Run(0.9), LARGE: Run(0.6)}
    arms["sft"] = {SMALL: Run(0.9), LARGE: Run(0.5)}
    (row,) = rows_of(study(arms), "large_rate_wins", method=None)
    assert row.verdict == "contradicted"
