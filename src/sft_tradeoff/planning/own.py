"""Run a study of your own data and model: check both, write a study file, and run it.

All problems of data, model and options are reported together, before anything is fetched or
trained. The study's name contains a hash of data and model, so two data sets never share results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

from sft_tradeoff.analysis.comparison import parse_smallest_gain
from sft_tradeoff.analysis.tolerance import parse_tolerance
from sft_tradeoff.domains.own.files import digest_of
from sft_tradeoff.domains.own.spec import Metric, parse_columns
from sft_tradeoff.planning import own_template as own_file
from sft_tradeoff.planning.own_data import check_data
from sft_tradeoff.planning.own_model import find_model, fit_window, template_variables
from sft_tradeoff.planning.run_study import add_run_arguments, run_study
from sft_tradeoff.planning.snakemake_run import require_project_folder
from sft_tradeoff.report import PAGE
from sft_tradeoff.report.recommend import add_limit_arguments
from sft_tradeoff.study.added_rates import RESULTS
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import STUDIES, parse_study
from sft_tradeoff.study.names import HASH_DIGITS
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError, quick_start, run_main
from sft_tradeoff.system.strict import LONGEST_NAME, NAME_PATTERN
from sft_tradeoff.system.text import shown
from sft_tradeoff.system.validation import closest

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "smollm2-135m-instruct"
T = TypeVar("T")


def own_study(
    data: Path,
    model: str,
    metric: str | None = None,
    name: str | None = None,
    tolerance: str = "",
    smallest_gain: str = "",
    chat_template_args: str = "",
    numeric_tolerance: str = "",
    columns: str = "",
) -> dict[str, Any]:
    """Return the content of the study file for data and a model.

    Args:
        data: File or folder of the user.
        model: Name in the catalogue, a folder of safetensors, or a GGUF file.
        metric: How answers are graded; default: the template's.
        name: Name of the study; default: from the data's name and a hash.
        tolerance: Only checked, because a mistake would otherwise show at the very end.
        smallest_gain: Likewise.
        chat_template_args: Variables of the model's chat template: ``name=value, ...`` or JSON.
        numeric_tolerance: Relative tolerance of the metric ``numeric``; default: the template's.
        columns: What is read as what: ``prompt=key response=key ...``; default: the template's.

    Raises:
        UserError: Listing every problem of data, model and options.
    """
    template = own_file.read_template()
    settings = dict(template["domains"][0])
    problems: list[str] = []
    _attempt(problems, lambda: settings.update(_metric(metric)))
    _attempt(problems, lambda: settings.update(_numeric_tolerance(numeric_tolerance)))
    if columns:
        _attempt(problems, lambda: settings.update(columns=parse_columns(columns)))
    domain = _attempt(problems, lambda: check_data(data, settings))
    theta_0 = _attempt(problems, lambda: find_model(model, template_variables(chat_template_args)))
    _attempt(problems, lambda: parse_tolerance(tolerance))
    _attempt(problems, lambda: parse_smallest_gain(smallest_gain))
    _attempt(problems, lambda: _check_name(name))
    if domain is None or theta_0 is None or problems:
        raise UserError("\n".join(problems))
    parts = [digest_of(data), theta_0.identity, domain["metric"]]
    parts += [str(domain["tolerance"])] if domain.get("tolerance") else []
    parts += [json.dumps(domain["columns"], sort_keys=True)] if domain.get("columns") else []
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:HASH_DIGITS]
    study = template | {
        "study": name or f"{domain['label']}-{fingerprint}",
        "description": f"{data.name} on {theta_0.name} (hash {fingerprint}).",
        "models": [theta_0.name],
        "domains": [domain],
    }
    study |= {key: template.get(key, {}) | value for key, value in theta_0.entries.items()}
    source = own_file.TEMPLATE  # what can still be wrong stands there
    study = fit_window(study, theta_0.window, source)
    filled = parse_study(study | {"study": source.stem}, str(source))
    check_files(filled, str(source), BENCHMARKS)
    return study


def _metric(name: str | None) -> dict[str, str]:
    if name and name not in (known := get_args(Metric)):
        raise UserError(f"METRIC: {shown(name)} is unknown; {closest(name, known)}")
    return {"metric": name} if name else {}


def _numeric_tolerance(text: str) -> dict[str, float]:
    try:
        return {"tolerance": float(text)} if text else {}
    except ValueError:
        raise UserError(
            f"numeric tolerance: {text!r} is not a number; give the relative error that counts as "
            "right, e.g. 0.01"
        ) from None


def _attempt(problems: list[str], check: Callable[[], T]) -> T | None:
    """Return the result of a check; note its problem and return None if it fails."""
    try:
        return check()
    except (ValueError, UserError) as error:
        problems.append(str(error))
    return None


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
        raise UserError(
            f"name: {shown(name)} is not valid; use letters, digits, '-' and '_', at most "
            f"{LONGEST_NAME}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff own``; an empty value counts as not given."""
    parser.add_argument("--data", required=True, help="data file, or folder of data files")
    parser.add_argument(
        "--model",
        default="",
        help=f"catalogue name, folder of safetensors, or GGUF file; default: {DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--metric",
        default="",
        help="exact_match, numeric or choice; default: the template's",
    )
    parser.add_argument(
        "--data-columns",
        default="",
        help="what is read as what, if it cannot be told: prompt=question response=answer",
    )
    parser.add_argument(
        "--numeric-tolerance", default="", help="relative error that metric numeric accepts"
    )
    parser.add_argument(
        "--name", default="", help="name of the study; default: from the data and a hash"
    )
    add_limit_arguments(parser)
    parser.add_argument(
        "--chat-template-args",
        default="",
        help="variables of the model's chat template: name=value, ... or JSON",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--write-only", action="store_true", help="write the study, print its name, and stop"
    )


def main(args: argparse.Namespace) -> None:
    """Check data and model, write their study file, run it and print the recommendation."""
    with run_main("own"):
        require_project_folder()
        if not args.data:
            raise UserError("DATA is missing; run make own DATA=<file or folder>")
        with quick_start():  # the collector would go through all lines again and again
            study = own_study(
                Path(args.data).expanduser(),
                args.model or DEFAULT_MODEL,
                metric=args.metric or None,
                name=args.name or None,
                tolerance=args.tolerance,
                smallest_gain=args.smallest_gain,
                chat_template_args=args.chat_template_args,
                numeric_tolerance=args.numeric_tolerance,
                columns=args.data_columns,
            )
            study_file, name = own_file.write_study(study, STUDIES), study["study"]
        if args.write_only:
            print(name)
            return
        if code := run_study(name, args.cores, args.tolerance, args.smallest_gain):
            sys.exit(code)
        page = RESULTS / name / "recommendation.md"
        print(f"\n{page.read_text(encoding='utf-8')}")
        print(f"This page: {page}; figures, tables and scores are in the same folder.")
        print(f"To explore it, open {page.with_name(PAGE)} in a browser.")
        print(f"Settings: {study_file}")
