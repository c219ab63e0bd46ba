"""Numbers in text: read exactly, without ever evaluating it, and written alike."""

from __future__ import annotations

import re
from fractions import Fraction

# A sign counts only where nothing ends before it: "9-4" has two positive numbers.
_NUMBER = re.compile(
    r"""(?<![\w./])(?P<sign>(?<!\))[-\u2212])?
    (?:\$\s?(?P<late_sign>[-\u2212])?)?
    (?:(?P<whole>\d+)\s(?=\d+/0*[1-9]))?
    (?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
    (?:/(?P<denominator>0*[1-9]\d*))?""",
    re.VERBOSE | re.ASCII,
)
# fmt: off
_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on
_WORD_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_WORD = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<digit>{'|'.join(_UNITS[1:10])}))?"
    rf"|(?P<unit>{'|'.join(sorted(_UNITS, key=len, reverse=True))}))\b",
    re.IGNORECASE,
)
# Python refuses to read integers of thousands of digits, and no answer is that far from its end.
_TAIL = 1000


def find_numbers(text: str) -> list[Fraction]:
    """Return the numbers written in digits, in order: ``-$1,234.50``, ``3/4``, ``1 1/2``, ``.5``.

    Units, percent signs and ordinal endings are passed over.
    """
    return [_value(match) for match in _NUMBER.finditer(text[-_TAIL:])]


def _value(match: re.Match[str]) -> Fraction:
    value = Fraction(match["number"].replace(",", ""))
    if match["denominator"]:
        value /= int(match["denominator"])
    value += int(match["whole"] or 0)
    return -value if match["sign"] or match["late_sign"] else value


def last_number(text: str) -> Fraction | None:
    """Return the last number of an answer: after reasoning, the result stands at the end."""
    numbers = find_numbers(text)
    return numbers[-1] if numbers else None


def find_number_words(text: str) -> list[Fraction]:
    """Return the numbers written in words up to ninety-nine, in order."""
    return [
        Fraction(sum(_WORD_VALUES[w.lower()] for w in match.groups() if w))
        for match in _WORD.finditer(text)
    ]


def format_number(value: Fraction, n_decimals: int) -> str:
    """Write a number with exactly ``n_decimals`` decimals, which it must not exceed."""
    scaled = value * 10**n_decimals
    if scaled.denominator != 1:
        raise ValueError(f"{value} has more than {n_decimals} decimals")
    digits = f"{abs(scaled.numerator):0{n_decimals + 1}d}"
    point = len(digits) - n_decimals
    return "-" * (value < 0) + digits[:point] + ("." + digits[point:]) * bool(n_decimals)
