"""What a checkpoint is asked, as lm-eval's tasks: the general suite, and the domains' own tests.

Every task comes with the way in which lm-eval's per-sample log becomes rows of items. Tasks are
asked one after the other: in bfloat16 an answer depends on what is computed beside it, and no score
may depend on which other tasks are asked.
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

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.evaluation.answer_length import room_for_answers
from sft_tradeoff.sandbox.run import Limits
from sft_tradeoff.suite.build import check_items
from sft_tradeoff.suite.chat_task import chat_task
from sft_tradeoff.suite.dataset import in_memory
from sft_tradeoff.suite.human_eval import human_eval_task
from sft_tradeoff.suite.instruction_following import (
    MAX_NEW_TOKENS,
    instruction_following_rows,
    instruction_following_task,
)
from sft_tradeoff.suite.items import ItemFile
from sft_tradeoff.suite.stock import STOCK, stock_rows, stock_task
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import open_hashed
from sft_tradeoff.system.records import RecordError, parse_lines

if TYPE_CHECKING:
    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.models.tokenized import TokenizedData
    from sft_tradeoff.study.runs import EvaluationConfig
    from sft_tradeoff.study.spec import EvaluationSpec

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
        label: Under which its items are recorded.
        definition: As lm-eval's task manager takes it.
        rows: From the log of its samples.
        sha256: Of the file that its items were read from.
        chosen: Indices of the items that are asked; None: all.
        in_file: Whether ``definition`` overrides a file of ``workflow/tasks``.
        rendered: Whether its prompts carry the chat template already.
        gold: Id, prompt and right answer of items whose loss is measured, too; in tokens.
    """

    name: str
    label: str
    definition: dict[str, Any]
    rows: Callable[[Samples], Iterable[Item]]
    sha256: str
    chosen: list[int] | None = None
    in_file: bool = False
    rendered: bool = False
    gold: Sequence[tuple[str, list[int], list[int]]] = ()


def tasks_of(
    config: EvaluationConfig,
    tokenizer: Any,
    tests: Sequence[tuple[ItemFile, TokenizedData]],
) -> list[Task]:
    """Build every task of an evaluation, after checking each item of the general suite.

    Args:
        config: What to evaluate.
        tokenizer: With the chat template of the model.
        tests: Test examples of each of the config's domains, and the same with answers in tokens.

    Raises:
        BenchmarkError: If a file is missing or an item cannot be asked.
        ExecutionNotAllowed: If a task runs generated code and the study does not allow it.
    """
    general = [
        general_task(name, limit, config.evaluation, tokenizer)
        for name, limit in config.evaluation.tasks.items()
    ]
    domains = [
        domain_task(spec, *test, tokenizer, config.evaluation.max_length)
        for spec, test in zip(config.domains, tests, strict=True)
    ]
    return general + domains


def items_path(name: str) -> Path:
    """File with the items of a general benchmark."""
    return cache_dir() / "benchmarks" / f"{name}.jsonl"


def general_task(name: str, limit: int | None, spec: EvaluationSpec, tokenizer: Any) -> Task:
    """One benchmark of the general suite, and the first ``limit`` of its items.

    They are in random order, but lm-eval's own tasks keep that of their source.
    """
    items, sha256 = check_items(name, items_path(name))
    n_items = sum(item.get("split", "test") == "test" for item in items)
    chosen = list(range(min(limit or n_items, n_items)))
    if name in STOCK:
        definition = stock_task(name, items, execute_code=spec.execute_code)
        return Task(name, name, definition, partial(stock_rows, name), sha256, chosen)
    if name == "ifeval_generated":
        definition = instruction_following_task(name, items, tokenizer, MAX_NEW_TOKENS)
        rows = partial(instruction_following_rows, name)
        return Task(name, name, definition, rows, sha256, chosen, rendered=True)
    definition = {"task": name}
    if name == "human_eval":
        definition = human_eval_task(Limits(), spec.execute_code)
    definition["custom_dataset"] = in_memory({"test": items})
    return Task(name, name, definition, partial(general_rows, name), sha256, chosen, in_file=True)


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


def domain_task(
    spec: DomainSpec, test: ItemFile, tokenized: TokenizedData, tokenizer: Any, max_length: int
) -> Task:
    """Task of a domain: chat prompt, greedy generation, the domain's rule as metric; gold loss."""
    domain = get_domain(spec.name)
    name = f"domain_{spec.label}"

    def grade(record: Mapping[str, Any], response: str) -> dict[str, float]:
        score = domain.score(dict(record), response)
        return {"correct": float(score.correct), "format_failure": float(score.format_failure)}

    definition = chat_task(
        name,
        test.items,
        tokenizer,
        grade,
        {"correct": True, "format_failure": False},
        room_for_answers(spec, tokenized, max_length),
    )
    return Task(
        name,
        str(spec.label),
        definition,
        partial(domain_rows, spec),
        test.sha256,
        rendered=True,
        gold=gold_answers(test.items, tokenized),
    )


def gold_answers(
    records: Sequence[Mapping[str, Any]], tokenized: TokenizedData
) -> list[tuple[str, list[int], list[int]]]:
    """Id, prompt and response of every test example, in the tokens of training."""
    answers = []
    for i, record in enumerate(records):
        tokens, mask = tokenized.example(i)
        n_prompt = int(mask.argmax())
        answers.append((str(record["id"]), tokens[:n_prompt].tolist(), tokens[n_prompt:].tolist()))
    return answers


def read_records(spec: DomainSpec, path: Path) -> ItemFile:
    """Read a domain's test examples, each with what asking and grading it needs.

    Raises:
        SuiteError: Naming domain, file, line and fix.
    """
    fix = f"delete {path} and run the same command again"
    records = []
    try:
        lines, sha256 = open_hashed(path)
        for number, record in parse_lines(lines, path, fix):
            if lacking := [key for key in ("id", "prompt", "answer") if key not in record]:
                raise SuiteError(f"domain {spec.label!r}: {path}, line {number}: no {lacking[0]!r}")
            records.append(record)
    except RecordError as error:
        raise SuiteError(f"domain {spec.label!r}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"domain {spec.label!r}: {path} cannot be read: {error}; {fix}") from error
    if not records:
        raise SuiteError(f"domain {spec.label!r}: {path} is empty; {fix}")
    return ItemFile(records, sha256)


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
    """Ask every task by itself, after all have been built.

    Args:
        lm: The checkpoint, as lm-eval's model class.
        tasks: See :func:`tasks_of`.
        chat_template: Put the general suite's prompts into the model's chat template. Without it
            the suite measures what the model knows in a form in which base and tuned models
            compare. Domain prompts are always rendered as in training.

    Returns:
        The items, and by task its version and the numbers of worked examples and of items.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    # Only within a group does lm-eval merge our overrides into the task's own file.
    filed = [task.definition for task in tasks if task.in_file]
    listed: list[Any] = [{"group": "general", "task": filed}] if filed else []
    built = manager.load(listed + [task.definition for task in tasks if not task.in_file])["tasks"]
    templates = [chat_template and not task.rendered for task in tasks]
    for task, template in zip(tasks, templates, strict=True):
        _build_requests(lm, task, built[task.name], template)
    items: list[Item] = []
    facts = {}
    for task, template in zip(tasks, templates, strict=True):
        rows, facts[task.name] = _ask(lm, task, built[task.name], template)
        items += rows
    return items, facts


def _ask(lm: Any, task: Task, built: Any, chat_template: bool) -> tuple[list[Item], dict[str, Any]]:
    from lm_eval import evaluator

    gold = [(None, prompt, answer) for _, prompt, answer in task.gold]
    lm.expect(gold)
    # Not simple_evaluate: it adds seconds of environment details (host name included) to every job,
    # and seeds generators that nothing here draws from.
    found = evaluator.evaluate(
        lm,
        {"tasks": {task.name: built}, "groups": {}},
        samples=None if task.chosen is None else {task.name: task.chosen},
        bootstrap_iters=0,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
    )
    n_items = found["n-samples"][task.name]["effective"]
    if task.chosen is not None and n_items != len(task.chosen):
        raise SuiteError(
            f"task {task.name!r}: lm-eval asked other than the {len(task.chosen)} items chosen"
        )
    facts = {
        "version": found["versions"][task.name],
        "n_shot": found["n-shot"][task.name],
        "n_items": n_items,
    }
    rows = list(task.rows(found["samples"][task.name]))
    scored = lm._loglikelihood_tokens(gold, disable_tqdm=True) if gold else []
    for (item, _, answer), (nats, _) in zip(task.gold, scored, strict=True):
        rows.append((task.label, item, "nll", -nats, float(len(answer))))
    return rows, facts


def _build_requests(lm: Any, task: Task, built: Any, chat_template: bool) -> None:
    """Build a task's requests, once; refuse any that does not fit the window.

    A prompt that loses its start is another question.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    built.set_fewshot_seed(DEFAULT_OTHER_SEED)  # draws lm-eval's own worked examples
    built.build_all_requests(
        samples=task.chosen,
        rank=lm.rank,
        world_size=lm.world_size,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
        chat_template=lm.apply_chat_template if chat_template else None,
        tokenizer_name=lm.tokenizer_name if chat_template else "",
    )
    built.build_all_requests = lambda **keywords: None  # lm-eval would build the same again
    for request in built.instances:
        n_tokens = _window(lm, request)
        if n_tokens > lm.max_length:
            item = request.doc.get("id") or json.loads(request.doc["record"])["id"]
            raise SuiteError(
                f"evaluation.max_length: {lm.max_length} is too small for task {task.name!r}, item "
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
