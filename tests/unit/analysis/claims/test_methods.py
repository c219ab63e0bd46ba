"""Claims about two methods at the same rate: F6, N1 and N6."""

from __future__ import annotations

import pytest

from tests.unit.analysis.claims.simulated import SMALL, N, Run, part_of, rows_of, study, value_of

DYNAMIC = {"tau": "median", "floor": 0.01}
ARMS = {"talr": {SMALL: Run(0.6)}, "tau1:talr": {SMALL: Run(0.4)}}


@pytest.mark.parametrize(
    ("fixed", "verdict"),
    [(0.4, "supported"), (0.75, "contradicted"), (0.6, "equivalent"), (0.57, "cannot tell")],
)
def test_what_a_fixed_temperature_costs(fixed: float, verdict: str) -> None:
    arms = ARMS | {"tau1:talr": {SMALL: Run(fixed)}}
    options = {"talr": DYNAMIC, "tau1": DYNAMIC | {"tau": 1.0}}
    (row,) = rows_of(study(arms, options), "fixed_tau_cost")
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(0.6 - fixed)
    net = (part_of(row).gained or 0) - (part_of(row).lost or 0)
    assert net == pytest.approx((0.6 - fixed) * N, abs=3), "seeds differ in an item"
    assert row.finding.comparison == "talr at 1e-5 against tau1"


@pytest.mark.parametrize("fixed", [{"tau": 0.5}, {"tau": 1.0, "floor": 0.0}, {"tau": "mean"}])
def test_arms_that_differ_otherwise_are_not_compared(fixed: dict[str, object]) -> None:
    options = {"talr": DYNAMIC, "tau1": DYNAMIC | fixed}
    (row,) = rows_of(study(ARMS, options), "fixed_tau_cost")
    assert row.verdict == "not tested" and "dynamic τ and τ = 1" in row.note


@pytest.mark.parametrize(
    ("talr", "verdict"),
    [
        (Run(0.4, 0.05), "supported"),
        (Run(0.4, 0.09), "supported"),
        (Run(0.4, 0.00), "contradicted"),  # it keeps more
        (Run(0.7, 0.05), "contradicted"),  # it learns more
        (Run(0.6, 0.05), "equivalent"),
    ],
)
def test_less_of_both(talr: Run, verdict: str) -> None:
    arms = {"talr": {SMALL: talr}, "sft": {SMALL: Run(0.6, 0.05)}}
    (row,) = rows_of(study(arms), "keeps_less")
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(0.6 - talr.accuracy)
    assert value_of(row, 1) == pytest.approx(talr.code - 0.05)


def test_no_common_rate() -> None:
    (row,) = rows_of(study({"talr": {SMALL: Run()}, "sft": {1e-3: Run()}}), "keeps_less")
    assert row.note == "no talr and sft share a learning rate"


@pytest.mark.parametrize(
    ("replay", "sft", "verdict"),
    [
        (0.002, 0.09, "supported"),
        (0.06, 0.09, "contradicted"),  # it forgets, too
        (0.002, 0.001, "cannot tell"),  # nothing to remove
    ],
)
def test_forgetting_removed_where_the_other_forgets(
    replay: float, sft: float, verdict: str
) -> None:
    arms = {"replay:sft": {SMALL: Run(0.6, replay)}, "sft": {SMALL: Run(0.6, sft)}}
    options = {"method": "replay", "against": "sft"}
    (row,) = rows_of(study(arms), "removes_forgetting", **options)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(-replay)
    assert value_of(row, 1) == pytest.approx(sft)
