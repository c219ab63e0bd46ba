"""Write what training on each domain does to all domains: a page, a CSV and a figure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.cross_domain import cross_domain_table, since_pretrained_table
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.starts import NO_STARTS, Starts
from sft_tradeoff.analysis.tables import BASE, Row, read_run_table, rows_of
from sft_tradeoff.report.cross_domain_figure import draw
from sft_tradeoff.report.figures.style import house_style, save_figure
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.report.tables import DASH, cell
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text

HEADINGS = {"accuracy": "Δ accuracy", "nll": "Δ NLL"}
DECIMALS = 3
HOW = (
    "Change against θ₀ on the same test items (paired) ± standard error, and its 95 % interval, "
    "which holds the noise of independent units of test items and of training seeds; with one seed "
    "it speaks of this run only. Accuracies are fractions, NLL is in nats per token; a smaller NLL "
    "is better."
)

SINCE = (
    "{model} is {plain} after training on {domains}. Here it (θ₀) and its runs are compared with "
    "{plain} itself: what that training added, and what is left of it."
)


def to_markdown(
    table: pd.DataFrame, since: pd.DataFrame | None = None, starts: Starts = NO_STARTS
) -> str:
    """The table as a page, one block per model and domain trained on.

    Args:
        table: What :func:`~sft_tradeoff.analysis.cross_domain.cross_domain_table` returned.
        since: The same against the pretrained model, of the models that start from a run.
        starts: Those runs, see :class:`~sft_tradeoff.analysis.starts.Start`.
    """
    parts = [f"# Cross-domain\n\n{HOW}"]
    for (model, domain), block in table.groupby(["model", "domain"], sort=False):
        parts.append(f"## {model}, trained on {domain}\n\n{_block(block)}")
    gaps = [*_gaps(table)]
    if since is not None and len(since):
        for (model, plain), block in since.groupby(["model", "against"], sort=False):
            domains = ", then on ".join(start.domain for start in starts[str(model)])
            text = SINCE.format(model=model, plain=plain, domains=domains)
            parts.append(f"## {model}, against {plain}\n\n{text}\n\n{_block(block)}")
        gaps += _gaps(since)
    return "\n\n".join([*parts, *dict.fromkeys(gaps)]) + "\n"


def _block(block: pd.DataFrame) -> str:
    header = ["Method", "Learning rate", "Tested on", *HEADINGS.values()]
    return markdown_table(header, [_cells(row) for row in rows_of(block)], n_left=3)


def _cells(row: Row) -> list[str]:
    changes = [_change(row, metric) for metric in HEADINGS]
    if row["method"] == BASE:
        return ["θ₀", DASH, row["test_domain"], *changes]
    return [row["label"], format_learning_rate(row["learning_rate"]), row["test_domain"], *changes]


def _change(row: Row, metric: str) -> str:
    value, *bounds = (row[f"{metric}_change{part}"] for part in ("", "_low", "_high"))
    text = cell(value, row[f"{metric}_change_stderr"], DECIMALS)
    low, high = (cell(bound, math.nan, DECIMALS) for bound in bounds)
    return f"{text} [{low}, {high}]" if low != DASH else text


def _gaps(table: pd.DataFrame) -> Iterator[str]:
    """One note per row without a number or an interval."""
    for row in rows_of(table[table["reason"] != ""]):
        setting = f"{row['model']}, {row['domain']}, {row['label']}"
        if row["method"] != BASE:
            setting += f" at {format_learning_rate(row['learning_rate'])}"
        yield f"{DASH} {setting}, on {row['test_domain']}: {row['reason']}."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff cross-domain``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--out-stem", type=Path, required=True, help="output path, no extension")


def main(args: argparse.Namespace) -> None:
    """Write page, CSV and figure of one study."""
    with run_main("cross-domain"):
        runs = read_run_table(args.run_table)
        measured = read_measured(runs, args.runs)
        table = cross_domain_table(runs, measured.items, measured.starts)
        since = since_pretrained_table(runs, measured.items, measured.starts)
        stem: Path = args.out_stem
        atomic_write_text(
            stem.with_name(f"{stem.name}.md"), to_markdown(table, since, measured.starts)
        )
        numbers = pd.concat([table, since]) if len(since) else table
        with house_style():
            save_figure(draw(table), numbers, stem)
