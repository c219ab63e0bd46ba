"""Grading, and metrics that do not fit the file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.own.answers import LONGEST_LABEL, MAX_LABELS, score
from sft_tradeoff.domains.own.domain import generate
from tests.unit.domains.own.files import Line, problems_of, question, spec, write


def line(answer: str, metric: str, tolerance: float = 0.05, labels: Sequence[str] = ()) -> Line:
    return {
        "answer": answer,
        "meta": {"metric": metric, "tolerance": tolerance, "labels": list(labels)},
    }


@pytest.mark.parametrize(
    ("text", "correct", "parsed"),
    [
        ("New York", True, "new york"),
        ("  new\n YORK ", True, "new york"),
        ("New York.", False, "new york."),
        ("York", False, "york"),
        (" \n", False, None),
    ],
)
def test_exact_match(text: str, correct: bool, parsed: str | None) -> None:
    grade = score(line("New York", "exact_match"), text)
    assert (grade.correct, grade.parsed) == (correct, parsed)


@pytest.mark.parametrize(
    ("truth", "tolerance", "text", "correct"),
    [
        ("1905", 0, "1990", False),
        ("72", 0, "it is 72.", True),
        ("72", 0, "it is 72.4", False),
        ("12,5", 0, "12.5", True),
        ("12,5", 0, "99,5", False),
        ("3/4", 0, "0.75", True),
        ("3/4", 0, "1/4", False),
        (r"\frac{3}{4}", 0, r"\boxed{\frac{3}{4}}", True),
        ("3.14", 0, "3.14159", True),
        ("3.14", 0, "3.1", False),
        ("1.234,56", 0, "9.999,56", False),
        ("100", 0.05, "it is 105", True),
        ("100", 0.05, "it is 105.1", False),
        ("-100", 0.05, "-104", True),
        ("-100", 0.05, "104", False),
        ("1,000 m", 0, "so 1,000 metres", True),
        ("1,000 m", 0, "so 1000.5", False),
        ("100", 0.05, "first 100, then 7", False),
        ("5", 0.05, "inf", False),
        ("5", 0.05, "five", False),
        ("5", 0.05, "9" * 10_000, False),
        ("5", 0.05, "__import__('os')", False),
    ],
)
def test_numeric(truth: str, tolerance: float, text: str, correct: bool) -> None:
    assert score(line(truth, "numeric", tolerance), text).correct == correct


def test_a_numeric_gold_answer_is_refused_by_line(file: Path) -> None:
    answers = ["7", "2024-01-05", "5:30", "5 million", "3-4", "So 3 + 4 = 7"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    fix = (
        "metric 'numeric' needs exactly one plain number: put it into 'answer', or use metric 'exa"
    )
    problems = problems_of(file, metric="numeric")
    assert all(fix in problem for problem in problems)
    assert [problem.split("; ")[0] for problem in problems] == [
        "lines 2, 3: the answer has digits that are not one number (line 2: '2024-01-05')",
        "line 4: the answer has 'million' next to the number, which may change its value (line 4: "
        "'5 million')",
        "lines 5, 6: the answer has several numbers (line 5: '3-4')",
    ]


def test_a_single_point_is_refused_where_others_have_decimal_commas(file: Path) -> None:
    answers = ["1.234", "2.345,50", "7", "1234", "1,234", "0,5"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert problems_of(file, metric="numeric") == [
        "lines 1, 5: the answer may have a thousands mark or a decimal mark (line 1: '1.234'), as "
        "line 2 has a decimal comma; write thousands without a mark, and decimals with a point and "
        "a trailing zero"
    ]
    write(file, [question(i, response=text) for i, text in enumerate(["1.234", "1,234", "7"])])
    assert generate(spec(file, metric="numeric"))


def test_the_tolerance_is_exact_unless_given_and_belongs_to_numbers(file: Path) -> None:
    assert spec(file, metric="numeric").tolerance == 0
    with pytest.raises(ValueError, match="'tolerance' belongs to metric 'numeric', not 'exact_m"):
        spec(file, tolerance=0.1)
    for tolerance in (-0.1, 1, "inf"):
        with pytest.raises(ValueError, match="tolerance"):
            spec(file, metric="numeric", tolerance=tolerance)


# --- Different answers that count as equal -----------------------------------------------------


def test_answers_that_the_metric_cannot_tell_apart_are_refused(file: Path) -> None:
    years = [str(year) for year in range(1900, 1996, 5)]
    write(file, [question(i, response=year) for i, year in enumerate(years)])
    (problem,) = problems_of(file, metric="numeric", tolerance=0.05)
    assert problem == (
        "metric 'numeric' counts different answers as equal: 190 of 190 pairs of different "
        "answers, '1900' (line 1) and '1905' (line 2); '1900' (line 1) and '1910' (line 3); '1900' "
        "(line 1) and '1915' (line 4); and 187 more; it compares only the numbers: use one unit "
        "and the same number of decimals in all answers, and a smaller tolerance, or none"
    )
    assert generate(spec(file, metric="numeric"))


@pytest.mark.parametrize(
    ("metric", "answers", "settings"),
    [
        ("exact_match", ["Paris", "PARIS ", "Rome"], {}),
        ("numeric", ["100", "101", "200"], {"tolerance": 0.02}),
        ("numeric", ["3.1", "3.14", "5"], {}),
        ("numeric", ["5 km", "5 miles", "7 km"], {}),
        ("numeric", ["5 millones", "5 mil", "7 mil"], {}),
        ("numeric", ["3.5万元", "3.5美元", "7美元"], {}),
        ("numeric", ["300 BC", "300 AD", "44 BC"], {}),
        ("numeric", ["€5", "$5", "€7"], {}),
        ("numeric", ["5%", "5‰", "7%"], {}),
        ("numeric", ["($5)", "$5", "$7"], {}),
    ],
)
def test_some_answers_that_count_as_equal_are_logged(
    file: Path, caplog: pytest.LogCaptureFixture, metric: str, answers: list[str], settings: Line
) -> None:
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    for _ in range(2):
        generate(spec(file, metric=metric, **settings))
    (text,) = caplog.messages  # once, although the file is read twice
    first, second = (repr(answer.strip()) for answer in answers[:2])
    assert f"{metric!r} counts different answers as equal: 1 of 3 pairs" in text
    assert f"{first} (line 1) and {second} (line 2); " in text


def test_spellings_of_one_number_are_one_answer(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["1,000", "1000", "1 000.0", "1e3", "$1000$", "#### 1000", r"\boxed{1000}", "7"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert generate(spec(file, metric="numeric")) and not caplog.messages


def test_different_units_alone_are_not_refused(file: Path) -> None:
    answers = [f"{name} has 1" for name in ("Ann", "Bob", "Eve", "Kim", "Lee")] + ["0"]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    assert generate(spec(file, metric="numeric"))


def test_numeric_without_a_number_is_a_format_failure() -> None:
    assert score(line("5", "numeric"), "I cannot tell").format_failure
    assert score(line("5", "numeric"), "nan").format_failure
    assert not score(line("5", "numeric"), "6").format_failure


@pytest.mark.parametrize(
    ("answer", "text", "parsed"),
    [
        ("B", "B", "B"),
        ("B", "The answer is (B), not A.", "B"),
        ("B", "This is a hard one: B", "B"),  # the article is not a label
        ("A", "A, since B is wrong", "A"),
        ("B", "Option-B", "B"),
        ("B", "ABBA", None),
        ("B", "b", None),
        ("B", "", None),
    ],
)
def test_choice_of_letters(answer: str, text: str, parsed: str | None) -> None:
    grade = score(line(answer, "choice", labels=["A", "B"]), text)
    assert grade.parsed == parsed and grade.correct == (parsed == answer)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("not entailed", "not entailed"),
        ("Not Entailed!", "not entailed"),
        ("entailed, not entailed", "entailed"),
        ("unentailed", None),
        ("non-entailed", None),
        ("not  entailed", "not entailed"),
        ("entailed\nin part", "entailed in part"),
        ("It is entailed", "entailed"),
        ("Entailed in part", "entailed in part"),
    ],
)
def test_choice_of_words(text: str, parsed: str | None) -> None:
    labels = ["entailed", "entailed in part", "not entailed"]
    assert score(line("entailed", "choice", labels=labels), text).parsed == parsed


def test_choice_of_digits_does_not_read_decimals() -> None:
    labels = ["0", "1", "2"]
    assert score(line("2", "choice", labels=labels), "7.1 or 0.75 or 1,5 so 2.").parsed == "2"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("-1", "-1"), ("−1", None), ("1-2", None), ("0–1", None), ("1/2", "1"), ("is 1", "1")],
)
def test_choice_of_signed_digits(text: str, parsed: str | None) -> None:
    assert score(line("1", "choice", labels=["-1", "0", "1"]), text).parsed == parsed
    unsigned = score(line("1", "choice", labels=["0", "1"]), text).parsed
    assert unsigned == (None if text == "-1" else parsed)


def test_labels_are_the_answers_of_the_file(file: Path) -> None:
    rows = [question(i, response=f"I say {'yes' if i % 2 else 'no'}.") for i in range(4)]
    rows = [{**row, "answer": "yes" if "yes" in row["response"] else "no"} for row in rows]
    splits = generate(spec(write(file, rows), metric="choice"))
    example = splits["test"][0]
    assert example.meta["labels"] == ["no", "yes"]
    assert score(example.to_dict(), "Yes, sure").correct == (example.answer == "yes")


@given(st.text(), st.sampled_from(["exact_match", "numeric", "choice"]))
def test_any_text_can_be_graded(text: str, metric: str) -> None:
    grade = score(line("1", metric, labels=["1", "(x"]), text)
    assert not (grade.correct and grade.format_failure)


@pytest.mark.parametrize("unit", [" ", "7", ",", "[", "\\", "1 ", "1,", "-", "a", "\u0316\u0301"])
@pytest.mark.parametrize("metric", ["exact_match", "numeric", "choice"])
def test_long_answers_are_graded_in_linear_time(unit: str, metric: str) -> None:
    """Quadratic time would be at least ten seconds."""
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    score(line("7", metric, labels=["A", "7", "non toxic"]), text)
    assert time.process_time() - start < 5


# --- Metrics that do not fit -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("exact_match", "answer 'B', read 'the answer is b'"),
        ("choice", "answer 'C', read 'B'"),
    ],
)
def test_a_metric_that_fails_the_lines_own_response_is_a_problem(
    file: Path, metric: str, problem: str
) -> None:
    answer = "C" if metric == "choice" else "B"
    lines = [question(i, response="The answer is B", answer=answer) for i in range(3)]
    assert problems_of(write(file, [*lines, question(4, response="B")]), metric=metric) == [
        f"lines 1, 2, 3: metric '{metric}' would grade the file's own response as wrong (line 1: "
        f"{problem}); change the metric or the answer, or remove the example"
    ]


def test_a_label_within_the_response_is_a_choice(file: Path) -> None:
    lines = [question(i, response=f"The answer is {x}", answer=x) for i, x in enumerate("BBBA")]
    assert generate(spec(write(file, lines), metric="choice"))


def test_choice_needs_a_closed_set(file: Path) -> None:
    write(file, [question(i) for i in range(MAX_LABELS + 1)])
    (problem,) = problems_of(file, metric="choice")
    assert problem.startswith("metric 'choice' needs at most 50 different answers, the file has 51")


def test_one_label_is_no_choice(file: Path) -> None:
    lines = [question(i, response="yes") for i in range(6)]
    assert problems_of(write(file, lines), metric="choice") == [
        "metric 'choice' needs at least 2 different answers, the file has 1 ('yes'): it "
        "would always be right"
    ]


def test_labels_that_count_as_the_same(file: Path) -> None:
    """Labels that differ in case or normal form would count as right for each other."""
    labels = ["yes", "no", "Yes", "no", "cafe\u0301", "café"]
    lines = [question(i, response=label) for i, label in enumerate(labels)]
    assert problems_of(write(file, lines), metric="choice") == [
        "answers that count as the same: 'Yes' (line 3) and 'yes' (line 1); 'cafe\u0301' (line 5) "
        "and 'café' (line 6); spell them the same"
    ]


def test_labels_are_short(file: Path) -> None:
    answers = ["yes", "no", "x" * LONGEST_LABEL, "y" * 5000, "z" * 5000]
    write(file, [question(i, response=text) for i, text in enumerate(answers)])
    (problem,) = problems_of(file, metric="choice")
    cut = f"{'y' * 18}...{'y' * 19}"
    assert problem == (
        "lines 4, 5: the answer is no label for metric 'choice': it has more than 1,000 characters "
        f"(line 4: {cut!r}); give each line a short label as 'answer', or use metric 'exact_match'"
    )
