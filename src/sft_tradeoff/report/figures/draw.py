"""Draw one figure as PDF and PNG, and write the plotted numbers as CSV."""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path

from sft_tradeoff.analysis.tables import (
    SETTING,
    TOKEN_TABLES,
    missing_settings,
    read_epoch_table,
    read_over_seeds,
    read_token_table,
)
from sft_tradeoff.analysis.talr_options import read_talr_options
from sft_tradeoff.report.figures import FIGURES, table_of
from sft_tradeoff.report.figures.style import house_style, save_figure
from sft_tradeoff.system.console import run_main

logger = logging.getLogger(__name__)
READERS = {
    "epochs.csv": read_epoch_table,
    "talr_options.csv": read_talr_options,
    "tradeoff_over_seeds.csv": read_over_seeds,
    **dict.fromkeys(TOKEN_TABLES, read_token_table),
}


def draw_figure(name: str, path: Path, stem: Path) -> None:
    """Draw a figure, and log the settings that are missing from it.

    Args:
        name: Module with ``draw(table) -> (figure, numbers drawn)``; one of :data:`FIGURES`.
        path: Its table (:func:`~sft_tradeoff.report.figures.table_of`).
        stem: Path to write, without extension.
    """
    draw = importlib.import_module(f"{__package__}.{name}").draw
    table = READERS[table_of(name)](path)
    with house_style():
        figure, drawn = draw(table)
        if missing := missing_settings(drawn, list(drawn.columns.drop(SETTING))):
            logger.warning("not drawn, because a score is missing: %s", "; ".join(missing))
        save_figure(figure, drawn, stem)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff figure``."""
    parser.add_argument("figure", choices=FIGURES, help="figure to draw")
    parser.add_argument(
        "--table",
        type=Path,
        required=True,
        help="tradeoff_over_seeds.csv; for epochs, token_*: that.csv; for tau: talr_options.csv",
    )
    parser.add_argument("--out-stem", type=Path, required=True, help="output path, no extension")


def main(args: argparse.Namespace) -> None:
    """Draw one figure."""
    with run_main(f"figure {args.figure}"):
        draw_figure(args.figure, args.table, args.out_stem)
