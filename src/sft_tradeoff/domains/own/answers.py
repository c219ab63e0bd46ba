"""Grade the answers of the user's own file, and check that the metric fits the file."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sft_tradeoff.domains.base import Score
from sft_tradeoff.domains.own.problems import group_by_problem, with_example
from sft_tradeoff.grading.equal_answers import EqualAnswers, find_equal_answers, quoted
from sft_tradeoff.grading.gold import around_gold, is_ambiguous, read_gold
from sft_tradeoff.grading.numbers import agrees, format_float, last_number
from sft_tradeoff.grading.text import composed, normalize
from sft_tradeoff.system.text import listing

MAX_LABELS = 50
_TELL_APART = {
    "exact_match": "it ignores case and white space: spell them the same if they mean the same",
    "numeric": "it compares only the numbers: use one unit and the same number of decimals in all "
    "answers, and a smaller tolerance, or none",
    "choice": "it ignores case and white space: spell equal labels the same, and rename the others",
}
LONGEST_LABEL = 1000  # characters; every example's record lists all labels
# A second pair of braces is for an example.
_WRONG = (
    "metric {!r} would grade the file's own response as wrong ({{}}); change the metric "
    "or the answer, or remove the example"
)
_PLAIN = (
    "metric 'numeric' needs exactly one plain number: put it into 'answer', or use metric "
    "'exact_match'"
)
_AMBIGUOUS = (
    "the answer may have a thousands mark or a decimal mark ({{}}), as {} has a decimal comma; "
    "write thousands without a mark, and decimals with a point and a trailing zero"
)
_LONG_LABEL = (
    f"the answer is no label for metric 'choice': it has more than {LONGEST_LABEL:,} characters "
    "({}); give each line a short label as 'answer', or use metric 'exact_match'"
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
        label = _first_label(_spaced(generation), tuple(meta["labels"]))
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


def _first_label(text: str, labels: tuple[str, ...]) -> str | None:
    """The first label in a text, as written or else in another letter case.

    Single letters count only as written, because "a" is a common word. Of labels that start at the
    same place, the longest counts. "non-toxic" does not contain the label "toxic", nor do "-1" and
    "1-2" contain 1.
    """
    exact, folded, words = _patterns(labels)
    if found := exact.search(text):
        return found[0]
    if found := folded.search(text):
        return next(w for w in words if re.fullmatch(re.escape(w), found[0], re.IGNORECASE))
    return None


@functools.lru_cache(maxsize=8)
def _patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], list[str]]:
    """Patterns of labels as written and of words in any letter case, and these words."""
    longest_first = sorted(map(_spaced, labels), key=len, reverse=True)
    words = [label for label in longest_first if len(label) > 1]
    return _standing_alone(longest_first, 0), _standing_alone(words, re.IGNORECASE), words


def _standing_alone(labels: list[str], flags: int) -> re.Pattern[str]:
    by_kind: dict[str, list[str]] = {before: [] for before in _BEFORE.values()}
    for label in labels:
        by_kind[_BEFORE[_kind(label)]].append(re.escape(label))
    kinds = (f"{before}(?:{'|'.join(x)})" for before, x in by_kind.items() if x)
    any_of = "|".join(kinds) or r"(?!)"
    return re.compile(rf"(?<!\w)(?<!\d[.,])(?:{any_of})(?!\w|[.,]\d|(?<=\d)[-–]\d)", flags)


def _kind(label: str) -> str:
    return "number" if label[0].isdecimal() else "word" if len(label) > 1 else "letter"


# --- whether the metric fits the file ------------------------------------------------------------


def ungradable(lines: Sequence[Answered], meta: Mapping[str, Any], noun: str = "line") -> list[str]:
    """List what the metric does not fit: lines whose own response would be graded wrong, labels.

    Args:
        lines: All lines of the file.
        meta: ``metric``, ``tolerance`` and ``labels`` of its examples.
        noun: What the lines are called.
    """
    metric, labels = meta["metric"], meta["labels"]
    if len(labels) > MAX_LABELS:
        return [
            f"metric 'choice' needs at most {MAX_LABELS} different answers, the file has "
            f"{len(labels)}; use metric 'exact_match', or give each {noun} its label as 'answer'"
        ]
    first = {line.answer: line.number for line in reversed(lines)} if labels else {}
    long = [(first[x], _LONG_LABEL, quoted(x)) for x in labels if len(x) > LONGEST_LABEL]
    if long:
        return group_by_problem(with_example(sorted(long), noun), noun)
    problems = list(_bad_labels(first, labels, noun)) if labels else []
    numeric = metric == "numeric"
    found = _wrong_numbers(lines, meta, noun) if numeric else _wrong_texts(lines, meta)
    return problems + group_by_problem(with_example(found, noun), noun)


def _wrong_texts(
    lines: Sequence[Answered], meta: Mapping[str, Any]
) -> Iterator[tuple[int, str, str]]:
    for line in lines:
        if line.response.strip() == line.answer:
            continue  # right under every metric: the gold answer has one number, or is a label
        grade = score({"answer": line.answer, "meta": meta}, line.response)
        if not grade.correct:
            read = f"answer {quoted(line.answer)}, read {quoted(str(grade.parsed))}"
            yield line.number, _WRONG.format(meta["metric"]), read


def _wrong_numbers(
    lines: Sequence[Answered], meta: Mapping[str, Any], noun: str
) -> Iterator[tuple[int, str, str]]:
    """Also lines whose answer is not one plain number."""
    found: dict[int, tuple[str, str]] = {}
    comma: Answered | None = None
    for line in lines:
        try:
            gold = read_gold(line.answer)
        except ValueError as error:
            found[line.number] = f"the answer {error} ({{}}); {_PLAIN}", quoted(line.answer)
            continue
        if comma is None and gold.has_decimal_comma:
            comma = line
        found |= {number: (what, read) for number, what, read in _wrong_texts([line], meta)}
    for line in lines if comma else ():
        if comma and is_ambiguous(line.answer):
            found[line.number] = _AMBIGUOUS.format(f"{noun} {comma.number}"), quoted(line.answer)
    for number in sorted(found):
        yield number, *found[number]


def _bad_labels(first: Mapping[str, int], labels: Sequence[str], noun: str) -> Iterator[str]:
    """Labels that make every answer right, or that grading cannot tell apart.

    Args:
        first: The first line of each label.
        labels: All labels.
        noun: What the lines are called.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[normalize(label)].append(label)
    if len(alike) < 2:
        yield (
            f"metric 'choice' needs at least 2 different answers, the file has {len(alike)} "
            f"({quoted(labels[0])}): it would always be right"
        )
    same = [
        " and ".join(f"{quoted(label)} ({noun} {first[label]})" for label in spellings)
        for spellings in alike.values()
        if len(spellings) > 1
    ]
    if same:
        found = listing(same, separator="; ")
        yield f"answers that count as the same: {found}; spell them the same"


def equal_answers(
    lines: Sequence[Answered], meta: Mapping[str, Any], noun: str = "line"
) -> tuple[str, bool]:
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
        f"metric {metric!r} counts different answers as equal: {found.describe(line_of, noun)}; "
        f"{_TELL_APART[metric]}"
    )
    return text, counted.are_most


def _number_and_unit(answer: str) -> Hashable:
    """Key shared by spellings of one number; 5 km and 5 miles differ."""
    return read_gold(answer).value, around_gold(answer)
