"""Verdicts on a general loss, and the number of items a verdict would take."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.analysis.tolerance import (
    GENERAL,
    MOST_ITEMS,
    Verdict,
    combined,
    complete_tolerance,
    items_needed,
    judge,
    loss_of,
    parse_tolerance,
)
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import Study, parse_study
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.validation import ConfigError

NAN = math.nan
WITHIN, EXCEEDS, CANNOT_TELL = Verdict.WITHIN, Verdict.EXCEEDS, Verdict.CANNOT_TELL
CODE, ACCURACY = "general_bits_per_byte_difference", "general_score_difference"


def row(column: str, value: float, half: float) -> dict[str, float]:
    return {column: value, f"{column}_low": value - half, f"{column}_high": value + half}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, 0.01, WITHIN),  # up to the tolerance itself
        (0.0, 0.0101, CANNOT_TELL),
        (0.01, 0.02, CANNOT_TELL),  # the tolerance is still in the interval
        (0.0101, 0.02, EXCEEDS),
        (NAN, NAN, CANNOT_TELL),
    ],
)
def test_verdicts(low: float, high: float, verdict: Verdict) -> None:
    assert judge(low, high, 0.01) is verdict


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([WITHIN, WITHIN], WITHIN),
        ([WITHIN, CANNOT_TELL], CANNOT_TELL),
        ([EXCEEDS, CANNOT_TELL], EXCEEDS),
        ([WITHIN, EXCEEDS], EXCEEDS),
        ([], CANNOT_TELL),
    ],
)
def test_all_measures_count(verdicts: list[Verdict], expected: Verdict) -> None:
    assert combined(verdicts) is expected


@pytest.mark.parametrize(
    ("noise", "bound", "distance", "needed"),
    [
        (0.02, 0.0, 0.01, 400),  # half the width: four times the items
        (0.0, 0.05, 0.01, 500),  # a fifth of the width: five times the items
        (0.02, 0.05, 0.01, 500),
        (0.01, 0.0, 0.02, None),  # narrow enough
        (0.02, 0.0, 0.0, None),  # exactly at the tolerance: no number of items can tell
        (NAN, 0.0, 0.01, None),
        (0.02, 0.0, NAN, None),
        (math.inf, 0.0, 0.01, None),
        (0.02, 0.0, 1e-4, None),  # four million
        (0.02, 0.0, 1e-200, None),
    ],
)
def test_items_needed(noise: float, bound: float, distance: float, needed: int | None) -> None:
    assert items_needed(100, noise, bound, distance) == needed


positive = st.floats(1e-2, 1)


@given(n=st.integers(1, 1000), noise=positive, bound=positive, distance=positive)
def test_the_items_needed_suffice_and_fewer_do_not(
    n: int, noise: float, bound: float, distance: float
) -> None:
    needed = items_needed(n, noise, bound, distance)

    def half_width(items: int) -> float:
        return max(noise * math.sqrt(n / items), bound * n / items)

    if needed is None:
        assert half_width(n) <= distance * (1 + 1e-9) or half_width(MOST_ITEMS) > distance
    else:
        assert half_width(needed) <= distance * (1 + 1e-9)
        assert needed == 1 or half_width(needed - 1) > distance * (1 - 1e-9)


def test_accuracy_lost_is_a_loss() -> None:
    """−0.03 ± 0.02 is a loss of 0.01 to 0.05; to get from ± 0.02 to ± 0.01: 4 · 2000 items."""
    loss = loss_of(row(ACCURACY, -0.03, 0.02), "accuracy", 0.02, [1000, 1000])
    assert (loss.value, loss.low, loss.high) == pytest.approx((0.03, 0.01, 0.05))
    assert (loss.verdict, loss.n_items) == (CANNOT_TELL, 2000)
    assert loss.n_items_needed == pytest.approx(8000, abs=1)
    assert loss_of(row(ACCURACY, -0.03, 0.02), "accuracy", 0.05, [1000, 1000]).verdict is WITHIN


def test_code_length_gained_is_a_loss() -> None:
    loss = loss_of(row(CODE, 0.03, 0.01), "bits_per_byte", 0.01, [8, 20])
    assert (loss.low, loss.high) == pytest.approx((0.02, 0.04))
    assert (loss.verdict, loss.n_items, loss.n_items_needed) == (EXCEEDS, 28, None)
    gain = loss_of(row(CODE, -0.03, 0.01), "bits_per_byte", 0.0, [8, 20])
    assert gain.verdict is WITHIN


def test_an_accuracy_that_did_not_change_is_not_known_exactly() -> None:
    """Two benchmarks of 24 and 56 items: as if each had 24, so ± ln(40) / 48 = ± 0.0769."""
    loss = loss_of(row(ACCURACY, 0.0, 0.0), "accuracy", 0.01, [24, 56])
    assert (loss.low, loss.high) == pytest.approx((-0.076852, 0.076852), abs=1e-6)
    assert loss.verdict is CANNOT_TELL
    assert loss.n_items_needed == math.ceil(80 * 7.6852)
    assert loss_of(row(CODE, 0.0, 0.0), "bits_per_byte", 0.01, [24, 56]).verdict is WITHIN


def test_no_accuracy_falls_by_more_than_1() -> None:
    """Two items cannot show less than ± ln(40) / 2 = ± 1.84; bits per byte have no such end."""
    loss = loss_of(row(ACCURACY, -0.5, 0.0), "accuracy", 1.0, [2])
    assert (loss.value, loss.low, loss.high, loss.verdict) == (0.5, -1, 1, WITHIN)
    assert loss_of(row(ACCURACY, -0.5, 0.0), "accuracy", 0.9, [2]).verdict is CANNOT_TELL
    code = loss_of(row(CODE, 0.5, 1.84), "bits_per_byte", 1.0, [2])
    assert (code.low, code.high) == pytest.approx((-1.34, 2.34))


def test_the_noise_of_a_bound_that_is_cut_off_is_that_of_the_other() -> None:
    """0.8 ± 0.4 stands in the table as [0.4, 1]."""
    cut = row(ACCURACY, 0.8, 0.4) | {f"{ACCURACY}_high": 1.0}
    loss = loss_of(cut, "accuracy", 0.0, [1000])
    assert (loss.low, loss.high) == pytest.approx((-1, -0.4))


def test_a_missing_score_cannot_tell() -> None:
    loss = loss_of(row(CODE, NAN, NAN), "bits_per_byte", 0.01, [8])
    assert (loss.verdict, loss.n_items_needed) == (CANNOT_TELL, None)


def test_tolerances_are_read() -> None:
    assert parse_tolerance("") == {}
    assert parse_tolerance("bits_per_byte=0.02, accuracy=1e-2") == {
        "bits_per_byte": 0.02,
        "accuracy": 0.01,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.01", "'0.01' is not measure=number, e.g. bits_per_byte=0.01; choose one of accuracy"),
        ("acuracy=0.1", "did you mean 'accuracy'"),
        ("accuracy=0.1 accuracy=0.2", "accuracy is given twice; remove 'accuracy=0.2'"),
        ("accuracy=", "'accuracy=' is not a number from 0 to 1"),
        ("accuracy=-0.1", "not a number from 0 to 1"),
        ("accuracy=1.5", "accuracy=0.01 is one point"),
        ("bits_per_byte=nan", "not a number from 0 to 1"),
        ("0,02", "tolerance: '0,02' has a comma between digits; write numbers with a point"),
        ("accuracy=0,02", "tolerance: 'accuracy=0,02' has a comma between digits"),
    ],
)
def test_wrong_tolerances_are_named(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_tolerance(text)


def test_the_default_is_code_length_where_it_is_measured() -> None:
    both = pd.DataFrame({CODE: [0.0, NAN], ACCURACY: [0.0, 0.1]})
    assert complete_tolerance({}, both) == {"bits_per_byte": 0.01}
    assert complete_tolerance({"accuracy": 0.5}, both) == {"accuracy": 0.5}
    without = both.assign(**{CODE: NAN})
    assert complete_tolerance({}, without) == {"accuracy": 0.01}
    assert complete_tolerance({}, without.assign(**{ACCURACY: NAN})) == {}
    with pytest.raises(UserError, match=r"bits_per_byte is not measured .*: accuracy\)"):
        complete_tolerance({"bits_per_byte": 0.1}, without)


# --- as a key of a study file ---------------------------------------------------------------------


def study_with(tolerance: object, tasks: dict[str, int | None]) -> Study:
    data = {
        "study": "tiny",
        "models": ["random-2layer"],
        "domains": [{"name": "esci", "variant": "label_only"}],
        "methods": [{"name": "sft"}],
        "learning_rates": {"full": [1e-5]},
        "evaluation": {"tasks": tasks},
        "tolerance": tolerance,
    }
    return parse_study(data, "tiny.yaml")


BOTH: dict[str, int | None] = {"piqa": 4, "code_length_news": 4}


@pytest.mark.parametrize(
    "tolerance",
    [
        {measure: 0.25 for measure in GENERAL},
        ", ".join(f"{measure}=0.25" for measure in GENERAL),
        " ".join(f"{measure}=0.25" for measure in GENERAL),
    ],
)
def test_a_study_states_every_measure_as_text_or_mapping(tolerance: object) -> None:
    study = study_with(tolerance, BOTH)
    assert study.tolerance == dict.fromkeys(GENERAL, 0.25)
    check_files(study, "tiny.yaml", BENCHMARKS)
    assert study_with({}, BOTH).model_dump() == study.model_dump(), "no run depends on it"


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        ("acuracy=0.1", "tolerance: 'acuracy=0.1' is not measure=number, .* mean 'accuracy'"),
        ("accuracy", "tolerance: 'accuracy' is not a number from 0 to 1"),
        ({"accuracy": 2}, r"tolerance\.accuracy: 2 .*less than or equal to 1"),
        (0.1, r"tolerance: 0\.1 is not measure=number"),
    ],
)
def test_a_wrong_tolerance_in_a_study_names_key_and_value(tolerance: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        study_with(tolerance, BOTH)


@pytest.mark.parametrize(
    ("measure", "task"), [("bits_per_byte", "piqa"), ("accuracy", "code_length_news")]
)
def test_a_tolerance_that_no_task_measures_stops_before_any_job(measure: str, task: str) -> None:
    """Otherwise only the recommendation, at the end of the study, would refuse it."""
    study = study_with({measure: 0.1}, {task: 4})
    with pytest.raises(ConfigError, match=f"tolerance: no task of .* measures {measure}"):
        check_files(study, "tiny.yaml", BENCHMARKS)
