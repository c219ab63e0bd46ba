"""The generated prompts as an lm-eval task: offline, rendered, one row per metric."""

import json
import math
import os
import subprocess
import sys

import pytest

from sft_tradeoff.suite.base import TaskOptions
from sft_tradeoff.suite.instruction_following import (
    METRICS,
    build,
    instruction_following_rows,
    instruction_following_task,
    score,
)

ENGLISH = "the morning was calm and the old man walked slowly down to the harbor"
NAN = pytest.approx(math.nan, nan_ok=True)


@pytest.fixture(scope="module")
def items():
    return build()


def item_of(*instructions):
    """An item with the given (type, arguments)."""
    return {
        "id": "i",
        "key": 0,
        "prompt": "p",
        "instruction_id_list": [name for name, _ in instructions],
        "kwargs": [arguments for _, arguments in instructions],
    }


# --- offline ------------------------------------------------------------------------------------

COUNT_CONNECTIONS = """
import importlib, socket, sys
calls = []
def refuse(*arguments, **_):
    calls.append(arguments)
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

from sft_tradeoff.suite.instruction_following import build, score
score(build()[0], "text")
print("connections:", len(calls))
importlib.reload(sys.modules["lm_eval.tasks.ifeval.instructions_util"])
print("connections:", len(calls))
"""


def test_nothing_is_fetched(tmp_path):
    """No connection is tried; loaded as it is, lm-eval's module does try, so the count counts."""
    environment = dict(os.environ, NLTK_DATA=str(tmp_path), HOME=str(tmp_path), LOCAL_RANK="0")
    done = subprocess.run(
        [sys.executable, "-c", COUNT_CONNECTIONS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, *_, last = [x for x in done.stdout.split("\n") if x.startswith("connections:")]
    assert first == done.stdout.split("\n")[0] == "connections: 0"
    assert last != "connections: 0"


# --- through lm-eval ----------------------------------------------------------------------------


def evaluate(model, items, max_gen_toks=8):
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    from sft_tradeoff.evaluation.load import load_lm
    from sft_tradeoff.study.spec import EvaluationSpec

    lm = load_lm(model, EvaluationSpec(dtype="float32"))
    task = instruction_following_task("t", items, TaskOptions(lm.tokenizer, False), max_gen_toks)
    tasks = TaskManager(include_defaults=False).load([task])
    return evaluator.evaluate(lm, tasks, samples={"t": [0, 1, 2]}, bootstrap_iters=0)


def test_task_runs_in_lm_eval(items, random_model):
    """Three of four items, prompts rendered, greedy, scores of exactly the generated text."""
    chosen = [item for item in items if len(item["kwargs"]) == 2][:4]
    samples = evaluate(random_model, chosen)["samples"]["t"]
    assert len(samples) == 3
    for sample, item in zip(samples, chosen, strict=False):
        assert sample["arguments"][0][0] == f"<s>[USER] {item['prompt']} [/USER] "
        assert {m: sample[m] for m in METRICS} == score(item, sample["filtered_resps"][0])
    rows = instruction_following_rows("t", samples)
    assert [r[:3] for r in rows] == [("t", i["id"], m) for i in chosen[:3] for m in METRICS]
    assert {r[2]: r[4] for r in rows} == dict(zip(METRICS, (1.0, 1.0, 2.0, 2.0), strict=True))
    assert all(math.isfinite(value) for *_, value, _ in rows)
    again = evaluate(random_model, chosen)["samples"]["t"]
    assert [s["resps"] for s in again] == [s["resps"] for s in samples]


def test_rows_by_hand():
    """Two of three instructions followed in one item, one broken in the other: 2/3 and NaN."""
    three = {"id": "a", "instruction_id_list": ["x", "y", "z"]}
    one = {"id": "b", "instruction_id_list": ["x"]}
    samples = [
        {"doc": {"record": json.dumps(item)}, **dict(zip(METRICS, values, strict=True))}
        for item, values in ((three, (0.0, 1.0, 2.0, 3.0)), (one, (math.nan, 0.0, math.nan, 0.0)))
    ]
    rows = instruction_following_rows("g", samples)
    assert rows[:4] == [
        ("g", "a", "prompt_level_strict", 0.0, 1.0),
        ("g", "a", "prompt_level_loose", 1.0, 1.0),
        ("g", "a", "inst_level_strict", 2.0, 3.0),
        ("g", "a", "inst_level_loose", 3.0, 3.0),
    ]
    assert rows[4] == ("g", "b", "prompt_level_strict", NAN, 1.0)
    assert rows[6] == ("g", "b", "inst_level_strict", NAN, 1.0)
