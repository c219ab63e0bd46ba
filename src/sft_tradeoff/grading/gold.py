"""Gold answers that must be exactly one plain number; anything else is refused, not guessed."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from sft_tradeoff.grading.numbers import Number, find_number_words, find_runs, plain_text

# Words next to a number that change its value, or make it a time, a date or a bound.
_CHANGING_TEXT = """
minus negative plus squared cubed half halves third thirds quarter quarters dozen dozens
hundred hundreds thousand thousands million millions billion billions trillion trillions lakh lakhs
crore crores mio mrd mn bn tn tsd tausend millionen milliarden mille
than least most over under above below about approximately approx around roughly
nearly almost circa ca up
pi sqrt root log ln exp sin cos tan infinity
am pm oclock uhr
january february march april may june july august september october november december
jan feb mar apr jun jul aug sep sept oct nov dec
monday tuesday wednesday thursday friday saturday sunday
"""
_CHANGING = frozenset(_CHANGING_TEXT.split())
_SYMBOLS = frozenset("%‰$€£¥₹₽₩₺₫฿°")
_OPENING = ("(", "[", "{")
_UNIT_LETTERS = frozenset("mgshdlLtVAWNJCF")  # others are variables (3x) or multiples (5k)
_CHANGING_SYMBOLS = re.compile(r"[+<>±≈~^√∞π×÷≤≥!?|…]|-(?!\w)|(?<!\w)-|/(?!\s?[^\W\d])")
_DIGIT, _COMMAND = re.compile(r"\d"), re.compile(r"\\[a-zA-Z]+")
_SHORT = 100  # characters
_LATEX_COMMAND = re.compile(
    r"\\(?!(?:boxed|fbox|text|textbf|mathrm|mathbf|left|right|displaystyle)(?![a-zA-Z]))[a-zA-Z]+"
)


def read_gold(text: str) -> Number:
    """Read a gold answer: one number, with or without currency, percent sign, unit or words.

    Raises:
        ValueError: With the reason why it is not exactly one plain number.
    """
    return _read(text)[0]


def around_gold(text: str) -> str:
    """Letters and symbols around the number of a gold answer, such as its unit.

    Raises:
        ValueError: As :func:`read_gold`.
    """
    _, before, after = _read(text)
    around = _COMMAND.sub("", f"{before} {after}").casefold()
    if before.endswith("(") and not before.endswith("\\("):
        around += "negative"  # as accountants write it
    plain = plain_text(text)
    is_math = plain.count("$") % 2 == 0  # $5$, not $5
    signs = [c for c in plain if c in _SYMBOLS and not (c == "$" and is_math)]
    return "".join([c for c in around if c.isalpha()] + signs)


@functools.lru_cache(maxsize=1 << 12)
def _read(text: str) -> tuple[Number, str, str]:
    """A number, and what stands before and after it."""
    if text.isdecimal() and text.isascii() and len(text) < _SHORT:
        return Number(Fraction(int(text))), "", ""
    plain = plain_text(text)
    runs = list(find_runs(plain))
    numbers = [number for run in runs for number in run.numbers]
    if len(numbers) > 1:
        raise ValueError("has several numbers")
    if not numbers:
        raise ValueError("has digits that are not one number" if runs else "is not a number")
    run = next(run for run in runs if run.numbers)
    before, after = plain[: run.start], plain[run.end :]
    if _DIGIT.search(before) or _DIGIT.search(after):
        raise ValueError("has other digits next to the number")
    if numbers[0].has_decimal_comma and before.endswith(_OPENING):
        raise ValueError("may be several numbers, with a comma between them")
    if change := _change(before, after):
        raise ValueError(f"has {change[:_SHORT]!r} next to the number, which may change its value")
    return numbers[0], before, after


def is_ambiguous(text: str) -> bool:
    """Whether a gold answer looks like 1.234 or 1,234, whose mark has two meanings."""
    return (
        re.search(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,]\d)(?!\d)", plain_text(text))
        is not None
    )


@functools.lru_cache(maxsize=1 << 8)
def _change(before: str, after: str) -> str | None:
    """Return what next to a number may change its value; None if nothing does."""
    around = f"{before.rstrip()} {after.lstrip()}"
    if found := _LATEX_COMMAND.search(around) or _CHANGING_SYMBOLS.search(around):
        return found[0]
    words = re.findall(r"[^\W\d_]+", around.replace("'", "").replace(".", ""))
    changing = next((word for word in words if word.casefold() in _CHANGING), None)
    letter = re.match(r"\s?([^\W\d_])(?![^\W\d_])", after)
    if changing is None and letter and letter[1] not in _UNIT_LETTERS:
        return letter[1]
    if changing is None and find_number_words(around):
        return "a number word"
    return changing
