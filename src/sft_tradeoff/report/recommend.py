"""Write the recommendation of a study: a page, and its numbers as JSON."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_tradeoff.analysis.adapted import adapted_paragraph
from sft_tradeoff.analysis.answer_weights import answer_weights_paragraph
from sft_tradeoff.analysis.comparison import DEFAULT_SMALLEST_GAIN, parse_smallest_gain
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.recommendation import recommend
from sft_tradeoff.analysis.tables import read_over_seeds, read_run_table
from sft_tradeoff.analysis.tolerance import DEFAULT_ALLOWED, complete_tolerance, parse_tolerance
from sft_tradeoff.analysis.truncation import find_truncations, paragraph, record
from sft_tradeoff.report.recommendation_page import to_markdown
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text


def _strict(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null; named tuples become objects."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff recommend``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--tradeoff", type=Path, required=True, help="tradeoff_over_seeds.csv")
    parser.add_argument(
        "--answer-weights", type=Path, nargs="*", default=[], help="tables of that stage, if any"
    )
    add_limit_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="page to write, .md")


def add_limit_arguments(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add the two limits of a recommendation, for every command that takes them.

    Args:
        parser: Parser to extend.
        default: What replaces the built-in defaults, if anything does; a phrase of the help.
    """
    add_tolerance_argument(parser, default)
    gains = " ".join(f"{name}={gain:g}" for name, gain in DEFAULT_SMALLEST_GAIN.items())
    parser.add_argument(
        "--smallest-gain",
        default="",
        metavar="LIMITS",
        help="smallest gain on the domain for which one method is preferred to another, e.g. "
        f'"accuracy=0.02 nll=0.05" (a fraction, and nats per token); {_fallback(default)}{gains}',
    )


def add_tolerance_argument(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add the tolerance alone; see :func:`add_limit_arguments`."""
    parser.add_argument(
        "--tolerance",
        default="",
        metavar="LIMITS",
        help='largest general loss allowed, e.g. "bits_per_byte=0.01 accuracy=0.02" (accuracy as a '
        f"fraction); {_fallback(default)}bits_per_byte={DEFAULT_ALLOWED}, or "
        f"accuracy={DEFAULT_ALLOWED} if the study measures no code length",
    )


def _fallback(default: str) -> str:
    return f"default: {default}, otherwise " if default else "default: "


def main(args: argparse.Namespace) -> None:
    """Write the recommendation of one study, as a page and as JSON next to it."""
    with run_main("recommend"):
        table, runs = read_over_seeds(args.tradeoff), read_run_table(args.run_table)
        tolerance = complete_tolerance(parse_tolerance(args.tolerance), table)
        smallest = parse_smallest_gain(args.smallest_gain)
        measured = read_measured(runs, args.runs)
        found = recommend(table, measured, tolerance, smallest)
        truncated = find_truncations(runs, args.runs)
        atomic_write_json(args.out.with_suffix(".json"), _strict(asdict(found)) | record(truncated))
        warnings = (
            paragraph(truncated),
            adapted_paragraph(runs, args.runs),
            answer_weights_paragraph(args.answer_weights),
        )
        warning = "\n\n".join(filter(None, warnings))
        atomic_write_text(args.out, to_markdown(found, measured.grading, warning))
