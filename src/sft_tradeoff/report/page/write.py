"""Write the page of finished or published studies, one HTML file to explore them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from sft_tradeoff.report import PAGE
from sft_tradeoff.report.page.build import render
from sft_tradeoff.report.page.study import Sources, read_study
from sft_tradeoff.report.published import verified_studies, verify, with_runs
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_text
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)
RESULTS, PUBLISHED, FIGURES = Path("results"), Path("results/published"), Path("figures")
STUDIES = Path("config/studies")


def finished(name: str) -> Sources:
    """Files of a study among the results."""
    folder = RESULTS / name
    return Sources(name, folder, folder, STUDIES / f"{name}.yaml")


def published(name: str) -> Sources:
    """Files of a published study, whose checksums were compared, and what was drawn from them.

    Raises:
        UserError: If it was not drawn.
    """
    folder = PUBLISHED / name
    sources = Sources(name, folder, FIGURES / name, folder / "study.yaml")
    if lacking := [path for path in sources.files if not path.is_file()]:
        raise UserError(f"{listing(lacking, 3)} missing; run make figures STUDY={name} first")
    return sources


def find(name: str) -> Sources:
    """A study among the results if it is finished there, or else the published one.

    Raises:
        UserError: If it is neither, or its reports were not drawn.
    """
    own = finished(name)
    missing = [path for path in own.files if not path.is_file()]
    if not missing:
        return own
    if not (PUBLISHED / name).is_dir():
        raise UserError(
            f"study {name!r} is not finished: {listing(missing, 3)} missing; run make study "
            f"STUDY={name} first"
        )
    verify(PUBLISHED / name)
    return published(name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff report``."""
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help="studies to show; default: all published"
    )
    parser.add_argument(
        "--tables", type=Path, help="folder of one study's tables and runs, instead of its own"
    )
    parser.add_argument(
        "--reports", type=Path, help="folder of its recommendation.* and claims.csv; with --tables"
    )
    parser.add_argument("--settings", type=Path, help="its study file; with --tables")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file to write; default: {PAGE} among the study's reports, or figures/{PAGE}",
    )


def main(args: argparse.Namespace) -> None:
    """Write the page and print its path."""
    with run_main("report"):
        sources = _sources(args)
        out = args.out or _place(sources)
        atomic_write_text(out, render([read_study(one) for one in sources]))
        print(f"Page: {out}")


def _sources(args: argparse.Namespace) -> list[Sources]:
    if args.tables is None:
        if not args.studies:
            names = with_runs(PUBLISHED, verified_studies(PUBLISHED))
            if not names:
                raise UserError(f"{PUBLISHED}: no study is published with its runs; name one")
            return [published(name) for name in names]
        return [find(name) for name in args.studies]
    if len(args.studies) != 1 or args.reports is None:
        raise UserError("--tables: name one study, and give --reports too")
    settings = args.settings or args.tables / "study.yaml"
    return [Sources(args.studies[0], args.tables, args.reports, settings)]


def _place(sources: Sequence[Sources]) -> Path:
    return (sources[0].reports if len(sources) == 1 else FIGURES) / PAGE
