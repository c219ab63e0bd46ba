"""What a model is asked, as lm-eval tasks: the general suite, and the domains' own tests.

Every task knows how lm-eval's per-sample log becomes rows of items. Tasks run one after the other:
in bfloat16 an answer depends on the batch it is computed in, and no score may depend on which other
tasks a study has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.evaluation.answer_length import max_new_tokens
from sft_tradeoff.evaluation.answers import Answer, Said, graded, said_in_domain, said_in_suite
from sft_tradeoff.suite.base import Row, Samples, TaskDefinition, TaskOptions
from sft_tradeoff.suite.build import check_items
from sft_tradeoff.suite.chat_task import chat_task
from sft_tradeoff.suite.items import ItemFile
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import open_hashed
from sft_tradeoff.system.records import RecordError, parse_lines

if TYPE_CHECKING:
    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.evaluation.prompt_encoding import Scored
    from sft_tradeoff.evaluation.token_scores import TokenScores
    from sft_tradeoff.models.tokenized import TokenizedData
    from sft_tradeoff.study.runs import EvaluationConfig
    from sft_tradeoff.study.spec import EvaluationSpec

Gold = Sequence[tuple[str, list[int], list[int]]]  # of items: id, prompt tokens, answer tokens


class SuiteError(UserError, RuntimeError):
    """A task cannot be run; raised before any forward pass."""


@dataclass(frozen=True)
class Task:
    """One lm-eval task and how its log becomes rows.

    Args:
        name: lm-eval's name for it.
        label: Name in the results.
        definition: As lm-eval's task manager takes it.
        rows: lm-eval's log of samples → rows.
        sha256: Of the file its items were read from.
        chosen: Indices of the items to ask; None: all.
        rendered: Whether its prompts are in the chat template already.
        gold: Items whose right answer is scored as well: id, prompt tokens, answer tokens.
        accuracy: Metric that says whether an answer is right; None: there are no answers.
        said: Entry of lm-eval's log → answer; only read with ``accuracy``.
        clusters: Item → the independent unit that it belongs to.
    """

    name: str
    label: str
    definition: TaskDefinition
    rows: Callable[[Samples], Iterable[Row]]
    sha256: str
    chosen: list[int] | None = None
    rendered: bool = False
    gold: Gold = ()
    accuracy: str | None = None
    said: Callable[[Mapping[str, Any]], Said] = field(default=lambda _: Said("generation"))
    clusters: Mapping[str, str] = field(default_factory=dict)


def tasks_of(
    config: EvaluationConfig,
    tokenizer: Any,
    tests: Sequence[tuple[ItemFile, TokenizedData]],
) -> list[Task]:
    """Check every item of an evaluation and build its tasks.

    Args:
        config: What to evaluate.
        tokenizer: With the chat template of the model.
        tests: Test examples of each of the config's domains, as text and tokenized.

    Raises:
        BenchmarkError: If a file is missing or an item is unusable.
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
    """File with the items of one benchmark of the general suite."""
    return cache_dir() / "benchmarks" / f"{name}.jsonl"


def general_task(name: str, limit: int | None, spec: EvaluationSpec, tokenizer: Any) -> Task:
    """Task of one benchmark of the general suite, limited to its first ``limit`` items.

    The file has them in random order; for lm-eval's own tasks they are sorted as in their source.
    """
    benchmark = BENCHMARKS[name]
    items, sha256 = check_items(name, items_path(name))
    # A split other than the test is a source of worked examples.
    n_items = sum(item.get("split", "test") == "test" for item in items)
    chosen = list(range(min(limit or n_items, n_items)))
    definition = benchmark.task(name, items, TaskOptions(tokenizer, spec.execute_code))
    rows = partial(benchmark.rows, name)
    return Task(
        name,
        name,
        definition,
        rows,
        sha256,
        chosen,
        rendered=benchmark.rendered,
        accuracy=benchmark.accuracy,
        said=said_in_suite(benchmark, tokenizer),
        clusters={item["id"]: benchmark.cluster(item) for item in items},
    )


def domain_task(
    spec: DomainSpec, test: ItemFile, tokenized: TokenizedData, tokenizer: Any, max_length: int
) -> Task:
    """Task of a domain: chat prompts, greedy answers, the domain's grading; gold answers' loss."""
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
        max_new_tokens(spec, tokenized, max_length),
    )
    return Task(
        name,
        str(spec.label),
        definition,
        partial(domain_rows, spec),
        test.sha256,
        rendered=True,
        gold=gold_answers(test.items, tokenized),
        accuracy="accuracy",
        said=said_in_domain(domain, tokenizer),
        clusters={record["id"]: domain.cluster(record) for record in test.items},
    )


def gold_answers(
    records: Sequence[Mapping[str, Any]], tokenized: TokenizedData
) -> list[tuple[str, list[int], list[int]]]:
    """Id, prompt and response of every test example, tokenized as in training."""
    answers = []
    for i, record in enumerate(records):
        tokens, mask = tokenized.example(i)
        n_prompt = int(mask.argmax())
        answers.append((str(record["id"]), tokens[:n_prompt].tolist(), tokens[n_prompt:].tolist()))
    return answers


def read_records(spec: DomainSpec, path: Path) -> ItemFile:
    """Read a domain's test examples and check the fields that prompt and grading read.

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


def domain_rows(spec: DomainSpec, samples: Samples) -> list[Row]:
    """Accuracy, format failures and, for a closed set of labels, balanced accuracy."""
    label = str(spec.label)
    graded = [(json.loads(s["doc"]["record"]), s) for s in samples]
    rows: list[Row] = []
    for record, sample in graded:
        rows.append((label, record["id"], "accuracy", float(sample["correct"]), 1.0))
        rows.append((label, record["id"], "format_failure", float(sample["format_failure"]), 1.0))
    if get_domain(spec.name).labels:
        # Weighted so that the mean over items is the mean over gold labels of their accuracies.
        counts = Counter(record["answer"] for record, _ in graded)
        for record, sample in graded:
            weight = len(graded) / (len(counts) * counts[record["answer"]])
            value = float(sample["correct"]) * weight
            rows.append((label, record["id"], "balanced_accuracy", value, 1.0))
    return rows


def run_tasks(
    lm: Any,
    tasks: Sequence[Task],
    chat_template: bool,
    keep: Callable[[Task, list[TokenScores]], None] | None = None,
) -> tuple[list[Row], dict[str, Any], list[Answer]]:
    """Run every task by itself, after all of them have been built.

    Args:
        lm: The model, as lm-eval's model class.
        tasks: See :func:`tasks_of`.
        chat_template: Put the general suite's prompts into the model's chat template. Without it
            the prompts are the same for base and tuned models. Domain prompts are always rendered
            as in training.
        keep: Gets the scores of single tokens of each task's right answers.

    Returns:
        The rows, for every task its version and the numbers of worked examples and of items, and
        the answers.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    built = manager.load([task.definition for task in tasks])["tasks"]
    templates = [chat_template and not task.rendered for task in tasks]
    for task, template in zip(tasks, templates, strict=True):
        build_requests(lm, task, built[task.name], template)
    rows: list[Row] = []
    facts = {}
    answers: list[Answer] = []
    for task, template in zip(tasks, templates, strict=True):
        found, facts[task.name], answered = _ask(lm, task, built[task.name], template, keep)
        rows += found
        answers += answered
    return rows, facts, answers


def _ask(
    lm: Any,
    task: Task,
    built: Any,
    chat_template: bool,
    keep: Callable[[Task, list[TokenScores]], None] | None,
) -> tuple[list[Row], dict[str, Any], list[Answer]]:
    from lm_eval import evaluator

    # Generation then scores the gold answers while it holds the prompts' keys.
    wanted = keep if task.gold else None
    lm.expect(gold_requests(task), tokens=wanted is not None)
    # Not simple_evaluate: it spends seconds per job on collecting details of the environment (host
    # name included) and seeds generators that nothing here uses.
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
            f"task {task.name!r}: lm-eval asked {n_items} items, not the {len(task.chosen)} chosen"
        )
    facts = {
        "version": found["versions"][task.name],
        "n_shot": found["n-shot"][task.name],
        "n_items": n_items,
    }
    samples = found["samples"][task.name]
    answers = graded(task.rows, task.accuracy, task.said, samples) if task.accuracy else []
    rows = [*task.rows(samples), *gold_rows(lm, task)]
    if wanted:
        wanted(task, lm.token_scores(gold_requests(task)))
    return rows, facts, list(answers)


def gold_rows(lm: Any, task: Task) -> list[Row]:
    """Loss of a domain's right answers: nats and tokens of each."""
    scored = lm._loglikelihood_tokens(gold_requests(task), disable_tqdm=True) if task.gold else []
    return [
        (task.label, item, "nll", -nats, float(len(answer)))
        for (item, _, answer), (nats, _) in zip(task.gold, scored, strict=True)
    ]


def gold_requests(task: Task) -> Scored:
    """A domain's right answers as log-likelihood requests."""
    return [(None, prompt, answer) for _, prompt, answer in task.gold]


def build_requests(lm: Any, task: Task, built: Any, chat_template: bool) -> None:
    """Build a task's requests once and refuse any that does not fit the window.

    Otherwise lm-eval would cut off the start of the prompt, which makes it another question.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    built.set_fewshot_seed(DEFAULT_OTHER_SEED)  # for the worked examples that lm-eval draws
    built.build_all_requests(
        samples=task.chosen,
        rank=lm.rank,
        world_size=lm.world_size,
        apply_chat_template=chat_template,
        fewshot_as_multiturn=chat_template,
        chat_template=lm.apply_chat_template if chat_template else None,
        tokenizer_name=lm.tokenizer_name if chat_template else "",
    )
    built.build_all_requests = lambda **keywords: None  # evaluate would build them again
    for request in built.instances:
        n_tokens = _window(lm, request)
        if n_tokens > lm.max_length:
            item = request.doc.get("id") or json.loads(request.doc["record"])["id"]
            raise SuiteError(
                f"evaluation.max_length: {lm.max_length} is too small for task {task.name!r}, item "
                f"{item!r}, which needs {n_tokens} tokens; raise it as far as the model "
                "allows, lower max_new_tokens, or lower the task's limit"
            )


def _window(lm: Any, request: Any) -> int:
    """Tokens that a request needs at once; rolling requests are split into windows by design."""
    if request.request_type == "loglikelihood":
        return len(lm.tok_encode("".join(request.args))) + 1  # vLLM always generates a token
    if request.request_type == "generate_until":
        prompt, settings = request.args
        return len(lm.tok_encode(prompt)) + int(settings.get("max_gen_toks", lm.max_gen_toks))
    return 0
