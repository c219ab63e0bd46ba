"""Numbers read from text: exact in every spelling, without evaluating anything."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.grading.numbers import (
    Number,
    agrees,
    find_number_words,
    find_numbers,
    first_number,
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
        (",".join(map(str, range(1, 2000))), 1999),
        ("x=5", 5),
        ("#### 72\n", 72),
        ("He has 15. He gives 6 away.\nThe answer is 9 pears.", 9),
        ("1,0000", 1),  # no thousands, so a decimal comma
        ("007", 7),
        ("4/2.0", 2),
        ("about 3-4", 4),
        ("9-4", 4),
        ("5)-3", 3),
        ("1--5", 5),
        ("+.5e-3", Fraction(1, 2000)),
        ("12,345.6 g", Fraction(123456, 10)),
        ("ends with 7.", 7),
        ("1.73m2", Fraction(173, 100)),
        ("7 on 2024-01-05 at 5:30", 7),
        (r"\boxed{72}", 72),
        (r"$\frac{3}{4}$", Fraction(3, 4)),
        (r"\dfrac34", Fraction(3, 4)),
        (r"\frac 34 \frac 3 4", Fraction(3, 4)),
        (r"\frac{270}7", Fraction(270, 7)),
        (r"\frac9{19}", Fraction(9, 19)),
        ("\u2067٣\u2069 \u200f", Fraction(3)),
        ("\u202b-\u200e3\u202c", Fraction(-3)),
        (r"-\tfrac{ 3 }{4}", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        ("1½", Fraction(3, 2)),
        ("⅔", Fraction(2, 3)),
        ("70{,}000", 70000),
        (r"10,\!000", 10000),
        (r"10\,000", 10000),
        ("1.234,56", Fraction(123456, 100)),
        ("12,5", Fraction(25, 2)),
        ("0,123", Fraction(123, 1000)),
        ("1,234", 1234),
        ("1.234", Fraction(1234, 1000)),
        ("1.234.567", 1234567),
        ("12,34,567", 1234567),  # India
        ("1e3", 1000),
        ("1.5E-3", Fraction(3, 2000)),
        ("3 × 10^4", 30000),
        (r"3 \times 10^{4}", 30000),
        (r"-3\cdot10^{-4}", Fraction(-3, 10000)),
        ("2.5*10**(3)", 2500),
        ("3x10⁴", 30000),
        ("10^-3", Fraction(1, 1000)),
        ("10⁻³", Fraction(1, 1000)),
        ("45^\\circ", 45),
        ("-$1,234.50", Fraction(-123450, 100)),
        ("$-5$", -5),
        ("€ 5", 5),
        ("5 €", 5),
        (r"\$5", 5),
        ("٣٤٫٥", Fraction(69, 2)),
        ("１２", 12),
    ],
)
def test_last_number(text: str, number: int | Fraction) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "nine apples", "H2O", "a.b", "$", "-", "a1b", "1e999", "5/0", "nan", "inf"),
        *(
            "FIB-4",
            "m^2",
            "m²",
            "m^{2}",
            "e^{-2}",
            "2^{10}",
            "x_{1}",
            "CO2",
            "x_1",
            "mL/min/1.73",
            "3.5.2",
            "2024-01-05",
            "01/05/2024",
        ),
        *("5:30", "3:4", "555-123-4567", "0x10", "2^10", "10/-2", "5'10"),
    ],
)
def test_no_number(text: str) -> None:
    assert last_number(text) is None


def test_all_numbers_in_order() -> None:
    text = "She pays $1,200 for 3 1/2 hours and -4 more, or 0.25 of 8."
    assert find_numbers(text) == [1200, Fraction(7, 2), -4, Fraction(1, 4), 8]


def test_very_long_numbers_do_not_crash() -> None:
    """Python refuses to read integers of more than 4,300 digits, and no answer has as many."""
    assert last_number("9" * 100_000) is None
    assert last_number("1/" + "9" * 100_000) is None
    assert last_number("1e" + "9" * 100_000) is None
    assert last_number("7, not " + "9" * 100_000) == 7


HOSTILE = [
    "1, ",
    "1,",
    "1 ",
    "1-",
    "1 (1 ",
    "1e",
    "111,",
    "1/",
    "1 1/2 ",
    "1 234 ",
    "1.",
    ".1",
    "-",
    "$ ",
    "9",
    "10^",
    "10^{ ",
    "1 x 10^",
    "\\frac{",
    "\\frac{1}{",
    "\\,",
    "{,}",
    "½",
    "²",
    "٣",
    "1'",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_reading_takes_linear_time(unit: str) -> None:
    """100 times the text may take 1,000 times as long; quadratic time would be 10,000 times."""
    for read in (last_number, find_numbers, first_number):
        times = []
        for size in (1_000, 100_000):
            start = time.process_time()
            read(unit * (size // len(unit)))
            times.append(time.process_time() - start)
        assert times[1] < 1000 * max(times[0], 0.002)


@given(st.text() | st.text("0123456789.,:/-+eE^x×*(){} $'_½²\\frac"))
def test_any_text_can_be_read(text: str) -> None:
    numbers = find_numbers(text)
    assert last_number(text) == (numbers[-1] if numbers else None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12 eggs for 3 people", 12),
        (" 3+4=7 eggs, not 8", 7),
        ("1 234 eggs, not 8", 1234),
        ("3 × 10^4 eggs", 30000),
        ("so **18**", 18),
        ("CO2 and 5", None),
        ("none", None),
    ],
)
def test_first_number(text: str, number: int | None) -> None:
    assert first_number(text) == number


# --- every spelling ----------------------------------------------------------------------------

MARKS = {  # of thousands, and of decimals
    "1,234.5": (",", "."),
    "1.234,5": (".", ","),
    "1 234.5": (" ", "."),
    "1 234,5": (" ", ","),
    "no-break": ("\u00a0", ","),
    "narrow no-break": ("\u202f", ","),
    "thin": ("\u2009", "."),
    "1'234.5": ("'", "."),
    "1’234.5": ("’", "."),
    "1_234.5": ("_", "."),
    "1{,}234.5": ("{,}", "."),
    r"1\,234.5": (r"\,", "."),
    r"1,\!234.5": (r",\!", "."),
    "1234.5": ("", "."),
    "1234,5": ("", ","),
}


@pytest.mark.parametrize("spelling", MARKS)
@given(
    whole=st.integers(1000, 10**15),
    decimals=st.text("0123456789", max_size=6),
    sign=st.sampled_from(["", "-", "−", "+"]),
    around=st.sampled_from(
        ["{}", "It is {}.", "${}", "**{}**", "{} kg", "= {}", "x\n#### {}\n", "{}%"]
    ),
)
def test_thousands_and_decimals_in_every_spelling(
    spelling: str, whole: int, decimals: str, sign: str, around: str
) -> None:
    mark, point = MARKS[spelling]
    if mark == "." and not decimals:  # 1.234 alone is a decimal number: the stated rule
        whole += 10**6
    text = f"{whole:,}".replace(",", mark) + (point + decimals if decimals else "")
    expected = Fraction(f"{whole}.{decimals or 0}") * (-1 if sign in ("-", "−") else 1)
    assert last_number(around.format(sign + text)) == expected
    assert find_numbers(around.format(sign + text)) == [expected]


@given(
    mantissa=st.decimals(-1000, 1000, places=3),
    exponent=st.integers(-30, 30),
    spelling=st.sampled_from(
        [
            "{}e{}",
            "{}E{}",
            "{} × 10^{}",
            "{}x10^{{{}}}",
            r"{} \times 10^{{{}}}",
            "{}*10**{}",
            "{}·10^({})",
        ]
    ),
)
def test_powers_of_ten(mantissa: Decimal, exponent: int, spelling: str) -> None:
    text = spelling.format(f"{mantissa:f}", exponent)
    assert find_numbers(text) == [Fraction(mantissa) * Fraction(10) ** exponent]


@given(
    whole=st.integers(0, 999),
    n=st.integers(1, 999),
    d=st.integers(1, 999),
    spelling=st.sampled_from(["{}/{}", r"\frac{{{}}}{{{}}}", r"\dfrac{{{}}}{{{}}}", "{}⁄{}"]),
)
def test_fractions_and_mixed_numbers(whole: int, n: int, d: int, spelling: str) -> None:
    fraction = spelling.format(n, d)
    assert find_numbers(f"so {fraction} of it") == [Fraction(n, d)]
    assert find_numbers(f"so {whole} {fraction} of it") == [whole + Fraction(n, d)]
    assert find_numbers(f"so -{fraction}") == [-Fraction(n, d)]


# --- comparing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "found", "tolerance", "right"),
    [
        (Number(Fraction(1905)), "1990", 0, False),
        (Number(Fraction(72)), "72.0", 0, True),
        (Number(Fraction(72)), "72.4", 0, False),  # an integer has no decimals to round to
        (Number(Fraction("3.14"), 2), "3.14159", 0, True),
        (Number(Fraction("3.14"), 2), "3.135", 0, True),
        (Number(Fraction("3.14"), 2), "3.145", 0, True),
        (Number(Fraction("3.14"), 2), "3.1451", 0, False),
        (Number(Fraction("3.14"), 2), "3.1", 0, False),
        (Number(Fraction(1, 3)), "1/3", 0, True),
        (Number(Fraction(1, 3)), "0.333", 0, False),
        (Number(Fraction(1, 3)), "0.333", 0.01, True),
        (Number(Fraction("1.1"), 1), "1.155", 0.05, True),  # the edge itself, in exact arithmetic
        (Number(Fraction(-100)), "-105", 0.05, True),
        (Number(Fraction(-100)), "-105.01", 0.05, False),
        (Number(Fraction(0)), "0.0000000005", 0.05, False),
    ],
)
def test_right_to_the_digits_of_the_gold_answer(
    gold: Number, found: str, tolerance: float, right: bool
) -> None:
    assert agrees(Fraction(found), gold, tolerance) is right


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
