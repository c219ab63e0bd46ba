"""The claim about a θ0 that already knows the domain: N4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.base_probability import summary_path, write_summary
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.starts import Start
from tests.unit.analysis.claims.simulated import (
    SMALL,
    Run,
    joined,
    part_of,
    rows_of,
    study,
    value_of,
)

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


def with_start(results: Results, domain: str, **config: str) -> Results:
    """``warm`` starts from a run of ``m`` on a domain with these settings."""
    run = f"m.{domain}.sft.0"
    row = dict(zip(results.runs, (run, "m", domain, "sft", "sft", SMALL, 0), strict=True))
    runs = pd.concat([results.runs, pd.DataFrame([row])], ignore_index=True)
    configs = {**results.configs, run: {"method": {"options": {}}, "domain": config}}
    return Results(runs, results.items, configs, starts={"warm": [Start(run, "m", domain)]})


def test_a_model_that_starts_from_other_examples_is_warmed_up() -> None:
    """As the study recorded it; the names of domains do not matter, what they hold does."""
    arms = {"talr": {SMALL: Run(0.5)}, "sft": {SMALL: Run(0.6)}}
    warm = {"talr": {SMALL: Run(0.8)}, "sft": {SMALL: Run(0.7)}}
    results = joined(study(arms), study(warm, model="warm"))
    (row,) = rows_of(with_start(results, "d0", name="own", variant="cot"), "trust_gain")
    assert row.verdict == "supported"
    assert value_of(row) == pytest.approx(0.2)
    assert part_of(row).name == "[D(talr) − D(sft)] warm − m"
    named = with_start(results, "d0", name="own", variant="cot")
    assert len(rows_of(named, "trust_gain", warmed=WARMED)) == 1, "named and recorded: once"
    for other in ({"name": "esci", "variant": "cot"}, {"name": "own", "variant": "label_only"}):
        (row,) = rows_of(with_start(results, "d0", **other), "trust_gain")
        assert row.verdict == "not tested", "another domain is no warm-up"
    (row,) = rows_of(
        Results(
            results.runs, results.items, results.configs, starts={"warm": [Start("r", "m", "d")]}
        ),
        "trust_gain",
    )
    assert row.verdict == "not tested", "the same examples twice are no other examples"


def test_without_a_warmed_model() -> None:
    results = study({"talr": {SMALL: Run()}, "sft": {SMALL: Run()}})
    (row,) = rows_of(results, "trust_gain", warmed=WARMED)
    assert row.note == "no model was trained from θ₀ and from a θ₀ warmed up on the domain"


def test_it_says_how_well_both_models_knew_the_data(tmp_path: Path) -> None:
    arms = {"talr": {SMALL: Run(0.5)}, "sft": {SMALL: Run(0.6)}}
    results = joined(*(study(arms, model=name) for name in ("m", "warm")))
    results = replace(results, folder=tmp_path / "runs")
    (row,) = rows_of(results, "trust_gain", warmed=WARMED)
    assert row.finding.comparison == "talr at 1e-5"
    for model, p in (("m", 0.25), ("warm", 0.75)):
        write_summary(summary_path(tmp_path / "runs", model, "d"), -np.log([p, p]))
    (row,) = rows_of(results, "trust_gain", warmed=WARMED)
    assert row.finding.comparison == (
        "talr at 1e-5; mean p of the training tokens under θ₀: 0.75 against 0.25"
    )
