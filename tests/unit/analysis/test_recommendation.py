"""Which run is chosen, in studies with every number set by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.analysis.comparison import Outcome
from sft_tradeoff.analysis.recommendation import recommend
from tests.recommended_runs import (
    CODE_ONLY,
    GAIN,
    IN,
    NAN,
    SFT,
    Run,
    allowed,
    method_of,
    section_of,
    studies,
    study,
)


def test_the_best_is_not_always_the_largest() -> None:
    """At 1e-4 the run learns measurably less: 30 fewer correct answers of 100."""
    runs = {1e-5: Run(0, 0.001, right=70, nll=1.5), 1e-4: Run(0, 0.001, right=40, nll=1.0)}
    section = section_of({"sft": runs})
    assert section.methods[0].largest == 1e-4
    assert section.chosen is not None and section.chosen.learning_rate == 1e-5


@pytest.mark.parametrize("stop", [Run(0.5, 0.001), Run(0.005, 0.01)])
def test_rates_are_tested_in_fixed_sequence(stop: Run) -> None:
    """The first that exceeds, or of which the items cannot tell, ends it."""
    runs = {1e-6: Run(0, 0.001, right=20), 1e-5: stop, 1e-4: Run(0, 0.001, right=90)}
    section = section_of({"sft": runs})
    assert section.methods[0].largest == 1e-6
    assert section.chosen is not None and section.chosen.learning_rate == 1e-6


def test_a_rate_without_a_score_ends_the_sequence() -> None:
    """It may have failed because it is too large."""
    table, measured = study({"sft": {1e-6: IN, 1e-5: IN, 1e-4: IN}})
    columns = [c for c in table.columns if c.startswith("general_")]
    table.loc[table["learning_rate"] == 1e-5, columns] = NAN
    (section,) = recommend(table, measured, CODE_ONLY, GAIN).sections
    assert section.methods[0].largest == 1e-6


def test_nll_decides_between_runs_of_indistinguishable_accuracy() -> None:
    """61 and 60 correct answers of 100 cannot be distinguished; NLL 1.0 is below 1.5."""
    runs = {1e-5: Run(0, 0.001, right=61, nll=1.5), 1e-4: Run(0, 0.001, right=60, nll=1.0)}
    section = section_of({"sft": runs})
    assert section.chosen is not None and section.chosen.learning_rate == 1e-4


def test_a_method_that_exceeds_does_not_count() -> None:
    section = section_of({"sft": SFT, "talr": {1e-4: Run(0.5, 0.001, right=99)}})
    assert section.chosen is not None and section.chosen.label == "sft"
    assert method_of(section, "talr").best is None


def test_many_comparisons_need_wider_intervals() -> None:
    """Nine others at 0.05 / 9: t is 2.8350 instead of 1.9842 (99 degrees of freedom)."""
    gain = {1e-4: Run(0, 0.001, right=65)}
    one = section_of({"sft": SFT, "talr": gain}).methods[1].against_sft["accuracy"]
    many = section_of({"sft": SFT} | {f"talr-{i}": gain for i in range(9)})
    nine = many.methods[1].against_sft["accuracy"]
    assert (nine.value - nine.low) / (one.value - one.low) == pytest.approx(2.8350 / 1.98422, 1e-3)
    assert one.outcome is Outcome.BETTER and nine.outcome is Outcome.CANNOT_TELL
    assert many.chosen is not None and many.chosen.label == "sft"


@settings(max_examples=25)
@given(runs=studies, one=allowed, other=allowed)
def test_a_larger_tolerance_never_lowers_the_largest_rate(
    runs: dict[str, dict[float, Run]], one: float, other: float
) -> None:
    strict, lax = sorted([one, other])
    for label in runs:
        before = method_of(section_of(runs, {"bits_per_byte": strict}), label).largest
        after = method_of(section_of(runs, {"bits_per_byte": lax}), label).largest
        assert before is None or (after is not None and after >= before)


@settings(max_examples=25)
@given(runs=studies, seed=st.integers(0, 10))
def test_the_order_of_the_rows_does_not_matter(
    runs: dict[str, dict[float, Run]], seed: int
) -> None:
    table, measured = study(runs)
    shuffled = table.sample(frac=1, random_state=seed)
    one, other = (recommend(t, measured, CODE_ONLY, GAIN).sections[0] for t in (table, shuffled))
    assert {m.label: m.largest for m in one.methods} == {m.label: m.largest for m in other.methods}
    assert {m.label: m.best for m in one.methods} == {m.label: m.best for m in other.methods}
