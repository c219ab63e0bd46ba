"""The claim about a θ0 that already knows the domain: N4."""

from __future__ import annotations

import pytest

from tests.unit.analysis.claims.simulated import SMALL, Run, joined, rows_of, study, value_of

WARMED = {"m": "warm"}


@pytest.mark.parametrize(
    ("talr", "verdict"), [(0.8, "supported"), (0.4, "contradicted"), (0.6, "cannot tell")]
)
def test_trust_pays_on_a_warmed_model(talr: float, verdict: str) -> None:
    """On the plain model TALR has .1 less than SFT; on the warmed one ``talr`` against .7."""
    plain = study({"talr": {SMALL: Run(0.5)}, "sft": {SMALL: Run(0.6)}})
    warm = study({"talr": {SMALL: Run(talr)}, "sft": {SMALL: Run(0.7)}}, model="warm")
    (row,) = rows_of(joined(plain, warm), "trust_gain", warmed=WARMED)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx((talr - 0.7) - (0.5 - 0.6))


def test_methods_count_with_their_default_options() -> None:
    talr, other = {SMALL: Run(0.5)}, {SMALL: Run(0.9)}
    arms = {"talr": talr, "tau1:talr": other, "sft": {SMALL: Run(0.6)}}
    options = {"tau1": {"tau": 1.0}}
    (row,) = rows_of(
        joined(study(arms, options), study(arms, options, model="warm")),
        "trust_gain",
        warmed=WARMED,
    )
    assert value_of(row) == pytest.approx(0)
    assert row.finding.place.method == "talr"


def test_accuracies_at_chance_decide_nothing() -> None:
    arms = {"talr": {SMALL: Run(0.5)}, "sft": {SMALL: Run(0.35)}}
    models = (study(arms, model=name, n_labels=2) for name in ("m", "warm"))
    (row,) = rows_of(joined(*models), "trust_gain", warmed=WARMED)
    assert row.verdict == "cannot tell" and row.note.startswith("no score is above chance (0.500)")


def test_without_a_warmed_model() -> None:
    results = study({"talr": {SMALL: Run()}, "sft": {SMALL: Run()}})
    (row,) = rows_of(results, "trust_gain", warmed=WARMED)
    assert row.note == "no model was trained from θ₀ and from a θ₀ warmed up on the domain"
