"""Run the benchmarks: fetch what the quick study needs, then run each script in turn."""

from __future__ import annotations

import argparse
import sys

from sft_tradeoff.planning.snakemake_run import require_project_folder, run, snakemake_command
from sft_tradeoff.study.config import STUDIES
from sft_tradeoff.system.console import run_main

FLOAT32 = (
    *("benchmarks/training.py", "--contenders", "trl_fp32", "trainer_fp32", "ours_fp32"),
    *("--float32-steps", "20", "--batch-size", "4", "--out", "results/bench/float32"),
)
SCRIPTS = (
    ("benchmarks/methods.py",),
    ("benchmarks/evaluation.py",),
    FLOAT32,
    ("benchmarks/training.py",),
    ("benchmarks/linear_cost.py",),
    ("benchmarks/precision.py",),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff bench``."""
    parser.add_argument(
        "--cores", default="all", help="cores used for fetching; a number, or all (default)"
    )


def main(args: argparse.Namespace) -> None:
    """Run the benchmarks; the first that fails is the last."""
    with run_main("bench"):
        require_project_folder()
        material = [*snakemake_command(STUDIES / "quick.yaml", args.cores, {}), "material"]
        for command in [material, *([sys.executable, *script] for script in SCRIPTS)]:
            if code := run(command):
                sys.exit(code)
