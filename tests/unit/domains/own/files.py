"""Small JSONL files, and the problems that reading them reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.own import json_rows
from sft_tradeoff.domains.own import lines as own_lines
from sft_tradeoff.domains.own.domain import generate
from sft_tradeoff.domains.own.json_rows import Table
from sft_tradeoff.domains.own.rows import read_rows
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.grading.text import normalize

Json = Line = dict[str, Any]
PLAIN = {"prompt": "p", "response": "r"}
GOOD = [{"prompt": f"Question {i}?", "response": f"Reply {i}"} for i in range(4)]


def write(file: Path, lines: Sequence[Line | str]) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def spec(file: Path, **settings: Any) -> OwnSpec:
    sizes = {"n_train": 100, "n_validation": 0, "n_test": 2}
    return domain_spec(**{"name": "own", "path": str(file), **sizes, **settings})


def question(number: int, **keys: Any) -> Line:
    return {"prompt": f"Question {number}?", "response": f"Reply {number}", **keys}


def problems_of(file: Path, **settings: Any) -> list[str]:
    with pytest.raises(ValueError) as error:
        generate(spec(file, **settings))
    head, *problems = str(error.value).split("\n")
    assert str(file) in head
    return [problem.strip() for problem in problems]


def prompts(examples: Sequence[Example]) -> set[str]:
    return {normalize(example.prompt) for example in examples}


def parse(line: Json | str) -> own_lines.Line:
    """Read one row as line 7."""
    row = json_rows.parse(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False))
    lines, problems, _ = read_rows(Table(rows=[(7, row)]), {})
    if problems:
        raise ValueError(problems[0][1])
    return lines[0]


def problem_of(line: Json | str) -> str:
    with pytest.raises(ValueError) as error:
        parse(line)
    return str(error.value).removeprefix("path: ")


def chat(*turns: Json, **keys: Any) -> Json:
    user = {"role": "user", "content": "p"}
    return {"messages": [*turns, user, {"role": "assistant", "content": "r"}], **keys}


def with_answer(**keys: Any) -> Json:
    return chat() | {"messages": [*chat()["messages"][:-1], chat()["messages"][-1] | keys]}
