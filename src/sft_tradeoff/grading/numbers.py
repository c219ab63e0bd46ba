r"""Read numbers in text exactly, for every domain and benchmark. Text is never evaluated.

These are read: ``3/4``, ``1 1/2``, ``\frac{3}{4}``, ``½``; ``1e3``, ``3 × 10^4``, ``10^{-3}``; and
thousands separated as in 1,234, 1 234, 1'234, 1_234, 12,34,567 and 1.234.567, with a decimal point
or comma. Currency, percent signs (50 % is 50), units and ordinal endings are ignored.

Two spellings are ambiguous. ``1,234`` is 1234: a comma before three digits separates thousands if
one to three digits, the first not zero, precede it; any other single comma is a decimal comma. A
single point is always a decimal point: ``1.234`` is not 1234.

A hyphen between two numbers separates them. Dates, times, versions, hexadecimal numbers, powers of
bases other than ten, and digits that are part of a name (FIB-4, CO2, m^2, m^{2}) are not numbers.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

# Anything longer or larger is not an answer, and Python refuses to read thousands of digits.
_LONGEST = 400
_LONGEST_LIST = 10_000
_DIGITS = 308  # before the decimal mark, about

_LATEX = re.compile(
    r"""(?P<group>\{,\}|,\\!)                                       # 70{,}000 and 70,\!000
    |(?P<space>\\[,;:\ ])
    |\\(?P<symbol>[$%])
    |\\(?P<sign>times|cdot)(?![a-zA-Z])
    |(?P<degree>\^\{?\\circ\}?)
    |(?P<after>(?<=\d))?\\[dtc]?frac
      \ ?(?:\{\ ?(?P<minus>-?)(?P<n>\d+)\ ?\}|(?P<n1>\d))\ ?(?:\{\ ?(?P<d>\d+)\ ?\}|(?P<d1>\d))""",
    re.VERBOSE | re.ASCII,
)
# Characters with one meaning: hyphens and minus signs, spaces, apostrophes, marks of other scripts;
# and invisible direction marks, which in Arabic may separate the sign from the digits.
_ALIKE = str.maketrans(
    "−–‐‑﹣－\u00a0\u202f\u2009\u2007\u205f’ʼ⁄∕٫٬，．：％＄／⋅∙",
    "------     ''//.,,.:%$/··",
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴-⁹]+")
_FROM_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = re.compile(r"(?P<after>(?<=\d))?[¼-¾⅐-⅞]")

_EXPONENT = r"(?:\{ ?[-+]?\d+ ?\}|\( ?[-+]?\d+ ?\)|[-+]?\d+)"
_TEN = rf"10 ?(?:\^|\*\*) ?{_EXPONENT}".replace(" ", "[ ]")
_TIMES_TEN = rf"[ ]?[x×*·][ ]?{_TEN}"
# Everything joined to the digits, so that no part of a date or list is read by itself.
_RUN = re.compile(
    rf"""(?<![\w^/])(?<![\w^/][-.])(?<!\.)(?<![\^_]\{{)(?<![\^_]\{{[-+])
    (?P<sign>(?<![)\]\-])[-+])?
    (?:[$€£¥₹]\ ?(?P<late_sign>[-+])?)?
    (?P<run>(?:{_TEN}|\d+|\.\d+)
      (?:[.,:/'_-]\d+|\ \d{{3}}(?!\d)|\ \d+/\d+|[eE][-+]?\d+|{_TIMES_TEN})*)""",
    re.VERBOSE | re.ASCII,
)
_POINT = (
    r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?"
    r"|[1-9]\d{0,2}(?P<mark>[ '_])\d{3}(?:(?P=mark)\d{3})*(?:\.\d+)?|\d*\.\d+|\d+"
)
_COMMA = (
    r"[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?|[1-9]\d{0,2}(?:\.\d{3})+,\d+"
    r"|[1-9]\d{0,2}(?P<mark_2>[ '_])\d{3}(?:(?P=mark_2)\d{3})*,\d+|\d+,\d+"
)
_NUMBER = re.compile(
    rf"(?:{_TEN}|(?:(?P<whole>\d+) (?=\d+/))?(?:(?P<point>{_POINT})|(?P<comma>{_COMMA}))"
    rf"(?:/(?P<denominator>\d+(?:\.\d+)?)|[eE][-+]?\d+|{_TIMES_TEN})?)",
    re.ASCII,
)
_WITHOUT_MARKS = str.maketrans("", "", ",' _")
_POWER = re.compile(r"(?:[eE]|\^ ?|\*\* ?)[({]? ?(?P<exponent>[-+]?\d+) ?[)}]?$", re.ASCII)
_HEXADECIMAL = re.compile(r"[xX][0-9a-fA-F]", re.ASCII)
_UNIT_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS, _TENS = _UNIT_WORDS.split(), _TENS_WORDS.split()
_WORD_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_WORD = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<digit>{'|'.join(_UNITS[1:10])}))?"
    rf"|(?P<unit>{'|'.join(sorted(_UNITS, key=len, reverse=True))}))\b",
    re.IGNORECASE,
)


class Number(NamedTuple):
    """A number as written.

    Args:
        value: Its exact value.
        n_decimals: Digits after the decimal mark: 2 in ``3.50``, 4 in ``1.5e-3``.
        has_decimal_comma: Whether that mark is a comma.
    """

    value: Fraction
    n_decimals: int = 0
    has_decimal_comma: bool = False


class Run(NamedTuple):
    """Digits with everything joined to them.

    Args:
        start: Index in :func:`plain_text` where it starts, sign and currency included.
        end: Index where it ends.
        numbers: The numbers in it: one, several (``3-4``), or none (a date).
    """

    start: int
    end: int
    numbers: list[Number]


def plain_text(text: str) -> str:
    """Replace LaTeX and the marks of other scripts by plain characters."""
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda m: f"^{m[0].translate(_FROM_SUPERSCRIPT)}", text)
        text = _VULGAR.sub(_write_vulgar, text).translate(_ALIKE)
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return _LATEX.sub(_write_plainly, text) if "\\" in text or "{,}" in text else text


def _write_vulgar(match: re.Match[str]) -> str:
    value = Fraction(unicodedata.numeric(match[0])).limit_denominator(10)
    return f"{' ' * (match['after'] is not None)}{value.numerator}/{value.denominator}"


def _write_plainly(match: re.Match[str]) -> str:
    for name, plain in (("group", ","), ("space", " "), ("degree", "°")):
        if match[name]:
            return plain
    if match["symbol"] or match["sign"]:
        return match["symbol"] or "×"
    fraction = f"{match['n'] or match['n1']}/{match['d'] or match['d1']}"
    return f"{' ' * (match['after'] is not None)}{match['minus'] or ''}{fraction}"


def find_runs(plain: str) -> Iterator[Run]:
    """Yield everything in a :func:`plain_text` that starts like a number."""
    for match in _RUN.finditer(plain):
        yield Run(match.start(), match.end(), _numbers(match))


def _numbers(match: re.Match[str]) -> list[Number]:
    numbers = [] if _is_other(match["run"], match.string, match.end()) else _read(match["run"])
    if numbers and "-" in (match["sign"], match["late_sign"]):
        numbers[0] = numbers[0]._replace(value=-numbers[0].value)
    return numbers


def _is_other(run: str, text: str, end: int) -> bool:
    """Whether the following text makes it a power, a quotient or a hexadecimal number."""
    return text.startswith(("^", "/-"), end) or (
        run == "0" and _HEXADECIMAL.match(text, end) is not None
    )


def _read(run: str) -> list[Number]:
    """The numbers of a run: the whole run is one, or its parts are."""
    if run.isdecimal() and len(run) <= _DIGITS:
        return [Number(Fraction(int(run)))]
    if len(run) <= _LONGEST and (match := _NUMBER.fullmatch(run)):
        number = _number(match)
        return [number] if number else []
    for mark in "- ," if len(run) <= _LONGEST_LIST else "":
        if mark in run:
            parts = run.split(mark)
            if mark == "-" and len(parts) > 2:  # a date or a telephone number
                return []
            return [number for part in parts for number in _read(part)]
    return []


def _number(match: re.Match[str]) -> Number | None:
    power = None if match[0].isdecimal() else _POWER.search(match[0])
    exponent = int(power["exponent"]) if power else 0
    if abs(exponent) > _LONGEST:
        return None
    digits = (match["point"] or "1").translate(_WITHOUT_MARKS)
    if match["comma"]:
        digits = match["comma"].replace(".", "").replace(",", ".").translate(_WITHOUT_MARKS)
    value = Fraction(int(digits)) if digits.isdecimal() else Fraction(digits)
    value = value * Fraction(10) ** exponent if exponent else value
    if match["denominator"]:
        if not (denominator := Fraction(match["denominator"])):
            return None
        value = value / denominator + int(match["whole"] or 0)
        return Number(value)
    if (exponent or len(digits) > _DIGITS) and value > 10**_DIGITS:
        return None
    n_decimals = max(0, len(digits.partition(".")[2]) - exponent)
    return Number(value, n_decimals, "," in (match["comma"] or ""))


def find_numbers(text: str) -> list[Fraction]:
    """Return the numbers written in digits, in order."""
    return [number.value for run in find_runs(plain_text(text)) for number in run.numbers]


def last_number(text: str) -> Fraction | None:
    """Return the last number of an answer: after reasoning, the result comes last."""
    for match in reversed(list(_RUN.finditer(plain_text(text)))):
        if numbers := _numbers(match):
            return numbers[-1].value
    return None


def first_number(text: str) -> Fraction | None:
    """Return the number in the first word with digits; of an equation, its result."""
    plain = plain_text(text)
    digit = re.search(r"\d", plain)
    end = re.compile(r"\s|$").search(plain, digit.start()) if digit else None
    if end is None:
        return None
    word = itertools.takewhile(lambda run: run.start < end.start(), find_runs(plain))
    numbers = [number for run in word for number in run.numbers]
    return numbers[-1].value if numbers else None


def agrees(found: Fraction, gold: Number, tolerance: float = 0) -> bool:
    """Whether a number is right to the digits of the gold answer.

    It must be equal or, if the gold answer has decimals, differ by at most half a unit in the last
    place: for 3.14, 3.14159 is right and 3.1 is not.

    Args:
        found: The number to grade.
        gold: The gold answer.
        tolerance: Relative tolerance; a number within it is right too.
    """
    if found == gold.value:
        return True
    rounding = Fraction(1, 2 * 10**gold.n_decimals) if gold.n_decimals else Fraction(0)
    allowed = max(rounding, Fraction(str(tolerance)) * abs(gold.value))
    return abs(found - gold.value) <= allowed


def find_number_words(text: str) -> list[Fraction]:
    """Return the numbers written as words, up to ninety-nine, in order."""
    return [
        Fraction(sum(_WORD_VALUES[w.lower()] for w in match.groups() if w))
        for match in _WORD.finditer(text)
    ]


def format_float(value: Fraction) -> str:
    """Write a number in up to 15 significant digits, which every float keeps."""
    return f"{float(value):.15g}"


def format_number(value: Fraction, n_decimals: int) -> str:
    """Write a number with exactly ``n_decimals`` decimals, which it must not exceed."""
    scaled = value * 10**n_decimals
    if scaled.denominator != 1:
        raise ValueError(f"{value} has more than {n_decimals} decimals")
    digits = f"{abs(scaled.numerator):0{n_decimals + 1}d}"
    point = len(digits) - n_decimals
    return "-" * (value < 0) + digits[:point] + ("." + digits[point:]) * bool(n_decimals)
