"""The task files through lm-eval: prompts word for word, shots, metrics of every new task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval import evaluator
from lm_eval.tasks import TaskManager

from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.base import TaskOptions
from sft_tradeoff.suite.registry import BENCHMARKS

SHOTS = """\
Question: Mrs. Hilt met 15 friends. Nine of the friends were carrying pears. The rest were \
carrying oranges. How many friends were carrying oranges?
Answer: 6 friends

Question: Beth has 4 packs of crayons. Each pack has 10 crayons in it. She also has 6 extra \
crayons. How many crayons does Beth have altogether?
Answer: 46 crayons

Question: Ted has 15 candy bars. He wants to put them into 5 bags so there are the same number of \
candy bars in each bag. How many candy bars should go in each bag?
Answer: 3 candy bars

Question: Angela won a contest. She gets $90 to spend at Puzzle Palace. She bought many wonderful \
puzzles. She had $12 left. How much did she spend?
Answer: 78 dollars

"""
ITEMS: dict[str, dict[str, Any]] = {
    "social_iqa": {
        "passage": "Tracy made a table.",
        "question": "How would Tracy feel?",
        "choices": ["proud", "sad", "bored"],
        "gold": 0,
    },
    "boolq": {
        "passage": "A queen ant lays eggs.",
        "question": "do ants lay eggs?",
        "choices": ["no", "yes"],
        "gold": 1,
    },
    "asdiv_choice": {
        "question": "Ann has 9 pears and eats 2. How many are left?",
        "choices": ["9 pears", "7 pears", "18 pears", "8 pears"],
        "gold": 1,
    },
    "asdiv": {"question": "Ann has 9 pears. How many are left?", "answer": "9 pears"},
    "code_length_math": {"text": "Factor $36-9x^2$.\n9(2-x)(2+x)"},
    "code_length_dialogue": {"text": "Doctor: Hello.\nPatient: Hello."},
}
# Context and continuations of the first item.
PROMPTS = {
    "social_iqa": (
        "Tracy made a table.\nQuestion: How would Tracy feel?\nAnswer:",
        [" proud", " sad", " bored"],
    ),
    "boolq": ("A queen ant lays eggs.\nQuestion: do ants lay eggs?\nAnswer:", [" no", " yes"]),
    "asdiv_choice": (
        "Question: Ann has 9 pears and eats 2. How many are left?\nAnswer:",
        [" 9 pears", " 7 pears", " 18 pears", " 8 pears"],
    ),
    "asdiv": (SHOTS + "Question: Ann has 9 pears. How many are left?\nAnswer:", None),
    "code_length_math": ("Factor $36-9x^2$.\n9(2-x)(2+x)", None),
    "code_length_dialogue": ("Doctor: Hello.\nPatient: Hello.", None),
}
METRICS = {
    "social_iqa": {"acc", "acc_norm"},
    "boolq": {"acc", "acc_norm"},
    "asdiv_choice": {"acc", "acc_norm"},
    "asdiv": {"exact_match", "format_failure"},
    "code_length_math": {"bits_per_byte"},
    "code_length_dialogue": {"bits_per_byte"},
}


@pytest.fixture(scope="module")
def report(random_model: Path) -> dict[str, Any]:
    """lm-eval's report on two items of each task, all tasks in one call as in the evaluation."""
    definitions = []
    for name, item in ITEMS.items():
        items = [{"id": f"{name}-{i}", **item} for i in (1, 2)]
        definitions.append(BENCHMARKS[name].task(name, items, TaskOptions(None, False)))
    tasks = TaskManager(include_defaults=False).load(definitions)
    lm = load_lm(random_model, EvaluationSpec(dtype="float32"))
    return dict(evaluator.evaluate(lm, tasks, bootstrap_iters=0))


@pytest.mark.parametrize("name", ITEMS)
def test_prompt_and_choices(report: dict[str, Any], name: str) -> None:
    sample = min(report["samples"][name], key=lambda s: s["doc"]["id"])
    context, continuations = PROMPTS[name]
    requests = [request for request in sample["arguments"]]
    assert [request[0] for request in requests] == [context] * len(requests)
    if continuations:
        assert [request[1] for request in requests] == continuations
        assert sample["target"] == ITEMS[name]["gold"]
    else:
        assert len(requests) == 1


@pytest.mark.parametrize("name", ITEMS)
def test_shots_version_and_metrics(report: dict[str, Any], name: str) -> None:
    assert report["n-shot"][name] == (4 if name == "asdiv" else 0)
    assert report["versions"][name] == 1.0
    samples = report["samples"][name]
    assert [s["doc"]["id"] for s in samples] == [f"{name}-1", f"{name}-2"]
    for sample in samples:
        assert set(sample["metrics"]) == METRICS[name]
        assert set(sample) >= METRICS[name]


def test_generation_is_greedy_short_and_stops_at_the_next_question(report: dict[str, Any]) -> None:
    (sample, _) = report["samples"]["asdiv"]
    ((_, settings),) = sample["arguments"]
    assert settings == {"do_sample": False, "max_gen_toks": 32, "until": ["\n\n", "Question:"]}
    answer = sample["filtered_resps"][0]
    assert "\n\n" not in answer and "Question:" not in answer
    assert sample["format_failure"] == float(not any(c.isdigit() for c in answer))
