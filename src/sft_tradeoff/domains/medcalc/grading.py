"""MedCalc-Bench's grading rule, for text that a model wrote.

The rule (by output type): dates are equal after parsing; (weeks, days) pairs are equal; an
integer equals the rounded prediction; a decimal lies within the record's limits, which are ±5 %
of the truth. The answer is read from the last ``Final answer:`` line; without one, it is the last
number, date or gestational age of the text.

Where the benchmark's own script is unclear or differs:

* Text is never evaluated, so ``str(2*3)`` holds the number 3 and not 6.
* In "3 out of 5" and "3/5" the 3 counts (the script takes the 5 of "3/5").
* "12 %" is 12: the questions ask for percentages, the script would divide by 100.
* For integers, a list such as "1, 3, 4" is a list of criteria that are met, and counts as 3.
* Digits in a unit or a name (kg/m^2, "per 1.73 m²", FIB-4) are not answers; a body surface of
  "1.73 m²" is.
* In "7 points (age 1, bp 2, 4)" the 7 counts: the numbers in parentheses add up to it.
* "21 weeks" is 21 weeks and 0 days, "21 3/7 weeks" is 21 weeks and 3 days.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from sft_tradeoff.domains.base import Score
from sft_tradeoff.grading.numbers import last_number
from sft_tradeoff.grading.text import final_answer

TOLERANCE = 0.05
_ANSWER_FORMATS = {
    "integer": "<whole number>",
    "decimal": "<number>",
    "date": "<MM/DD/YYYY>",
    "weeks_days": "<number> weeks, <number> days",
}
_INSTRUCTIONS = {
    "cot": 'Explain the calculation, then end with the line "Final answer: {}".',
    "label_only": 'Reply with one line only: "Final answer: {}".',
}
DATE_FORMAT = "%m/%d/%Y"
_DATE = re.compile(
    r"(?<![\d/-])(?:\d{1,2}[/-]\d{1,2}[/-]\d{4}|\d{4}-\d{2}-\d{2})(?![\d/-])"
    r"|\b[A-Za-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}\b"
    r"|\b\d{1,2}(?:st|nd|rd|th)? [A-Za-z]{3,9}\.?,? \d{4}\b"
)
_DATE_FORMATS = (
    DATE_FORMAT,
    "%m-%d-%Y",
    "%Y-%m-%d",
    "%B %d %Y",
    "%b %d %Y",
    "%d %B %Y",
    "%d %b %Y",
)
_WEEKS_DAYS = re.compile(
    r"(?<![\d.])(?P<weeks>\d{1,3}) ?(?:weeks?|wks?|w)(?![a-z])"
    r"(?:[ ,+'\"]*(?:and )?['\"]?(?P<days>\d{1,3}) ?(?:days?|d)\b)?"
    r"|(?<![\d.])(?P<weeks_only>\d{1,3}) ?[,+] ?(?P<days_only>\d)(?![\d.])",
    re.IGNORECASE,
)
_SEVENTHS = re.compile(
    r"(?<![\d./])(\d{1,3})(?: ?[+-] ?| (?:and )?)([0-6])/7 ?(?:weeks?|wks?|w)(?![a-z])",
    re.IGNORECASE,
)
_LIST = re.compile(r"\D*\d{1,2}(?:(?:, ?(?:and )?| and )\d{1,2})+\D*")
_DENOMINATOR = re.compile(r"(?:/|\b(?:out of|per)) ?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?", re.IGNORECASE)
# A number by itself, at most one word or unit, and parentheses.
_EXPLAINED = re.compile(r"((?<![\w.^\-])[-+]?\d+(?:\.\d+)?(?: ?[^\s\d()]+)?) ?\(([^()]*)\)")


def question_text(note: str, question: str, variant: str, output_type: str) -> str:
    """Return an example's prompt: note, question and answer format."""
    form = _INSTRUCTIONS[variant].format(_ANSWER_FORMATS[output_type])
    return f"Patient note: {note}\n\nQuestion: {question}\n\n{form}"


def limits(truth: float) -> tuple[float, float]:
    """The accepted interval of a decimal answer, ±5 %; the lower limit comes first for any sign.

    Rounded to five decimals as in the benchmark, so that 0.38 is within 5 % of 0.4.
    """
    low, high = sorted((truth * (1 - TOLERANCE), truth * (1 + TOLERANCE)))
    return round(low, 5), round(high, 5)


def score(record: Mapping[str, Any], generation: str) -> Score:
    """Grade one generation against one record.

    Args:
        record: Has ``answer`` in canonical form, and ``meta`` with ``output_type`` and, for
            decimals, ``lower_limit`` and ``upper_limit`` (numbers or their text).
        generation: What the model wrote.
    """
    read, equal = _RULES[record["meta"]["output_type"]]
    stated = final_answer(generation)
    parsed = read(generation if stated is None else stated)
    return Score(parsed is not None and equal(parsed, record), parsed)


def _read_decimal(text: str) -> str | None:
    number = last_number(_EXPLAINED.sub(_without_parts, _DENOMINATOR.sub("", text)))
    return None if number is None else f"{float(number):.10g}"


def _without_parts(explained: re.Match[str]) -> str:
    """Drop parentheses that list two or more numbers; an equation in them may be the answer."""
    number, inside = explained.groups()
    listed = [part for part in re.split(r",(?!\d{3})|[;+]", inside) if re.search(r"\d", part)]
    return number if len(listed) > 1 and "=" not in inside else explained[0]


def _read_integer(text: str) -> str | None:
    if _LIST.fullmatch(text):
        return str(len(re.findall(r"\d+", text)))
    return _read_decimal(text)


def _read_date(text: str) -> str | None:
    for written in reversed(_DATE.findall(text)):
        if (parsed := _parse_date(written)) is not None:
            return parsed.strftime(DATE_FORMAT)
    return None


def _parse_date(written: str) -> date | None:
    plain = re.sub(r"(?<=\d)(?:st|nd|rd|th)|[.,]", "", written)
    for layout in _DATE_FORMATS:
        try:
            return datetime.strptime(plain, layout).date()
        except ValueError:
            continue
    return None


def _read_weeks_days(text: str) -> str | None:
    text = _SEVENTHS.sub(r"\1 weeks, \2 days", text)
    matches = list(_WEEKS_DAYS.finditer(text))
    if not matches:
        return None
    found = matches[-1].groupdict()
    weeks, days = found["weeks"] or found["weeks_only"], found["days"] or found["days_only"]
    return f"{int(weeks)} weeks, {int(days or 0)} days"


def _within_limits(parsed: str, record: Mapping[str, Any]) -> bool:
    meta = record["meta"]
    return float(meta["lower_limit"]) <= float(parsed) <= float(meta["upper_limit"])


def _rounds_to_truth(parsed: str, record: Mapping[str, Any]) -> bool:
    return round(float(parsed)) == round(float(record["answer"]))


def _same_date(parsed: str, record: Mapping[str, Any]) -> bool:
    return parsed == _read_date(record["answer"])


def _same_pair(parsed: str, record: Mapping[str, Any]) -> bool:
    return parsed == _read_weeks_days(record["answer"])


_RULES: Mapping[
    str, tuple[Callable[[str], str | None], Callable[[str, Mapping[str, Any]], bool]]
] = {
    "decimal": (_read_decimal, _within_limits),
    "integer": (_read_integer, _rounds_to_truth),
    "date": (_read_date, _same_date),
    "weeks_days": (_read_weeks_days, _same_pair),
}
