"""The registry: every benchmark complete, and light enough for every dry run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sft_tradeoff.suite import registry
from sft_tradeoff.suite.base import ITEM_TOKENS, TaskOptions
from sft_tradeoff.suite.registry import BENCHMARKS

FROM_FILES = [  # those whose task needs neither a tokenizer nor the sandbox
    name for name, b in BENCHMARKS.items() if not b.rendered and not b.runs_code
]


def test_no_name_is_used_twice() -> None:
    modules = (
        registry.multiple_choice,
        registry.word_problems,
        registry.instruction_following,
        registry.human_eval,
        registry.code_length,
        registry.stock,
    )
    names = [benchmark.name for module in modules for benchmark in module.BENCHMARKS]
    assert names == list(BENCHMARKS)  # a second one of a name would have replaced the first
    assert len(names) == 17


@pytest.mark.parametrize("name", [n for n in FROM_FILES if n not in ("ifeval", "gsm8k")])
def test_a_task_has_the_name_the_items_and_the_accuracy_of_its_benchmark(name: str) -> None:
    items = [{"id": "1", "text": "Once."}]
    task = BENCHMARKS[name].task(name, items, TaskOptions(None, execute_code=False))
    assert task["task"] == name and "dataset_path" not in task
    rows = task["custom_dataset"]()["test"]
    assert rows.to_list() == items
    metrics = {metric["metric"] for metric in task["metric_list"]}
    assert (BENCHMARKS[name].accuracy or "bits_per_byte") in metrics


def test_every_kind_has_an_estimate_of_its_tokens() -> None:
    assert BENCHMARKS["piqa"].item_tokens == (100, 0)
    assert BENCHMARKS["human_eval"].item_tokens == (200, 250)
    assert {b.kind for b in BENCHMARKS.values()} == set(ITEM_TOKENS)


def test_assets_are_in_the_catalogue() -> None:
    catalogue = yaml.safe_load(Path("config/catalogue.yaml").read_text())
    wanted = {a for b in BENCHMARKS.values() for a in (b.asset, b.grader_asset) if a}
    assert wanted <= set(catalogue["assets"])


def test_import_is_light() -> None:
    code = (
        "import sys\nimport sft_tradeoff.suite.registry\n"
        "assert not {'lm_eval', 'nltk', 'datasets', 'torch', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
