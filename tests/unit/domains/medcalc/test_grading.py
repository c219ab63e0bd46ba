"""Grading by the benchmark's rule: cases worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.medcalc.grading import limits, score


def record(output_type: str, answer: str, **meta: Any) -> dict[str, Any]:
    return {"answer": answer, "meta": {"output_type": output_type, **meta}}


def decimal(truth: float) -> dict[str, Any]:
    lower, upper = limits(truth)
    return record("decimal", str(truth), lower_limit=lower, upper_limit=upper)


@pytest.mark.parametrize(
    ("generation", "correct", "parsed"),
    [
        ("Final answer: 23.5", True, "23.5"),
        ("Final answer: 22.325", True, "22.325"),  # 23.5 * 0.95
        ("Final answer: 24.675", True, "24.675"),  # 23.5 * 1.05
        ("Final answer: 22.32", False, "22.32"),
        ("Final answer: 24.68", False, "24.68"),
        ("**Final Answer:** 23.5 kg/m^2.", True, "23.5"),
        ("final answer:\n**23.5**", True, "23.5"),
        ("Final answer: 9\nWait.\nFinal answer: 23.5", True, "23.5"),
        ("Final answer: 23.5\nFinal answer: 9", False, "9"),
        ("Final answer: 2.35e1", True, "23.5"),
        ("Final answer: 0.235 x 10^2", True, "23.5"),
        ("Final answer: 23.5 mL/min/1.73 m²", True, "23.5"),
        ("Final answer: 23.5 %", True, "23.5"),
        ("Final answer: 47 / 2 = 23.5", True, "23.5"),
        ("Final answer: -23.5", False, "-23.5"),
        ("The BMI is 68 / 2.89 = 23.5 kg/m²", True, "23.5"),
        ("I would say 23.5", True, "23.5"),
        ("Final answer: unknown", False, None),
        ("so 23.5. Final answer: none", False, None),
        ("Final answer: nan", False, None),
        ("Final answer: inf", False, None),
        ("Final answer: -Infinity", False, None),
        ("Final answer: 1e999", False, None),
        ("Final answer:", False, None),
        ("no number", False, None),
        ("", False, None),
    ],
)
def test_decimal(generation: str, correct: bool, parsed: str | None) -> None:
    grade = score(decimal(23.5), generation)
    assert (grade.correct, grade.parsed) == (correct, parsed)
    assert grade.format_failure == (parsed is None)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("60 mL/min per 1.73 m²", "60"),
        ("60 mL/min per 1.73 m^2", "60"),
        ("60 mL/min Per 1.73m2", "60"),
        ("60 mL/min/1.73m2", "60"),
        ("60 mL/min / 1.73 m^2", "60"),
        ("150 per 1,000", "150"),
        ("1.73 m²", "1.73"),  # a body surface
        ("12 percent", "12"),
        ("super 8", "8"),
        ("68 per 2.89 = 23.5", "23.5"),
    ],
)
def test_number_in_a_unit_is_not_an_answer(text: str, parsed: str) -> None:
    assert score(decimal(60), f"Final answer: {text}").parsed == parsed


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("7 points (age 1, bp 2, 4)", "7"),
        ("7 (age: 1; bp: 2; rate: 4)", "7"),
        ("7/9 points (1 + 2 + 4).", "7"),
        ("-1 (age 45 and older: -1, cough 0)", "-1"),
        ("2.5 (95 % interval 1.5, 3.5)", "2.5"),
        # Not a list of parts, or no number directly before it: the last number counts, as usual.
        ("grade 2 (7 points)", "7"),
        ("class 2 (1 + 2 + 4 = 7)", "7"),
        ("2 (1,200 mL)", "1200"),
        ("FIB-4 (age 50, 1.3)", "1.3"),
        ("the total (1, 2, 4) is 7", "7"),
        ("1 point (age 1, bp 0) and 7", "7"),
    ],
)
def test_parts_in_parentheses_explain_the_number_before_them(text: str, parsed: str) -> None:
    for output_type in ("decimal", "integer"):
        line = record(output_type, "7", lower_limit=6.65, upper_limit=7.35)
        grade = score(line, f"Final answer: {text}")
        assert (grade.parsed, grade.correct) == (parsed, parsed == "7")


def test_limits_by_hand() -> None:
    assert limits(100) == (95, 105)
    assert limits(-4.75) == (-4.9875, -4.5125)  # the lower limit of a negative is 1.05 times it
    assert limits(3.8) == (3.61, 3.99)  # 3.8 * 1.05 in binary is a little less than 3.99
    assert limits(-3.8) == (-3.99, -3.61)
    assert limits(0) == (0, 0)


@pytest.mark.parametrize(
    ("generation", "correct"),
    [("-4.9", True), ("-4.52", True), ("−4.75", True), ("-5", False), ("-4.5", False), ("4.75", 0)],
)
def test_negative_truth(generation: str, correct: bool) -> None:
    assert score(decimal(-4.75), f"Final answer: {generation}").correct == correct


def test_limits_may_be_texts_as_in_the_benchmark() -> None:
    given_as_text = record("decimal", "1234.5", lower_limit="1172.775", upper_limit="1296.225")
    assert score(given_as_text, "Final answer: 1,234.5").correct
    assert score(given_as_text, "Final answer: 1,296").correct
    assert not score(given_as_text, "Final answer: 1,297").correct


@pytest.mark.parametrize(
    ("generation", "correct", "parsed"),
    [
        ("3", True, "3"),
        ("3 out of 5", True, "3"),
        ("3/5", True, "3"),
        ("3 points", True, "3"),
        ("2.6", True, "2.6"),  # rounds to 3
        ("3.4", True, "3.4"),
        ("3.6", False, "3.6"),
        ("-3", False, "-3"),
        ("4", False, "4"),
        ("1, 3, 5", True, "3"),  # three criteria
        ("1, 3 and 5", True, "3"),
        ("2, 3", False, "2"),
        ("The CURB-65 score is 3", True, "3"),
        ("three", False, None),
    ],
)
def test_integer(generation: str, correct: bool, parsed: str | None) -> None:
    grade = score(record("integer", "3"), f"Final answer: {generation}")
    assert (grade.correct, grade.parsed) == (correct, parsed)


def test_negative_integer() -> None:
    assert score(record("integer", "-1"), "Final answer: -1").correct
    assert not score(record("integer", "-1"), "Final answer: 1").correct


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("06/30/2012", "06/30/2012"),
        ("6/30/2012.", "06/30/2012"),
        ("2012-06-30", "06/30/2012"),
        ("06-30-2012", "06/30/2012"),
        ("June 30, 2012", "06/30/2012"),
        ("jun 30th 2012", "06/30/2012"),
        ("30 June 2012", "06/30/2012"),
        ("30 Jun. 2012", "06/30/2012"),
        ("(06/30/2012)", "06/30/2012"),
        ("07/01/2012", "07/01/2012"),
        ("30/06/2012", None),  # the benchmark's dates are M/D/Y
        ("02/30/2012", None),
        ("06/30", None),
        ("6302012", None),
    ],
)
def test_date(generation: str, parsed: str | None) -> None:
    for truth in ("06/30/2012", "6/30/2012"):
        grade = score(record("date", truth), f"Final answer: {generation}")
        assert grade.parsed == parsed
        assert grade.correct == (parsed == "06/30/2012")


@pytest.mark.parametrize(
    ("generation", "parsed"),
    [
        ("16 weeks, 1 day", "16 weeks, 1 days"),
        ("16 weeks and 1 day", "16 weeks, 1 days"),
        ("('16 weeks', '1 days')", "16 weeks, 1 days"),
        ("(16, 1)", "16 weeks, 1 days"),
        ("16+1", "16 weeks, 1 days"),
        ("16w1d", "16 weeks, 1 days"),
        ("16 weeks + 1 day", "16 weeks, 1 days"),
        ("16 weeks+1 day", "16 weeks, 1 days"),
        ("16 1/7 weeks", "16 weeks, 1 days"),
        ("16+1/7 weeks", "16 weeks, 1 days"),
        ("16 and 1/7 wks", "16 weeks, 1 days"),
        ("21 weeks + 3 days", "21 weeks, 3 days"),
        ("21 3/7 weeks", "21 weeks, 3 days"),
        ("21-3/7 weeks", "21 weeks, 3 days"),
        ("16 0/7 weeks", "16 weeks, 0 days"),
        ("16 weeks", "16 weeks, 0 days"),
        ("16 wonders", None),
        ("1 weeks, 16 days", "1 weeks, 16 days"),
        ("113 days", None),
        ("16", None),
    ],
)
def test_weeks_and_days(generation: str, parsed: str | None) -> None:
    for truth in ("16 weeks, 1 day", "('16 weeks', '1 days')"):
        grade = score(record("weeks_days", truth), f"Final answer: {generation}")
        assert grade.parsed == parsed
        assert grade.correct == (parsed == "16 weeks, 1 days")


HOSTILE = [
    "__import__('os').system('touch /tmp/owned')",
    "9**9**9",
    "9" * 10_000,
    "-" * 10_000,
    "1," * 10_000,
    "1, " * 10_000,
    "1e" * 10_000,
    "1/" * 10_000,
    " x 10^9" * 3_000,
    "Final answer" + " " * 10_000,
    "Final answer:" * 3_000,
    "12 weeks" + " " * 10_000,
    "12 weeks, " * 3_000,
    "May 1 " * 5_000,
    "1 (" * 5_000,
    "1 (" + "1," * 10_000,
    "1" + "x" * 10_000 + "(",
    "1 1/7 " * 5_000,
    "12 weeks" + "+" * 10_000,
    "\x00\ud800",
]
OUTPUT_TYPES = ["integer", "decimal", "date", "weeks_days"]
TRUTHS = {"integer": "3", "decimal": "3", "date": "01/02/2003", "weeks_days": "3 weeks, 2 days"}


@pytest.mark.parametrize("output_type", OUTPUT_TYPES)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_hostile_text_is_harmless_and_fast(output_type: str, text: str) -> None:
    line = record(output_type, TRUTHS[output_type], lower_limit=2.85, upper_limit=3.15)
    start = time.process_time()
    for generation in (text, f"Final answer: {text}"):
        assert not score(line, generation).correct
    assert time.process_time() - start < 10  # quadratic would take hours


def test_ten_thousand_digits_are_not_an_answer() -> None:
    assert score(decimal(3.0), "Final answer: " + "9" * 10_000).format_failure


@given(st.text(), st.sampled_from(OUTPUT_TYPES))
def test_any_text_can_be_graded(text: str, output_type: str) -> None:
    line = record(output_type, TRUTHS[output_type], lower_limit=2.85, upper_limit=3.15)
    grade = score(line, text)
    assert not (grade.correct and grade.format_failure)


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
def test_every_decimal_truth_is_right_and_a_tenth_more_wrong(truth: float) -> None:
    line = decimal(truth)
    assert score(line, f"Final answer: {truth}").correct
    more = truth * 1.1 + math.copysign(0.001, truth)
    assert not score(line, f"Final answer: {more}").correct


def test_grading_and_import_need_neither_the_calculators_nor_torch() -> None:
    code = (
        "import sys; sys.modules['medcalc'] = None; sys.modules['torch'] = None\n"
        "from sft_tradeoff.domains.medcalc.generated import DOMAIN\n"
        "line = {'answer': '3', 'meta': {'output_type': 'integer'}}\n"
        "assert DOMAIN.score(line, 'Final answer: 3').correct\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('pydantic', 'numpy')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
