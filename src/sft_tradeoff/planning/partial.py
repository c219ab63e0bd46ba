"""Draw tables and figures of the finished runs of a study, in a separate folder."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sft_tradeoff.analysis import aggregate, token_tables
from sft_tradeoff.analysis.claims.spec import CLAIMS_PATH
from sft_tradeoff.analysis.run_records import evaluation_record
from sft_tradeoff.report import breakpoints, claims, cross_domain, tables
from sft_tradeoff.report.figures import draw, drawable, table_of
from sft_tradeoff.study import runs
from sft_tradeoff.study.added_rates import with_added_rates
from sft_tradeoff.study.config import STUDIES, load_study
from sft_tradeoff.study.names import measures_text
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff partial``."""
    parser.add_argument("study", help="name of a file in config/studies, without .yaml")


def comparable(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Leave out the models whose θ0 is not evaluated yet, unless these are all.

    A model that starts from a run is evaluated long after the others.

    Args:
        table: The study's run table.
        folder: Of its runs.
    """
    models = table["model"].unique()
    missing = [m for m in models if evaluation_record(folder / runs.base_run(m)) is None]
    if len(missing) == len(models):
        return table  # aggregation refuses it
    for model in missing:
        logger.warning("model %r is left out: its θ0 is not evaluated yet", model)
    return table[~table["model"].isin(missing)]


def main(args: argparse.Namespace) -> None:
    """Draw what has finished into ``results/<study>/partial`` and print the table.

    Files are where they are in the results of a finished study.
    """
    results = Path("results", args.study)
    study_file = STUDIES / f"{args.study}.yaml"
    with run_main("partial"):
        study = load_study(study_file)
    folder = results / "partial"
    tables_made, figures = runs.aggregated_tables(study), folder / "figures"
    over_seeds = folder / "tradeoff_over_seeds.csv"
    planned = comparable(runs.run_table(with_added_rates(study)), results / "runs")
    atomic_write_text(folder / "run_table.csv", planned.to_csv(index=False), checksum=True)
    of_runs = {"run_table": folder / "run_table.csv", "runs": results / "runs"}
    aggregate.main(
        argparse.Namespace(
            **of_runs,
            scores=folder / "scores.csv",
            tradeoff=folder / "tradeoff.csv",
            over_seeds=over_seeds,
            epochs=folder / "epochs.csv" if "epochs.csv" in tables_made else None,
            talr_options=folder / "talr_options.csv" if "talr_options.csv" in tables_made else None,
        )
    )
    if study.record_tokens:
        token_tables.main(argparse.Namespace(**of_runs, out_dir=folder))
    for figure in drawable(tables_made):
        table = folder / table_of(figure)
        draw.main(argparse.Namespace(figure=figure, table=table, out_stem=figures / figure))
    if study.scores_other_domains:
        cross_domain.main(argparse.Namespace(**of_runs, out_stem=figures / "cross_domain"))
    breakpoints.main(
        argparse.Namespace(
            **of_runs,
            tradeoff=over_seeds,
            tolerance=measures_text(study.tolerance),
            out_stem=figures / "breakpoints",
        )
    )
    claims.main(argparse.Namespace(**of_runs, claims=CLAIMS_PATH, out_stem=folder / "claims"))
    tables.main(
        argparse.Namespace(tradeoff=over_seeds, out_dir=folder / "tables", show=[str(folder)])
    )
