"""Redraw tables and figures of published studies; trains nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sft_tradeoff.planning.run_study import add_run_arguments
from sft_tradeoff.planning.snakemake_run import require_project_folder, run
from sft_tradeoff.report import PAGE
from sft_tradeoff.system.console import run_main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff redraw``."""
    parser.add_argument("--study", help="a published study; default: all")
    add_run_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Redraw; a study may be running meanwhile, and file times in a clone mean nothing."""
    with run_main("redraw"):
        require_project_folder()
        study = ["--config", f"study={args.study}"] if args.study else []
        snakefile = ("--snakefile", "workflow/published.smk")
        forced = ("--forceall", "--nolock", "--cores", args.cores)
        if code := run([sys.executable, "-m", "snakemake", *snakefile, *forced, *study]):
            sys.exit(code)
        for page in sorted(Path("figures").glob(f"{args.study or '*'}/{PAGE}")):
            print(f"Page: {page}")
