"""The paper's general suite: lm-eval's own ``ifeval``, ``gsm8k`` and ``humaneval``, offline.

Prompt, few-shot count, generation settings, stop strings, filters, metrics and version come from
the task file of the installed lm-eval; only the data set is replaced, by a file made from an asset.

Which benchmarks are general depends on the domain. For MedCalc and ESCI they are IFEval, GSM8K and
HumanEval, as in the paper. MetaMathQA was made from GSM8K's training questions, so next to it GSM8K
is the domain's own test, and IFEval and HumanEval are left.

In ``humaneval`` the model continues a bare function, which works only without a chat template: a
chat answer consists of prose and a code block. ``humaneval_instruct``, also lm-eval's, opens the
code block for the model and ends the answer where the block ends.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sft_tradeoff.assets.fetch import RECORD_NAME, cache_dir, check_asset
from sft_tradeoff.assets.records import read_rows
from sft_tradeoff.sandbox.run import Limits
from sft_tradeoff.suite.base import Benchmark, Row, Samples, TaskDefinition, TaskOptions
from sft_tradeoff.suite.dataset import in_memory
from sft_tradeoff.suite.human_eval import pass_at_1, program_of, require_execution
from sft_tradeoff.suite.instruction_following import METRICS, ifeval_module
from sft_tradeoff.suite.items import BenchmarkError, Item, find_defect

logger = logging.getLogger(__name__)

# Asset with nltk's sentence model, needed to grade two types of instructions.
PUNKT = "nltk-punkt"
_PUNKT_FOLDER = Path("llama_index/core/_static/nltk_cache")
_GOLD = re.compile(r"#### \S*\d\S*\s*$")


class Stock(NamedTuple):
    """One of lm-eval's tasks.

    Args:
        file: Task file within ``lm_eval/tasks``.
        columns: Columns of its data set and their types.
        metrics: (lm-eval's filter, lm-eval's metric) → metric here.
        id_column: The data set's id column; if empty, records are numbered.
        splits: Prefixes of file names; by default one split, whose files may have any name.
        runs_code: Whether scoring runs code that the model wrote.
    """

    file: str
    columns: Mapping[str, type]
    metrics: Mapping[tuple[str, str], str]
    id_column: str = ""
    splits: tuple[str, ...] = ("",)
    runs_code: bool = False


def _human_eval(file: str) -> Stock:
    columns = dict.fromkeys(("task_id", "prompt", "test", "entry_point"), str)
    return Stock(file, columns, {("none", "pass_at_1"): "pass_at_1"}, "task_id", runs_code=True)


STOCK = {
    "ifeval": Stock(
        "ifeval/ifeval.yaml",
        {"key": int, "prompt": str, "instruction_id_list": list, "kwargs": list},
        {("none", f"{metric}_acc"): metric for metric in METRICS},
        "key",
    ),
    "gsm8k": Stock(
        "gsm8k/gsm8k.yaml",
        {"question": str, "answer": str},
        {
            ("strict-match", "exact_match"): "exact_match_strict",
            ("flexible-extract", "exact_match"): "exact_match_flexible",
        },
        splits=("train", "test"),
    ),
    "humaneval": _human_eval("humaneval/humaneval.yaml"),
    "humaneval_instruct": _human_eval("humaneval/humaneval_instruct.yaml"),
}


def build(source: Path, name: str) -> list[Item]:
    """Read a data set in the layout of its hub repository.

    Args:
        source: Folder of the asset, with ``.jsonl`` or ``.parquet`` files.
        name: Key of :data:`STOCK`.

    Returns:
        Items with ``id``, ``row`` (position in the source), the data set's columns and, if it has
        several splits, ``split``: GSM8K's few-shot examples are training questions.

    Raises:
        BenchmarkError: Naming benchmark, file, record, id, defect and fix.
    """
    stock, items = STOCK[name], []
    for split in stock.splits:
        for row, (where, record) in enumerate(_records(name, source, split)):
            item = {column: record[column] for column in stock.columns if column in record}
            item |= {"id": str(record.get(stock.id_column, f"{split}-{row:05d}")), "row": row}
            item |= {"split": split} if split else {}
            if defect := _find_defect(item, stock):
                raise BenchmarkError(
                    f"{name}: {where} (id {item['id']!r}): {defect}; this is not the data set of "
                    "lm-eval's task; fetch its asset again, or correct your own files"
                )
            items.append(item)
    return items


def _records(name: str, source: Path, split: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every record with its location, from the one folder and format that holds the split."""
    paths = [
        path.relative_to(source)
        for path in sorted(source.rglob(f"{split}*"))
        if path.suffix in (".jsonl", ".parquet")
    ]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    if len({(path.parent, path.suffix) for path in paths}) != 1:
        raise BenchmarkError(
            f"{name}: {source} must hold {split}*.jsonl or {split}*.parquet in one folder, not "
            f"{', '.join(map(str, paths)) or 'neither'}; let the asset contain only these files"
        )
    for path in paths:
        for row in read_rows([source / path]):
            yield f"{path}, row {row.number}", row.values


def _find_defect(item: Item, stock: Stock) -> str | None:
    if defect := find_defect(item, "generation", tuple(stock.columns)):
        return defect
    for column, expected in stock.columns.items():
        if type(item[column]) is not expected:
            return f"{column!r} is {item[column]!r}, not {expected.__name__}"
    if "answer" in item and not _GOLD.search(item["answer"]):
        return f"'answer' does not end in '#### <number>' but in {item['answer'][-40:]!r}"
    if "entry_point" in item and f"def {item['entry_point']}(" not in item["prompt"]:
        return f"'prompt' has no function {item['entry_point']!r}"
    if "kwargs" in item and len(item["kwargs"]) != len(item["instruction_id_list"]):
        return f"'kwargs' has {len(item['kwargs'])} entries for {item['instruction_id_list']}"
    return None


def stock_task(name: str, items: Sequence[Item], options: TaskOptions) -> TaskDefinition:
    """Return lm-eval's own task with our items as its data set.

    Args:
        name: Key of :data:`STOCK`.
        items: See :func:`build`.
        options: With the permission to run generated code.

    Raises:
        BenchmarkError: If an item cannot be graded.
        ExecutionNotAllowed: If the task runs generated code and the study does not allow it.
        SandboxError: If this machine cannot isolate programs.
    """
    stock = STOCK[name]
    if stock.runs_code:
        require_execution(name, options.execute_code)
    task = _read_task(stock)
    if stock.runs_code:
        task |= _tested_in_sandbox(in_block="gen_prefix" in task)
    elif name == "ifeval":
        _require_graders(items)
    splits: dict[str, list[Item]] = {}
    # In the order of the source, on which the drawn few-shot examples depend.
    for item in sorted(items, key=lambda item: int(item["row"])):
        splits.setdefault(item.get("split", task["test_split"]), []).append(item)
    task["custom_dataset"] = in_memory(splits)
    return task


def _read_task(stock: Stock) -> dict[str, Any]:
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None
    task = _read_yaml(Path(spec.origin).parent / "tasks" / stock.file)
    return {key: task[key] for key in task if key not in ("tag", "dataset_path", "dataset_name")}


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a task file without importing its functions: HumanEval's would download a scorer."""
    functions = {"utils.process_results": _grade, "utils.agg_inst_level_acc": _aggregate}

    class Loader(yaml.SafeLoader):
        """Understands lm-eval's tag for functions."""

    Loader.add_constructor("!function", lambda _, node: functions.get(node.value))
    task: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader)
    included = task.pop("include", None)
    return (_read_yaml(path.parent / included) if included else {}) | task


def _tested_in_sandbox(in_block: bool) -> dict[str, Any]:
    """Score HumanEval with lm-eval's programs, but in the sandbox; lm-eval has none."""

    def run_tests(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
        completion = results[0].split("```")[0] if in_block else results[0]
        return {"pass_at_1": pass_at_1(doc["id"], program_of(doc, completion), Limits())}

    return {
        "process_results": run_tests,
        "metric_list": [{"metric": "pass_at_1", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": None,
        "unsafe_code": False,
    }


def _require_graders(items: Iterable[Item]) -> None:
    """Grade a dummy answer to every prompt, so that a broken item fails before any model runs."""
    ifeval = ifeval_module()
    _find_punkt()
    for item in items:
        example = (item["key"], item["instruction_id_list"], item["prompt"], item["kwargs"])
        try:
            ifeval.test_instruction_following_strict(ifeval.InputExample(*example), "One. Two.")
        except Exception as error:  # an unknown instruction or argument may raise anything
            reason = f"{type(error).__name__}: {error}; fetch the benchmark's asset again"
            if type(error) is LookupError:  # nltk's; KeyError is a subclass
                reason = (
                    f"nltk's punkt_tab is missing; fetch the asset {PUNKT!r}, or set its 'path' "
                    "(source: local) to the folder with tokenizers/punkt_tab that 'python -m "
                    "nltk.downloader -d FOLDER punkt_tab' creates on a machine with a network"
                )
            raise BenchmarkError(f"ifeval: id {item['id']!r} cannot be graded: {reason}") from error


def _find_punkt() -> None:
    """Tell nltk where the asset with its sentence model is.

    In ``NLTK_DATA``, which the workflow sets from the study's assets, or in the cache. The asset is
    a wheel, whose layout nltk does not search by itself.
    """
    from nltk import data  # type: ignore[import-untyped]

    folders = os.environ.get("NLTK_DATA", "").split(os.pathsep)
    folders.append(str(cache_dir() / "assets" / PUNKT))
    for folder in map(Path, filter(None, folders)):
        if (folder / RECORD_NAME).is_file():
            check_asset(folder, folder / RECORD_NAME)
        data.path.append(str(folder / _PUNKT_FOLDER))


def _grade(doc: Mapping[str, Any], results: list[str]) -> dict[str, Any]:
    """lm-eval's metrics of one response, NaN if a checker fails on it."""
    try:
        return dict(ifeval_module().process_results(doc, results))
    except Exception as error:  # must not discard the answers to all other prompts
        logger.warning("ifeval: id %s: a checker failed (%r); its scores are NaN", doc["id"], error)
        broken = [math.nan] * len(doc["instruction_id_list"])
        return {f"{m}_acc": broken if m.startswith("inst") else math.nan for m in METRICS}


def _aggregate(values: list[list[bool]]) -> float:
    return float(ifeval_module().agg_inst_level_acc(values))


def stock_rows(name: str, samples: Samples) -> list[Row]:
    """One row per item and metric: (benchmark, item, metric, value, size).

    Σ value / Σ size is the score. The size is 1, except at IFEval's instruction level: the number
    of the prompt's instructions.
    """
    rows = []
    for sample in samples:  # one entry per item and filter
        for metric in sample["metrics"]:
            value = sample[metric] if isinstance(sample[metric], list) else [sample[metric]]
            label = STOCK[name].metrics[sample["filter"], metric]
            size = float(len(value))
            rows.append((name, str(sample["doc"]["id"]), label, float(sum(value)), size))
    return rows


def _stock(name: str, asset: str, accuracy: str, n_items: int, **facts: Any) -> Benchmark:
    task = STOCK[name]
    return Benchmark(
        name=name,
        asset=asset,
        build=partial(build, name=name),
        kind="generation",
        columns=(*task.columns, "row"),
        task=stock_task,
        rows=stock_rows,
        n_items=n_items,
        accuracy=accuracy,
        runs_code=task.runs_code,
        **facts,
    )


BENCHMARKS = (
    _stock("ifeval", "ifeval", "prompt_level_strict", 541, grader_asset=PUNKT),
    _stock("gsm8k", "gsm8k", "exact_match_strict", 1319),
    _stock("humaneval", "humaneval", "pass_at_1", 164, chat_template=False),
    _stock("humaneval_instruct", "humaneval", "pass_at_1", 164, chat_template=True),
)
