"""Tasks that a YAML file in lm-eval's format defines, applied to our own items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sft_tradeoff.suite.base import TaskDefinition, TaskOptions
from sft_tradeoff.suite.dataset import in_memory
from sft_tradeoff.suite.items import Item

TASK_FOLDER = Path("workflow/tasks")


def read_task_file(name: str, file: str, items: Sequence[Item]) -> TaskDefinition:
    """Read a task file and give it a name and a data set.

    Args:
        name: The task's name.
        file: Name of a file in ``workflow/tasks``; several benchmarks may share one.
        items: The data set, which has only the split ``test``.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    definition: TaskDefinition = load_yaml(TASK_FOLDER / file)
    return definition | {"task": name, "custom_dataset": in_memory({"test": items})}


def task_file(file: str) -> Callable[[str, Sequence[Item], TaskOptions], TaskDefinition]:
    """Return a ``Benchmark.task`` that a file in ``workflow/tasks`` defines completely."""
    return lambda name, items, _: read_task_file(name, file, items)
