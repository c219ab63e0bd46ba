"""What Snakemake imports for every dry run loads no library that takes seconds to import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "transformers", "accelerate", "datasets", "peft", "lm_eval"}
RULES = [Path("Snakefile"), *sorted(Path("workflow").rglob("*.smk"))]
IMPORT = re.compile(r"^(?:from|import) (sft_tradeoff[\w.]*)", re.MULTILINE)


def imported_by_rules() -> set[str]:
    return {name for path in RULES for name in IMPORT.findall(path.read_text())}


def test_planning_a_study_loads_no_torch() -> None:
    """The static contract in .importlinter ignores imports in functions; this one runs them."""
    modules = imported_by_rules()
    assert "sft_tradeoff.suite.registry" in modules  # the pattern still finds the imports
    code = f"""
import importlib, sys
for name in {sorted(modules)}:
    importlib.import_module(name)
from sft_tradeoff.study.checks import check_files, unpinned_assets
from sft_tradeoff.study.config import load_study
from sft_tradeoff.study.runs import evaluation_configs, expand_runs
from sft_tradeoff.suite.registry import BENCHMARKS
path = "config/studies/quick.yaml"
study = load_study(path)
check_files(study, path, BENCHMARKS)
unpinned_assets(study, path)
assert expand_runs(study) and evaluation_configs(study)
found = sorted({HEAVY} & set(sys.modules))
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_checking_own_data_loads_no_pandas() -> None:
    """It takes half a second and 60 MB, beside which the data of 200,000 lines are small."""
    code = "import sys, sft_tradeoff.planning.own; assert 'pandas' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
