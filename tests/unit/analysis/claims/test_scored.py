"""Claims about scores as shipped (N7) and on other domains (V3)."""

from __future__ import annotations

import pytest

from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.starts import Start
from tests.unit.analysis.claims.simulated import (
    LARGE,
    SMALL,
    Run,
    joined,
    rows_of,
    study,
    value_of,
)

SHIPPED = ("d", "nll_shipped")
BASE = Run(0.1, nll=2.0, extra={SHIPPED: 2.0}, seeds=(0.0,))
BASE_E = Run(0.1, nll=2.0, extra={("e", "nll"): 2.0}, seeds=(0.0,))


@pytest.mark.parametrize(
    ("trained", "shipped", "verdict"),
    [
        (1.0, 1.0, "supported"),
        (1.0, 2.0, "contradicted"),  # nothing survives
        (1.0, 0.5, "contradicted"),  # rounding multiplies the effect
        (1.999, 1.999, "cannot tell"),  # there is nothing to lose
    ],
)
def test_a_small_update_as_shipped(trained: float, shipped: float, verdict: str) -> None:
    small = Run(nll=trained, extra={SHIPPED: shipped})
    lost = Run(nll=0.1, extra={SHIPPED: 2.0})
    results = study({"sft": {SMALL: small, LARGE: lost}}, base=BASE)
    (row,) = rows_of(results, "survives_rounding", 0.02)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(trained - shipped)
    assert value_of(row, 1) == pytest.approx(2.0 - trained)
    assert row.finding.comparison == "smallest rate, 1e-5"


def test_without_scores_as_shipped() -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "survives_rounding", 0.02)
    assert row.note == "run of θ₀ has no nll_shipped of d"


@pytest.mark.parametrize(
    ("other", "verdict"), [(2.0, "supported"), (1.0, "supported"), (3.0, "contradicted")]
)
def test_other_domains(other: float, verdict: str) -> None:
    """θ0 has 2 nats per token on e; a lower loss on it is not worse either."""
    d = study({"sft": {SMALL: Run(extra={("e", "nll"): other})}})
    e = study({"sft": {SMALL: Run()}}, domain="e")
    (row,) = rows_of(joined(d, e), "keeps_other_domains", 0.05)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(2.0 - other)
    assert row.finding.comparison == "sft at 1e-5, scored on e"


def test_the_domain_of_a_start_is_another_one() -> None:
    """Nothing of this model is trained on e, but its θ0 was."""
    made = study({"sft": {SMALL: Run(extra={("e", "nll"): 3.0})}}, base=BASE_E)
    starts = {"m": [Start("plain.e.sft", "plain", "e")]}
    results = Results(made.runs, made.items, made.configs, starts=starts)
    (row,) = rows_of(results, "keeps_other_domains", 0.05)
    assert row.verdict == "contradicted" and value_of(row) == pytest.approx(-1.0)


def test_no_other_domain() -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "keeps_other_domains", 0.05)
    assert row.note == "no run is scored on a domain other than its own"
