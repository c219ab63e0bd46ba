"""Stages that only read results import little of the project, and nothing for training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STUDY = ROOT / "results/published/quick"
LARGE = {"torch", "transformers", "accelerate", "datasets", "peft", "lm_eval"}
TRADEOFF = f"{STUDY}/tradeoff_over_seeds.csv"
OVER_SEEDS = ["--tradeoff", TRADEOFF]
RUNS = ["--run-table", f"{STUDY}/run_table.csv", "--runs", f"{STUDY}/runs"]
STAGES = {
    "figure": ["figure", "tradeoff", "--table", TRADEOFF, "--out-stem", "tradeoff"],
    "tables": ["tables", *OVER_SEEDS, "--out-dir", "tables"],
    "recommend": ["recommend", *RUNS, *OVER_SEEDS, "--out", "recommendation.md"],
    "breakpoints": ["breakpoints", *RUNS, *OVER_SEEDS, "--out-stem", "breakpoints"],
    "claims": [
        *("claims", *RUNS, "--claims", f"{ROOT}/config/claims.yaml", "--out-stem", "claims"),
    ],
    "theory": ["theory", "--out-stem", "theory"],
    "aggregate": [
        *("aggregate", *RUNS, "--scores", "scores.csv"),
        *("--tradeoff", "tradeoff.csv", "--over-seeds", "over_seeds.csv"),
    ],
}
RUN = "from sft_tradeoff import cli; cli.main(sys.argv[1:])"
PLAN = "import sft_tradeoff.report.figures, sft_tradeoff.report.published"  # as published.smk does


def modules_of(code: str, folder: Path, arguments: list[str]) -> list[str]:
    """Names of the modules that a fresh process has imported at its end."""
    code = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


def own(modules: list[str]) -> list[str]:
    return [name for name in modules if name.partition(".")[0] == "sft_tradeoff"]


@pytest.mark.parametrize("stage", STAGES)
def test_reading_results_imports_nothing_of_training(tmp_path: Path, stage: str) -> None:
    modules = modules_of(RUN, tmp_path, STAGES[stage])
    assert not LARGE & set(modules)
    assert any(tmp_path.iterdir()), "the stage wrote its output"
    if stage in ("figure", "tables"):
        assert len(own(modules)) <= 20, own(modules)


def test_planning_the_published_workflow_imports_hardly_anything() -> None:
    modules = modules_of(PLAN, ROOT, [])
    assert not (LARGE | {"pandas", "matplotlib"}) & set(modules)
    assert len(own(modules)) <= 20, own(modules)


def test_publishing_imports_nothing_of_training() -> None:
    modules = modules_of("import sft_tradeoff.report.publish", ROOT, [])
    assert "pandas" in modules and not LARGE & set(modules)
