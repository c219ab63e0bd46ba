"""Write the break-points of a study: the largest learning rate within the tolerance, by method."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.breakpoints import BreakPoint, break_points
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.tables import read_over_seeds, read_run_table
from sft_tradeoff.analysis.tolerance import (
    Tolerance,
    Verdict,
    complete_tolerance,
    parse_tolerance,
)
from sft_tradeoff.report.breakpoint_figure import draw
from sft_tradeoff.report.figures.style import house_style, save_figure
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.report.recommend import add_tolerance_argument
from sft_tradeoff.study.names import format_learning_rate, measures_text
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text

COLUMNS = ["model", "domain", "label", "largest_within", "first_exceeding"]
BOUNDS = ["break_point", "low", "high"]
VERDICTS = {verdict: str(verdict).replace(" ", "_") for verdict in Verdict}
HOW = (
    "Rates are judged from the smallest upwards: the break-point lies between the last before the "
    "first that is not within, and the first that exceeds. There it is interpolated: where the "
    "loss, linear between neighboring rates on a log axis, first rises above the tolerance. Its "
    "95 % interval holds the noise of items and seeds, not the error of the interpolation, which "
    "is large if the rates are far apart."
)


def breakpoint_table(points: Sequence[BreakPoint]) -> pd.DataFrame:
    """One row per model, domain and method.

    ``break_point``, ``low`` and ``high`` are 0 below the smallest rate and infinite above the
    largest. ``within``, ``cannot_tell``, ``exceeds`` and ``missing`` list the rates by verdict.
    """
    columns = [*COLUMNS, *BOUNDS, *VERDICTS.values(), "missing", "text"]
    return pd.DataFrame([_row(point) for point in points], columns=columns)


def _row(point: BreakPoint) -> dict[str, Any]:
    by_verdict = {
        name: _listed(r.rate for r in point.rates if r.verdict is verdict)
        for verdict, name in VERDICTS.items()
    }
    return {
        "model": point.model,
        "domain": point.domain,
        "label": point.label,
        "largest_within": _or_nan(point.largest_within),
        "first_exceeding": _or_nan(point.first_exceeding),
        "break_point": point.value,
        "low": point.low,
        "high": point.high,
        **by_verdict,
        "missing": _listed(point.missing),
        "text": str(point),
    }


def _or_nan(rate: float | None) -> float:
    return math.nan if rate is None else rate


def _listed(rates: Any) -> str:
    return " ".join(map(format_learning_rate, rates))


def to_markdown(table: pd.DataFrame, tolerance: Tolerance) -> str:
    """The table as a page."""
    header = ["Model", "Domain", "Method", "Largest within", "First exceeding", "Break-point"]
    header += ["Cannot tell", "No score"] if table["missing"].any() else ["Cannot tell"]
    rows = [
        [
            *(row["model"], row["domain"], row["label"]),
            *(_rate(row[name]) for name in ("largest_within", "first_exceeding")),
            *(row["text"], row["cannot_tell"], row["missing"]),
        ][: len(header)]
        for row in table.to_dict("records")
    ]
    allowed = measures_text(tolerance) or "none, as the study has no general suite"
    text = f"# Break-points\n\nTolerance: {allowed}. {HOW}"
    return f"{text.strip()}\n\n{markdown_table(header, rows, n_left=3)}\n"


def _rate(value: float) -> str:
    return "–" if math.isnan(value) else format_learning_rate(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff breakpoints``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--tradeoff", type=Path, required=True, help="tradeoff_over_seeds.csv")
    add_tolerance_argument(parser)
    parser.add_argument("--out-stem", type=Path, required=True, help="output path, no extension")


def main(args: argparse.Namespace) -> None:
    """Write the break-points of one study as a page and a CSV, and draw them."""
    with run_main("breakpoints"):
        tradeoff = read_over_seeds(args.tradeoff)
        tolerance = complete_tolerance(parse_tolerance(args.tolerance), tradeoff)
        points = break_points(read_measured(read_run_table(args.run_table), args.runs), tolerance)
        table, stem = breakpoint_table(points), args.out_stem
        atomic_write_text(stem.with_name(f"{stem.name}.md"), to_markdown(table, tolerance))
        with house_style():
            save_figure(draw(points, tradeoff, tolerance), table, stem)
