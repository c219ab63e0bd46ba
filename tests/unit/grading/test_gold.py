"""Gold answers: exactly one plain number, or refused with the reason."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.grading.gold import is_ambiguous, read_gold
from sft_tradeoff.grading.numbers import last_number


@pytest.mark.parametrize(
    ("text", "value", "n_decimals"),
    [
        ("7", 7, 0),
        ("-7.50", Fraction(-15, 2), 2),
        ("1,000 m", 1000, 0),
        ("$1,050.", 1050, 0),
        ("12 apples", 12, 0),
        ("12cm", 12, 0),
        ("95%", 95, 0),
        ("3/4", Fraction(3, 4), 0),
        ("1 1/2 cups", Fraction(3, 2), 0),
        (r"$\frac{3}{4}$", Fraction(3, 4), 0),
        (r"\boxed{72}", 72, 0),
        (r"2\text{ cm}", 2, 0),
        ("#### 72", 72, 0),
        ("**42**", 42, 0),
        ("The answer is 42.", 42, 0),
        ("x = -4", -4, 0),
        ("70{,}000", 70000, 0),
        ("1.234,56", Fraction(123456, 100), 2),
        ("1.5e-3", Fraction(3, 2000), 4),
        ("1.5e3", 1500, 0),
        (r"3 \times 10^4", 30000, 0),
        ("1990", 1990, 0),
        ("5 km/h", 5, 0),
        ("36 sq. inches", 36, 0),
        ("-3 °C", -3, 0),
    ],
)
def test_one_plain_number(text: str, value: int | Fraction, n_decimals: int) -> None:
    assert read_gold(text)[:2] == (value, n_decimals)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("five", "is not a number"),
        ("", "is not a number"),
        ("FIB", "is not a number"),
        *[
            (text, "has several numbers")
            for text in ("3-4", "1 and 2", "10 km 5 m", "1,2,3", "3; 4")
        ],
        *[
            (text, "has digits that are not one number")
            for text in (
                "5:30",
                "2024-01-05",
                "01/05/2024",
                "0x10",
                "1.2.3",
                "2^10",
                "5/0",
                "1e999",
            )
        ],
        *[
            (text, "has other digits next to the number")
            for text in ("60 mL/min/1.73 m²", "5 kg/m^2", "CO2: 5", "1h30", "5 on 2024-01-05")
        ],
        *[(text, "may be several numbers") for text in ("(3,4)", "[1,5]", r"\{0,1\}")],
        ("5 million", "has 'million' next to the number, which may change its value"),
        ("5k", "has 'k' next to"),
        ("7 M", "has 'M' next to"),
        ("3x", "has 'x' next to"),
        (r"2\pi", r"has '\\pi' next to"),
        (r"\sqrt{2}", r"has '\\sqrt' next to"),
        ("√2", "has '√' next to"),
        ("minus 5", "has 'minus' next to"),
        ("about 5", "has 'about' next to"),
        ("~5", "has '~' next to"),
        ("<5", "has '<' next to"),
        ("5+", "has '+' next to"),
        ("5!", "has '!' next to"),
        ("March 5", "has 'March' next to"),
        ("5 p.m.", "has 'pm' next to"),
        ("12.30 Uhr", "has 'Uhr' next to"),
        ("5 or six", "has 'a number word' next to"),
        ("half of 6", "has 'half' next to"),
    ],
)
def test_everything_else_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        read_gold(text)
    assert str(error.value).startswith(reason)


@given(st.text() | st.text("0123456789.,:/-+eE^x {}$'_½²\\frac"))
def test_what_is_accepted_reads_the_same_in_a_response(text: str) -> None:
    try:
        gold = read_gold(text)
    except ValueError:
        return
    assert last_number(text) == gold.value


@pytest.mark.parametrize(
    ("text", "ambiguous"),
    [
        ("1.234", True),
        ("1,234 kg", True),
        ("12.345.678", False),
        ("1.234,5", False),
        ("0.123", False),
        ("12.34", False),
        ("1234.567", False),
    ],
)
def test_spellings_that_languages_read_differently(text: str, ambiguous: bool) -> None:
    assert is_ambiguous(text) is ambiguous
