"""Scores that need no generation, computed again: code length, and the loss of right answers.

Cheap enough to compare the weights as trained with the weights as shipped, and one arithmetic with
another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.tables import CODE_LENGTH, SHIPPED
from sft_tradeoff.evaluation.tasks import Task, build_requests, gold_requests, gold_rows
from sft_tradeoff.models.load import is_on_bfloat16_grid
from sft_tradeoff.models.two_part import use_shipped_weights
from sft_tradeoff.suite.base import Row

if TYPE_CHECKING:
    from sft_tradeoff.evaluation.token_scores import TokenScores
    from sft_tradeoff.study.spec import EvaluationSpec


def rescore(
    lm: Any,
    tasks: Sequence[Task],
    keep: Callable[[Task, list[TokenScores]], None] | None = None,
) -> list[Row]:
    """Code length of the suite's texts, and loss of the domains' right answers.

    Args:
        lm: The model, as lm-eval's model class.
        tasks: See :func:`~sft_tradeoff.evaluation.tasks.tasks_of`; others are skipped.
        keep: Gets the scores of single tokens of each domain's right answers.

    Returns:
        One row per item of the metrics ``bits_per_byte`` and ``nll``.
    """
    lm.expect([])  # forget what was scored before
    texts = [t for t in tasks if t.definition["output_type"] == "loglikelihood_rolling"]
    built = _load(texts)
    rows: list[Row] = []
    for task in tasks:
        if task.name in built:
            rows += _code_lengths(lm, task, built[task.name])
        if keep and task.gold:
            lm.expect([], tokens=True)
        rows += gold_rows(lm, task)
        if keep and task.gold:
            keep(task, lm.token_scores(gold_requests(task)))
    return rows


def _load(tasks: Sequence[Task]) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    found: dict[str, Any] = manager.load([task.definition for task in tasks])["tasks"]
    return found


def _code_lengths(lm: Any, task: Task, built: Any) -> list[Row]:
    build_requests(lm, task, built, chat_template=False)
    samples = []
    nats = lm.loglikelihood_rolling(built.instances)
    for request, value in zip(built.instances, nats, strict=True):
        scores = built.process_results(request.doc, [value])
        samples.append({"doc": request.doc, "metrics": [*scores], **scores})
    return [row for row in task.rows(samples) if row[2] == CODE_LENGTH]


def shipped_rows(
    lm: Any, spec: EvaluationSpec, folder: Path, tasks: Sequence[Task], trained: Sequence[Row]
) -> list[Row]:
    """Scores of the weights rounded to bfloat16, as models are saved for use.

    Weights that bfloat16 represents exactly, such as those of a released θ0, keep their scores.

    Args:
        lm: The model; its weights are rounded in place.
        spec: Whether the study wants these scores. vLLM scores rounded weights anyway.
        folder: The folder that it was loaded from.
        tasks: What it was asked.
        trained: The scores of its weights as trained.

    Returns:
        One row per item of the metrics in :data:`~sft_tradeoff.analysis.tables.SHIPPED`.
    """
    if not spec.as_shipped or spec.backend != "hf":
        return []
    if is_on_bfloat16_grid(folder):
        rows = list(trained)
    else:
        use_shipped_weights(lm.model)
        rows = rescore(lm, tasks)
    return [(row[0], row[1], SHIPPED[row[2]], *row[3:]) for row in rows if row[2] in SHIPPED]
