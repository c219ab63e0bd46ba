"""Hold a study against the claims in config/claims.yaml: a table, a page, a figure, and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from sft_tradeoff.analysis.claims.results import read_results
from sft_tradeoff.analysis.claims.spec import CLAIMS_PATH, read_claims
from sft_tradeoff.analysis.claims.study import judge_claims
from sft_tradeoff.analysis.claims.table import claims_record, claims_table
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.report.claims_figure import draw
from sft_tradeoff.report.claims_page import to_markdown
from sft_tradeoff.report.figures.style import house_style, save_figure
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff claims``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--claims", type=Path, default=CLAIMS_PATH, help="claims, YAML")
    parser.add_argument("--out-stem", type=Path, required=True, help="output path, no extension")


def main(args: argparse.Namespace) -> None:
    """Write the verdicts of one study as page, JSON, CSV and figure."""
    with run_main("claims"):
        claims = read_claims(args.claims)
        judgments = judge_claims(claims, read_results(read_run_table(args.run_table), args.runs))
        table, stem = claims_table(judgments), args.out_stem
        atomic_write_text(stem.with_name(f"{stem.name}.md"), to_markdown(table))
        atomic_write_json(stem.with_name(f"{stem.name}.json"), claims_record(judgments))
        with house_style():
            save_figure(draw(table), table, stem)
