"""The registry: complete benchmarks, and an import that is light enough for dry runs."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

import sft_tradeoff.suite
from sft_tradeoff.suite.base import ITEM_TOKENS, TaskOptions
from sft_tradeoff.suite.build import build_benchmark, check_items
from sft_tradeoff.suite.registry import BENCHMARKS, MODULES

FROM_FILES = [  # those whose task needs neither a tokenizer nor the sandbox
    name for name, b in BENCHMARKS.items() if not b.rendered and not b.runs_code
]


def test_no_name_is_used_twice() -> None:
    names = [benchmark.name for module in MODULES for benchmark in module.BENCHMARKS]
    assert names == list(BENCHMARKS)  # of two with the same name the registry would keep one


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
    missing = sorted(wanted - set(catalogue["assets"]))
    assert not missing, f"add {missing} to 'assets' in config/catalogue.yaml"


def test_import_is_light() -> None:
    code = (
        "import sys\nimport sft_tradeoff.suite.registry\n"
        "assert not {'lm_eval', 'nltk', 'datasets', 'torch', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(sft_tradeoff.suite.__path__[0]) / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (record,) = re.findall(r"`(\{\"country.*?\})`", guide)
    module: dict[str, Any] = {}
    exec(textwrap.dedent(code), module)
    (benchmark,) = module["BENCHMARKS"]
    monkeypatch.setitem(BENCHMARKS, benchmark.name, benchmark)
    (tmp_path / "capitals.jsonl").write_text(f"{record}\n")
    assert build_benchmark("capitals", tmp_path, tmp_path / "items.jsonl") == 1
    items = check_items("capitals", tmp_path / "items.jsonl").items
    assert items == [
        {
            "id": "capitals-0001",
            "question": "What is the capital of Peru?",
            "choices": ["Bogota", "La Paz", "Lima", "Quito"],
            "gold": 2,
        }
    ]
    task = benchmark.task("capitals", items, TaskOptions(None, execute_code=False))
    assert task["output_type"] == "multiple_choice"
