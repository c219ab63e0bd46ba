"""What a checkpoint is asked, as lm-eval's tasks: the general suite, and the domains' own tests.

Every task comes with the way in which lm-eval's per-sample log becomes rows of items.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.benchmarks import check_items
from sft_tradeoff.benchmarks.chat_task import chat_task
from sft_tradeoff.benchmarks.human_eval import human_eval_task
from sft_tradeoff.benchmarks.instruction_following import (
    MAX_NEW_TOKENS,
    instruction_following_rows,
    instruction_following_task,
)
from sft_tradeoff.benchmarks.stock import STOCK, stock_rows, stock_task
from sft_tradeoff.console import UserError
from sft_tradeoff.domains import get_domain
from sft_tradeoff.execution import Limits
from sft_tradeoff.files import check_seal
from sft_tradeoff.sources import cache_dir
from sft_tradeoff.tokenization import render_prompt

if TYPE_CHECKING:
    from sft_tradeoff.runs import EvaluationConfig
    from sft_tradeoff.specs import DomainSpec, EvaluationSpec

TASK_FOLDER = Path("workflow/tasks")
Item = tuple[str, str, str, float, float]  # (benchmark, item, metric, value, size)
Samples = Iterable[Mapping[str, Any]]


class SuiteError(UserError, RuntimeError):
    """A task cannot be asked; raised before any forward pass."""


@dataclass(frozen=True)
class Task:
    """One task of lm-eval and how its log becomes rows.

    Args:
        name: Under which lm-eval logs it.
        definition: As lm-eval's task manager takes it.
        rows: From the log of its samples.
        chosen: Indices of the items that are asked; None: all.
        in_file: Whether ``definition`` overrides a file of ``workflow/tasks``.
        rendered: Whether its prompts carry the chat template already.
    """

    name: str
    definition: dict[str, Any]
    rows: Callable[[Samples], Iterable[Item]]
    chosen: list[int] | None = None
    in_file: bool = False
    rendered: bool = False


def tasks_of(config: EvaluationConfig, tokenizer: Any, data: Sequence[Path]) -> list[Task]:
    """Build every task of an evaluation, after checking each item of the general suite.

    Args:
        config: What to evaluate.
        tokenizer: With the chat template of the model.
        data: ``test.jsonl`` of each of the config's domains.

    Raises:
        BenchmarkError: If a file is missing or an item cannot be asked.
        ExecutionNotAllowed: If a task runs generated code and the study does not allow it.
    """
    general = [
        general_task(name, limit, config.evaluation, tokenizer)
        for name, limit in config.evaluation.tasks.items()
    ]
    domains = [
        domain_task(spec, path, tokenizer) for spec, path in zip(config.domains, data, strict=True)
    ]
    return general + domains


def items_path(name: str) -> Path:
    """File with the items of a general benchmark."""
    return cache_dir() / "benchmarks" / f"{name}.jsonl"


def general_task(name: str, limit: int | None, spec: EvaluationSpec, tokenizer: Any) -> Task:
    """One benchmark of the general suite, and the first ``limit`` of its items.

    They are in random order, but lm-eval's own tasks keep that of their source.
    """
    path = items_path(name)
    asked = [item for item in check_items(name, path) if item.get("split", "test") == "test"]
    chosen = list(range(min(limit or len(asked), len(asked))))
    if name in STOCK:
        definition = stock_task(name, path, execute_code=spec.execute_code)
        return Task(name, definition, partial(stock_rows, name), chosen)
    if name == "ifeval_generated":
        render = partial(render_prompt, tokenizer)
        definition = instruction_following_task(name, path, render, MAX_NEW_TOKENS)
        rows = partial(instruction_following_rows, name)
        return Task(name, definition, rows, chosen, rendered=True)
    definition = {"task": name, "dataset_kwargs": {"data_files": {"test": str(path)}}}
    if name == "human_eval":
        definition = human_eval_task(path, Limits(), spec.execute_code)
    return Task(name, definition, partial(general_rows, name), chosen, in_file=True)


def general_rows(name: str, samples: Samples) -> Iterable[Item]:
    """One row per item and metric from lm-eval's per-sample log."""
    for sample in samples:
        item = str(sample["doc"]["id"])
        for metric in sample["metrics"]:
            value = sample[metric]
            if metric == "bits_per_byte":  # lm-eval logs (log-likelihood in nats, bytes)
                yield name, item, metric, -value[0] / math.log(2), float(value[1])
            else:
                yield name, item, metric, float(value), 1.0


def domain_task(spec: DomainSpec, test_path: Path, tokenizer: Any) -> Task:
    """Task of a domain: chat prompt, greedy generation, the domain's rule as metric."""
    domain = get_domain(spec.name)
    name = f"domain_{spec.label}"

    def grade(record: Mapping[str, Any], response: str) -> dict[str, float]:
        score = domain.score(dict(record), response)
        return {"correct": float(score.correct), "format_failure": float(score.format_failure)}

    definition = chat_task(
        name,
        read_records(spec, test_path),
        partial(render_prompt, tokenizer),
        grade,
        {"correct": True, "format_failure": False},
        spec.max_new_tokens or domain.max_new_tokens[spec.variant],
    )
    return Task(name, definition, partial(domain_rows, spec), rendered=True)


def read_records(spec: DomainSpec, path: Path) -> list[dict[str, Any]]:
    """Read a domain's test examples, each with what asking and grading it needs.

    Raises:
        SuiteError: Naming domain, file, line and fix.
    """
    fix = f"delete {path} and run the same command again"
    records = []
    try:
        check_seal(path)
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                record = json.loads(line)
                if lacking := [key for key in ("id", "prompt", "answer") if key not in record]:
                    raise SuiteError(
                        f"domain {spec.label!r}: {path}, line {number}: no {lacking[0]!r}"
                    )
                records.append(record)
    except (OSError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        raise SuiteError(f"domain {spec.label!r}: {path} cannot be read: {error}; {fix}") from error
    if not records:
        raise SuiteError(f"domain {spec.label!r}: {path} is empty; {fix}")
    return records


def domain_rows(spec: DomainSpec, samples: Samples) -> list[Item]:
    """Accuracy, format failures and, for a closed set of labels, balanced accuracy."""
    label = str(spec.label)
    graded = [(json.loads(s["doc"]["record"]), s) for s in samples]
    rows: list[Item] = []
    for record, sample in graded:
        rows.append((label, record["id"], "accuracy", float(sample["correct"]), 1.0))
        rows.append((label, record["id"], "format_failure", float(sample["format_failure"]), 1.0))
    if get_domain(spec.name).labels:
        # Weighed so that the mean over items is the mean over gold labels of each one's accuracy.
        counts = Counter(record["answer"] for record, _ in graded)
        for record, sample in graded:
            weight = len(graded) / (len(counts) * counts[record["answer"]])
            value = float(sample["correct"]) * weight
            rows.append((label, record["id"], "balanced_accuracy", value, 1.0))
    return rows


def run_tasks(
    lm: Any, tasks: Sequence[Task], chat_template: bool
) -> tuple[list[Item], dict[str, Any]]:
    """Ask everything in as few calls of lm-eval as possible: requests of all tasks batch together.

    Args:
        lm: The checkpoint, as lm-eval's model class.
        tasks: See :func:`tasks_of`.
        chat_template: Put the general suite's prompts into the model's chat template. Without it
            the suite measures what the model knows in a form in which base and tuned models
            compare. Domain prompts are always rendered as in training.

    Returns:
        The items, and by task its version and the numbers of worked examples and of items.
    """
    if not chat_template:
        return _ask(lm, tasks, False)
    items, facts = _ask(lm, [task for task in tasks if not task.rendered], True)
    more_items, more_facts = _ask(lm, [task for task in tasks if task.rendered], False)
    return items + more_items, facts | more_facts


def _ask(lm: Any, tasks: Sequence[Task], chat_template: bool) -> tuple[list[Item], dict[str, Any]]:
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    if not tasks:
        return [], {}
    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    # Only within a group does lm-eval merge our overrides into the task's own file.
    filed = [task.definition for task in tasks if task.in_file]
    listed: list[Any] = [{"group": "general", "task": filed}] if filed else []
    loaded = manager.load(listed + [task.definition for task in tasks if not task.in_file])
    chosen = {task.name: task.chosen for task in tasks if task.chosen is not None}
    for name, task in loaded["tasks"].items():
        _build_requests(lm, name, task, chosen.get(name), chat_template)
    # Not simple_evaluate: it adds seconds of environment details (host name included) to every job,
    # and seeds generators that nothing here draws from.
    found = evaluator.evaluate(
        lm,
        loaded,
        samples=chosen,
        bootstrap_iters=0,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
    )
    for name, rows in chosen.items():
        if found["n-samples"][name]["effective"] != len(rows):
            raise SuiteError(
                f"task {name!r}: lm-eval asked other than the {len(rows)} items chosen"
            )
    facts = {
        task.name: {
            "version": found["versions"][task.name],
            "n_shot": found["n-shot"][task.name],
            "n_items": found["n-samples"][task.name]["effective"],
        }
        for task in tasks
    }
    return [row for task in tasks for row in task.rows(found["samples"][task.name])], facts


def _build_requests(
    lm: Any, name: str, task: Any, chosen: list[int] | None, chat_template: bool
) -> None:
    """Build a task's requests, once; refuse any that does not fit the window.

    A prompt that loses its start is another question.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    task.set_fewshot_seed(DEFAULT_OTHER_SEED)  # draws lm-eval's own worked examples
    task.build_all_requests(
        samples=chosen,
        rank=lm.rank,
        world_size=lm.world_size,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
        chat_template=lm.apply_chat_template if chat_template else None,
        tokenizer_name=lm.tokenizer_name if chat_template else "",
    )
    task.build_all_requests = lambda **keywords: None  # lm-eval would build the same again
    for request in task.instances:
        n_tokens = _window(lm, request)
        if n_tokens > lm.max_length:
            item = request.doc.get("id") or json.loads(request.doc["record"])["id"]
            raise SuiteError(
                f"evaluation.max_length: {lm.max_length} is too small for task {name!r}, item "
                f"{item!r}, which needs {n_tokens} tokens; raise it as far as the model "
                "allows, generate less (max_new_tokens), or lower the task's limit"
            )


def _window(lm: Any, request: Any) -> int:
    """Tokens that a request needs at once; rolling ones are cut to the window by design."""
    if request.request_type == "loglikelihood":
        return len(lm.tok_encode("".join(request.args))) + 1  # vLLM always generates a token
    if request.request_type == "generate_until":
        prompt, settings = request.args
        return len(lm.tok_encode(prompt)) + int(settings.get("max_gen_toks", lm.max_gen_toks))
    return 0
