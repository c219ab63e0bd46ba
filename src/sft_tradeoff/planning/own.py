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
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sft_tradeoff.analysis.comparison import parse_smallest_gain
from sft_tradeoff.analysis.tolerance import parse_tolerance
from sft_tradeoff.domains.base import only_answer
from sft_tradeoff.domains.own.domain import check, divide
from sft_tradeoff.domains.own.lines import Line
from sft_tradeoff.domains.own.read import read_file
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.domains.own.splits import MIN_TEST
from sft_tradeoff.grading.text import normalize
from sft_tradeoff.models.folder import SMALL_FILES, weight_files
from sft_tradeoff.models.tensor_names import check_tensors
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.planning import own_template as own_file
from sft_tradeoff.planning.run_study import RESULTS, add_run_arguments, run_study
from sft_tradeoff.planning.snakemake_run import require_project_folder
from sft_tradeoff.report.recommend import add_limit_arguments
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import CATALOGUE_PATH, STUDIES, parse_study, read_catalogue
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import sha256_of
from sft_tradeoff.system.strict import LONGEST_NAME, NAME_PATTERN
from sft_tradeoff.system.text import listing
from sft_tradeoff.system.validation import closest, explain

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "smollm2-135m-instruct"
TEST_SHARE = 5  # one prompt in five
EVERYTHING = 10**9
HASH_DIGITS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """The model of a study.

    Args:
        name: Name in the catalogue, or the one that a folder gets.
        identity: Changes with the model's files and settings.
        entries: What the study file adds to the catalogue.
    """

    name: str
    identity: str
    entries: dict[str, Any] = field(default_factory=dict)


def own_study(
    data: Path,
    model: str,
    metric: str | None = None,
    name: str | None = None,
    tolerance: str = "",
    smallest_gain: str = "",
    chat_template_args: str = "",
    numeric_tolerance: str = "",
) -> dict[str, Any]:
    """Return the content of the study file for data and a model.

    Args:
        data: JSONL file of the user.
        model: Name in the catalogue, or a folder of safetensors.
        metric: How answers are graded; default: the template's.
        name: Name of the study; default: from the data's name and a hash.
        tolerance: Only checked, because a mistake would otherwise show at the very end.
        smallest_gain: Likewise.
        chat_template_args: Variables of the model's chat template: ``name=value, ...`` or JSON.
        numeric_tolerance: Relative tolerance of the metric ``numeric``; default: the template's.

    Raises:
        UserError: Listing every problem of data, model and options.
    """
    template = own_file.read_template()
    settings = template["domains"][0] | ({"metric": metric} if metric else {})
    problems: list[str] = []
    _attempt(problems, lambda: settings.update(_numeric_tolerance(numeric_tolerance)))
    domain = _attempt(problems, lambda: check_data(data, settings))
    theta_0 = _attempt(problems, lambda: find_model(model, template_variables(chat_template_args)))
    _attempt(problems, lambda: parse_tolerance(tolerance))
    _attempt(problems, lambda: parse_smallest_gain(smallest_gain))
    _attempt(problems, lambda: _check_name(name))
    if domain is None or theta_0 is None or problems:
        raise UserError("\n".join(problems))
    parts = [sha256_of(data), theta_0.identity, domain["metric"]]
    parts += [str(domain["tolerance"])] if domain.get("tolerance") else []
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:HASH_DIGITS]
    study = template | {
        "study": name or f"{domain['label']}-{fingerprint}",
        "description": f"{data.name} on {theta_0.name} (hash {fingerprint}).",
        "models": [theta_0.name],
        "domains": [domain],
    }
    study |= {key: template.get(key, {}) | value for key, value in theta_0.entries.items()}
    source = f"{study['study']}.yaml"
    check_files(parse_study(study, source), source, BENCHMARKS)
    return study


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


def check_data(data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the domain's entry in the study file, with sizes that fit the data.

    Args:
        data: The user's file.
        settings: The template's entry; its ``n_train`` and ``n_test`` are upper limits.

    Raises:
        ValueError: Listing all problems of the file.
    """
    label = f"own-{_slug(data.stem)}"
    entry = settings | {"path": str(data), "label": label, "n_validation": 0}
    _spec(entry)
    content = read_file(data)
    lines = content.lines
    marked = Counter(line.split for line in lines if line.split is not None)
    # Splits that the file marks are truncated to these sizes; otherwise the test gets the minimum.
    sizes = {"n_train": EVERYTHING, "n_test": EVERYTHING if marked else MIN_TEST}
    meta = check(content, _spec(entry | sizes))
    n_prompts = len({line.key for line in lines})
    n_test = marked["test"] if marked else n_prompts // TEST_SHARE
    if n_test < MIN_TEST:
        raise ValueError(_too_few(data, n_prompts))
    entry |= {"n_test": min(entry["n_test"], n_test)}
    splits = divide(content, _spec(entry), meta)
    unread = marked["validation"]
    used = len(splits["train"]), len(splits["test"])
    why = f" ({unread} marked 'validation', which this study does not read)" if unread else ""
    text = "%s: %d training examples, %d test examples, %d left out%s"
    logger.info(text, data, *used, len(lines) - sum(used), why)
    if (only := only_answer(splits["test"])) is not None:
        logger.warning("warning: %s: %s", data, only)
    _warn_of_contradictions(data, [line for line in lines if line.split != "validation"])
    return entry


def _warn_of_contradictions(data: Path, lines: list[Line]) -> None:
    """Warn of prompts with several answers; not an error, because all may be intended."""
    groups: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.key].append(line)
    differing = [g for g in groups.values() if len({normalize(e.answer) for e in g}) > 1]
    if differing:
        numbers = (" and ".join(str(e.number) for e in g) for g in differing)
        text = (
            "warning: %s: %d prompts have different answers (lines %s); a model gives one of them, "
            "and the others count as wrong: keep one, unless all are intended"
        )
        logger.warning(text, data, len(differing), listing(numbers, separator="; "))


def _too_few(data: Path, n_prompts: int) -> str:
    return (
        f"path: {str(data)!r} has {n_prompts} different prompts; at least "
        f"{MIN_TEST * TEST_SHARE} are needed: one in {TEST_SHARE} is kept for the test, and "
        "a single test item gives no interval"
    )


def _spec(entry: dict[str, Any]) -> OwnSpec:
    try:
        return OwnSpec.model_validate(entry)
    except ValidationError as error:
        raise UserError(explain(error, OwnSpec.model_json_schema())) from None


def template_variables(text: str) -> dict[str, bool | int | str]:
    """Read variables of a chat template, such as ``enable_thinking=false``.

    Raises:
        UserError: If it is neither ``name=value, ...`` nor a JSON object of strings, integers
            and booleans.
    """
    pairs: Any = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
    pairs = [(name, _value(value.strip())) for name, value in pairs]
    try:
        if text.lstrip().startswith("{"):
            pairs = json.loads(text, object_pairs_hook=list)
    except ValueError:
        pairs = [("", text)]
    found: dict[str, bool | int | str] = {}
    for key, value in pairs:
        name = key.strip()
        is_usable = isinstance(value, bool | int | str) and value != ""
        if not name.isidentifier() or name in found or not is_usable:
            raise UserError(
                f"chat_template_args: {text!r} cannot be read; write name=value, each name "
                "once, separated by commas (enable_thinking=false), or a JSON object of strings, "
                "integers and booleans"
            )
        found[name] = value
    return found


def _value(text: str) -> bool | int | str:
    """Read a boolean, an integer or a string."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if re.fullmatch(r"0|-?[1-9]\d*", text) else text


def find_model(model: str, variables: Mapping[str, bool | int | str] | None = None) -> Model:
    """Find a model in the catalogue, or check the folder that holds one.

    Models are cached by name, so the name of a folder contains a hash of its content, and that of
    a catalogue model with other chat template variables a hash of these.

    Args:
        model: Name in the catalogue, or a folder of safetensors.
        variables: Of its chat template.

    Raises:
        UserError: If there is no such model, or the folder cannot be used.
    """
    catalogue = read_catalogue()["models"]
    if model in catalogue:
        if not variables:
            return Model(model, model)
        values = {**catalogue[model].get("chat_template_args", {}), **variables}
        identity = json.dumps([model, values], sort_keys=True)
        name = f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:HASH_DIGITS]}"
        changed = catalogue[model] | {"chat_template_args": values}
        return Model(name, identity, {"model_catalogue": {name: changed}})
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(_no_model(model, folder, catalogue))
    load_tokenizer(folder, variables or {})
    check_tensors(folder)
    small = [path for path in folder.iterdir() if path.suffix in SMALL_FILES]
    files = sorted({*weight_files(folder), *small})
    listing = "".join(f"{path.name} {sha256_of(path)}\n" for path in files)
    listing += json.dumps(variables, sort_keys=True) if variables else ""
    identity = hashlib.sha256(listing.encode()).hexdigest()
    name = f"{_slug(folder.resolve().name)}-{identity[:HASH_DIGITS]}"
    entry: dict[str, Any] = {"asset": name, "format": "safetensors"}
    if variables:
        entry["chat_template_args"] = dict(variables)
    entries = {
        "assets": {name: {"source": "local", "path": str(folder)}},
        "model_catalogue": {name: entry},
    }
    return Model(name, identity, entries)


def _no_model(model: str, folder: Path, catalogue: dict[str, Any]) -> str:
    if folder.is_dir():
        return f"model: {model!r} has no config.json; give the folder that save_pretrained wrote"
    if folder.exists():
        return f"model: {model!r} is a file; give the folder with config.json and safetensors"
    return (
        f"model: {model!r} is neither a folder nor a name in {CATALOGUE_PATH}; "
        f"{closest(model, catalogue)} (a model on the hub: add it there with its revision)"
    )


def _slug(text: str) -> str:
    """Turn a text into a part of a name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:40].strip("-_") or "unnamed"


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
        raise UserError(
            f"name: {name!r} is not valid; use letters, digits, '-' and '_', at most {LONGEST_NAME}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff own``; an empty value counts as not given."""
    parser.add_argument("--data", required=True, help="JSONL file")
    parser.add_argument(
        "--model",
        default="",
        help=f"catalogue name, or folder of safetensors; default: {DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--metric",
        default="",
        help="exact_match, numeric or choice; default: the template's",
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
            raise UserError("DATA is missing; run make own DATA=file.jsonl")
        study = own_study(
            Path(args.data).expanduser(),
            args.model or DEFAULT_MODEL,
            metric=args.metric or None,
            name=args.name or None,
            tolerance=args.tolerance,
            smallest_gain=args.smallest_gain,
            chat_template_args=args.chat_template_args,
            numeric_tolerance=args.numeric_tolerance,
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
        print(f"Settings: {study_file}")
