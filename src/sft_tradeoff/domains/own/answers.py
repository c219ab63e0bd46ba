"""Grade the answers of the user's own file, and check that the metric fits the file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sft_tradeoff.domains.base import Score
from sft_tradeoff.grading.equal_answers import EqualAnswers, find_equal_answers, quoted
from sft_tradeoff.grading.gold import around_gold, is_ambiguous, read_gold
from sft_tradeoff.grading.numbers import agrees, format_float, last_number
from sft_tradeoff.grading.text import composed, normalize

MAX_LABELS = 50
_TELL_APART = {
    "exact_match": "it ignores case and white space: spell them the same if they mean the same",
    "numeric": "it compares only the numbers: use one unit and the same number of decimals in all "
    "answers, and a smaller tolerance, or none",
    "choice": "it ignores case and white space: spell equal labels the same, and rename the others",
}
_PLAIN = (
    "metric 'numeric' needs exactly one plain number: put it into 'answer', or use metric "
    "'exact_match'"
)
_AMBIGUOUS = (
    "may have a thousands mark or a decimal mark, as line {} has a decimal comma; write thousands "
    "without a mark, and decimals with a point and a trailing zero"
)


# What must not precede a label; "Option-B" is B.
_BEFORE = {"number": r"(?<![-−–])", "word": r"(?<!\w[-‐‑])", "letter": ""}


class Answered(Protocol):
    """What the checks need from a line of the file."""

    @property
    def number(self) -> int:
        """Its line number."""

    @property
    def response(self) -> str:
        """The assistant's message."""

    @property
    def answer(self) -> str:
        """The gold answer."""


def score(record: Mapping[str, Any], generation: str) -> Score:
    """Grade one generation by the metric that the record's ``meta`` names.

    * ``exact_match``: the whole text equals the answer, up to case and white space.
    * ``numeric``: the last number of the text equals the answer, to the answer's digits (see
      :func:`sft_tradeoff.grading.numbers.agrees`) or within the relative tolerance.
    * ``choice``: the first label that occurs as a separate word is the answer.
    """
    meta = record["meta"]
    if meta["metric"] == "numeric":
        return _score_numeric(record["answer"], generation, meta["tolerance"])
    if meta["metric"] == "choice":
        label = _first_label(_spaced(generation), [_spaced(label) for label in meta["labels"]])
        right = label is not None and normalize(label) == normalize(record["answer"])
        return Score(right, label)
    parsed = normalize(generation)
    return Score(parsed == normalize(record["answer"]), parsed or None)


def _score_numeric(answer: str, generation: str, tolerance: float) -> Score:
    found = last_number(generation)
    if found is None:
        return Score(False, None)
    return Score(agrees(found, read_gold(answer), tolerance), format_float(found))


def _spaced(text: str) -> str:
    """A text with composed letters, and one space for any white space."""
    return " ".join(composed(text).split())


def _first_label(text: str, labels: Sequence[str]) -> str | None:
    """The first label in a text, as written or else in another letter case.

    Single letters count only as written, because "a" is a common word. Of labels that start at the
    same place, the longest counts. "non-toxic" does not contain the label "toxic", nor do "-1" and
    "1-2" contain 1.
    """
    longest_first = sorted(labels, key=len, reverse=True)
    exact = _label_at(text, longest_first, 0)
    return exact or _label_at(text, [x for x in longest_first if len(x) > 1], re.IGNORECASE)


def _kind(label: str) -> str:
    return "number" if label[0].isdecimal() else "word" if len(label) > 1 else "letter"


def _label_at(text: str, labels: list[str], flags: int) -> str | None:
    pattern = "|".join(f"({_BEFORE[_kind(label)]}{re.escape(label)})" for label in labels)
    standing_alone = rf"(?<!\w)(?<!\d[.,])(?:{pattern})(?!\w|[.,]\d|(?<=\d)[-–]\d)"
    found = re.search(standing_alone, text, flags) if labels else None
    return labels[found.lastindex - 1] if found and found.lastindex else None


# --- whether the metric fits the file ------------------------------------------------------------


def ungradable(lines: Sequence[Answered], meta: Mapping[str, Any]) -> Iterator[str]:
    """List the lines that the metric does not fit: their own response would be graded wrong.

    Args:
        lines: All lines of the file.
        meta: ``metric``, ``tolerance`` and ``labels`` of its examples.
    """
    metric, labels = meta["metric"], meta["labels"]
    if len(labels) > MAX_LABELS:
        yield (
            f"metric 'choice' needs at most {MAX_LABELS} different answers, the file has "
            f"{len(labels)}; use metric 'exact_match', or give each line its label as 'answer'"
        )
        return
    if labels:
        yield from _bad_labels(lines, labels)
    refused = dict(_not_plain_numbers(lines)) if metric == "numeric" else {}
    for line in lines:
        if line.number in refused:
            yield f"line {line.number}: answer {quoted(line.answer)} {refused[line.number]}"
            continue
        grade = score({"answer": line.answer, "meta": meta}, line.response)
        if not grade.correct:
            yield (
                f"line {line.number}: metric {metric!r} would grade the line's own response "
                f"as wrong (answer {quoted(line.answer)}, read {quoted(str(grade.parsed))}); "
                "change the metric or the answer, or remove the line"
            )


def _bad_labels(lines: Sequence[Answered], labels: Sequence[str]) -> Iterator[str]:
    """Labels that make every answer right, or that grading cannot tell apart."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[normalize(label)].append(label)
    if len(alike) < 2:
        yield (
            f"metric 'choice' needs at least 2 different answers, the file has {len(alike)} "
            f"({quoted(labels[0])}): it would always be right"
        )
    first = {line.answer: line.number for line in reversed(lines)}
    for one, *others in alike.values():
        for other in others:
            yield (
                f"line {first[other]}: the answer {quoted(other)} counts as {quoted(one)} of line "
                f"{first[one]}; spell both the same"
            )


def _not_plain_numbers(lines: Sequence[Answered]) -> Iterator[tuple[int, str]]:
    """Number and problem of each line whose answer is not one plain number."""
    comma = None
    for line in lines:
        try:
            if comma is None and read_gold(line.answer).has_decimal_comma:
                comma = line.number
        except ValueError as error:
            yield line.number, f"{error}; {_PLAIN}"
    for line in lines if comma is not None else ():
        if is_ambiguous(line.answer):
            yield line.number, _AMBIGUOUS.format(comma)


def equal_answers(lines: Sequence[Answered], meta: Mapping[str, Any]) -> tuple[str, bool]:
    """Say which different answers of a file the metric confuses.

    Returns:
        The sentence, empty if there are none; and whether these are most of the pairs, so that the
        metric is meaningless. Numbers that differ only in their units are named but not counted.
    """
    metric = meta["metric"]
    line_of = {line.answer: line.number for line in reversed(lines)}

    def find(meaning: Callable[[str], Hashable]) -> EqualAnswers:
        return find_equal_answers(
            (line.answer for line in lines),
            lambda gold, given: score({"answer": gold, "meta": meta}, given).correct,
            meaning,
        )

    found = find(_number_and_unit if metric == "numeric" else str)
    counted = find(lambda answer: read_gold(answer).value) if metric == "numeric" else found
    if not found.pairs:
        return "", False
    text = (
        f"metric {metric!r} counts different answers as equal: {found.describe(line_of)}; "
        f"{_TELL_APART[metric]}"
    )
    return text, counted.are_most


def _number_and_unit(answer: str) -> Hashable:
    """Key shared by spellings of one number; 5 km and 5 miles differ."""
    return read_gold(answer).value, around_gold(answer)
