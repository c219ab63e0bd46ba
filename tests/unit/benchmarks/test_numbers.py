"""Numbers read from answers: exact, without evaluating anything."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.benchmarks.numbers import (
    find_number_words,
    find_numbers,
    format_number,
    last_number,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        (" 9 apples", 9),
        ("9.", 9),
        ("1,234 books", 1234),
        ("1,234,567.5", Fraction(12345675, 10)),
        ("$3.50", Fraction(7, 2)),
        ("$1,050.", 1050),
        ("-5", -5),
        ("It is −5 degrees", -5),  # the minus sign of typography
        ("-$3.50", Fraction(-7, 2)),
        ("$-3.50", Fraction(-7, 2)),
        ("1/2", Fraction(1, 2)),
        ("1 1/2 cups", Fraction(3, 2)),
        (".5 miles", Fraction(1, 2)),
        ("50%", 50),
        ("12cm", 12),
        ("the 60th caller", 60),
        ("7 + 2 = 9 apples", 9),
        ("14 - 5", 5),  # a difference, not minus five
        ("14-5", 5),
        ("f(3)-4", 4),
        ("3, 4, 5", 5),
        ("3,4,5", 5),
        ("x=5", 5),
        ("#### 72\n", 72),
        ("He has 15. He gives 6 away.\nThe answer is 9 pears.", 9),
        ("3.5.2", Fraction(7, 2)),  # a version: what begins like a number
        ("5/0", 5),
        ("1,0000", 0),  # no thousands: 1, then 0000
        ("007", 7),
    ],
)
def test_last_number(text: str, number: int | Fraction) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize("text", ["", "\n", "nine apples", "H2O", "a.b", "$", "-", "a1b"])
def test_no_number(text: str) -> None:
    assert last_number(text) is None


def test_all_numbers_in_order() -> None:
    text = "She pays $1,200 for 3 1/2 hours and -4 more, or 0.25 of 8."
    assert find_numbers(text) == [1200, Fraction(7, 2), -4, Fraction(1, 4), 8]


def test_endless_digits_are_no_crash() -> None:
    """Python refuses to read integers of more than 4,300 digits."""
    assert last_number("9" * 100_000) is not None
    assert last_number("1/" + "9" * 100_000) is not None


@given(
    value=st.fractions(max_denominator=1).map(abs) | st.integers(0, 10**9).map(Fraction),
    n_decimals=st.integers(0, 4),
)
def test_what_is_written_is_read(value: Fraction, n_decimals: int) -> None:
    number = value / 10**n_decimals
    text = format_number(number, n_decimals)
    assert last_number(f"about {text} apples") == number
    assert len(text.partition(".")[2]) == n_decimals


@pytest.mark.parametrize(
    ("value", "n_decimals", "text"),
    [
        (Fraction(9), 0, "9"),
        (Fraction(9), 2, "9.00"),
        (Fraction(1, 20), 2, "0.05"),
        (Fraction(-7, 2), 1, "-3.5"),
        (Fraction(1200), 0, "1200"),
    ],
)
def test_written_numbers(value: Fraction, n_decimals: int, text: str) -> None:
    assert format_number(value, n_decimals) == text


def test_numbers_are_not_rounded() -> None:
    with pytest.raises(ValueError, match="more than 1 decimals"):
        format_number(Fraction(1, 4), 1)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Seven red and two green", [7, 2]),
        ("thirty-six problems, twenty eight more", [36, 28]),
        ("Twenty ducks, sixteen geese", [20, 16]),
        ("someone often weighs a ton", []),  # words that contain one, ten, eigh
    ],
)
def test_number_words(text: str, numbers: list[int]) -> None:
    assert find_number_words(text) == numbers
