"""Check that a study is consistent and its assets are pinned, before any job runs.

No torch here: Snakemake imports this module while it plans.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sft_tradeoff.assets.spec import UNPINNED, HubAsset, LocalAsset
from sft_tradeoff.study.config import (
    SCHEMA_PATH,
    SUITE,
    TEMPLATE_PATH,
    Study,
    load_study,
    study_schema,
)
from sft_tradeoff.study.key_tables import KEYS_PATH, key_tables
from sft_tradeoff.study.names import SAMPLED_TEXTS
from sft_tradeoff.study.runs import expand_runs
from sft_tradeoff.suite.base import Benchmark
from sft_tradeoff.suite.human_eval import NO_PERMISSION
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.text import escaped, shown
from sft_tradeoff.system.validation import ConfigError, closest


def check_domains(study: Study, source: str) -> None:
    """Refuse a domain whose test data are also part of the general suite.

    Args:
        study: A valid study.
        source: Name of its file.

    Raises:
        ConfigError: Naming file, key, value and fix.
    """
    for domain in study.domains:
        for task in study.evaluation.tasks:
            asset = BENCHMARKS[task].asset if task in BENCHMARKS else None
            if task in domain.trained_tasks or asset in domain.assets:
                raise ConfigError(
                    f"{source}: evaluation.tasks: {task!r} tests what domain {domain.name!r} "
                    "trains, so it is not a general ability here; remove it"
                )


def unpinned_assets(study: Study, source: str) -> str:
    """Return what is missing before a study can run: commits of hub repositories; empty if none is.

    A study without them can be planned, but its results could not be repeated, because files on
    the hub change.
    """
    lines = [
        f"{source}: assets.{name}.revision: the commit of {asset.repo} is not pinned; copy the "
        "40 digits from the commits on its hub page into the asset's entry (config/catalogue.yaml, "
        "or the same entry under 'assets' in the study), or use a copy of its files with "
        "'source: local' and 'path'"
        for name in sorted(set(_used_assets(study)))
        if isinstance(asset := study.assets[name], HubAsset) and asset.revision == UNPINNED
    ]
    return "\n".join(lines)


def _used_assets(study: Study) -> Iterator[str]:
    found = [study.model_catalogue[model].asset for model in study.models]
    for task in study.evaluation.tasks:
        found += [BENCHMARKS[task].asset, BENCHMARKS[task].grader_asset]
    for domain in study.domains:
        found += domain.assets
    return (name for name in found if name)


def check_files(study: Study, source: str, benchmarks: Mapping[str, Benchmark]) -> None:
    """Check the tasks, files and scores that a study refers to, before any job.

    Args:
        study: A valid study.
        source: Name of its file; the results' folder must have the same name.
        benchmarks: Known tasks of the general suite, by name.

    Raises:
        ConfigError: Naming file, key, value and fix.
    """
    stem = Path(source).stem
    if stem != study.study:
        raise ConfigError(
            f"{source}: study: {study.study!r} differs from the file's name, and would write into "
            f"another study's results; set 'study: {stem}'"
        )
    for name in study.evaluation.tasks:
        if name not in benchmarks:
            raise ConfigError(
                f"{source}: evaluation.tasks: unknown task {shown(name)}; "
                f"{closest(name, benchmarks)}"
            )
        if benchmarks[name].runs_code and not study.evaluation.execute_code:
            raise ConfigError(f"{source}: {NO_PERMISSION.format(name=name)}")
        wanted = benchmarks[name].chat_template
        if wanted is not None and wanted != study.evaluation.chat_template:
            raise ConfigError(
                f"{source}: evaluation.chat_template: {str(not wanted).lower()}, but the prompts "
                f"of task {name!r} need {str(wanted).lower()}; set it, or choose another task"
            )
    check_domains(study, source)
    _check_tolerance(study, source, benchmarks)
    _check_domains(study, source, benchmarks)
    _check_expected(study, source, benchmarks)
    expand_runs(study)


def _check_tolerance(study: Study, source: str, benchmarks: Mapping[str, Benchmark]) -> None:
    suite = [benchmarks[name] for name in study.evaluation.tasks]
    measured = {
        "bits_per_byte": any(task.kind == "text" for task in suite),
        "accuracy": any(task.accuracy for task in suite),
    }
    for measure in study.tolerance:
        if not measured[measure]:
            raise ConfigError(
                f"{source}: tolerance: no task of evaluation.tasks measures {measure}; remove it, "
                "or add a task that does"
            )


def _check_domains(study: Study, source: str, benchmarks: Mapping[str, Benchmark]) -> None:
    window = study.evaluation.max_length
    for i, domain in enumerate(study.domains):
        if domain.max_new_tokens is not None and domain.max_new_tokens >= window:
            raise ConfigError(
                f"{source}: domains.{i}.max_new_tokens: {domain.max_new_tokens} leaves no tokens "
                f"for a prompt within evaluation.max_length ({window}); lower max_new_tokens, or "
                "raise max_length"
            )
        if study.training.select == "best_domain" and not domain.n_validation:
            raise ConfigError(
                f"{source}: domains.{i}.n_validation: 0, but training.select: best_domain chooses "
                "the weights by their score on validation examples; raise n_validation, or set "
                "training.select: last"
            )
        if domain.label in {*benchmarks, SUITE, SAMPLED_TEXTS}:
            raise ConfigError(
                f"{source}: domains.{i}.label: {domain.label!r} is the name of a task, of the "
                "whole suite or of the texts sampled from θ0, whose scores would be mixed up with "
                "the domain's; give it another label"
            )
        if domain.data_file is not None and not os.path.exists(domain.data_file):
            raise ConfigError(
                f"{source}: domains.{i}.path: {shown(domain.data_file)} does not exist; correct "
                "the path (relative to the folder where the command runs)"
            )


def _check_expected(study: Study, source: str, benchmarks: Mapping[str, Benchmark]) -> None:
    """Refuse the range of a score that does not exist, because it would never be checked."""
    for model in study.models:
        for key in study.model_catalogue[model].expected:
            benchmark, _, metric = key.partition(".")
            if benchmark not in benchmarks or not metric:
                raise ConfigError(
                    f"{source}: model_catalogue.{model}.expected: {shown(key)} is not task.metric, "
                    f"e.g. piqa.acc_norm; {closest(benchmark, benchmarks)}"
                )


def check_assets(study: Study, source: str) -> None:
    """Refuse local models and data that do not exist; a study without them can only be planned.

    Raises:
        ConfigError: Naming file, key, value and fix.
    """
    for name in sorted(set(_used_assets(study))):
        asset = study.assets.get(name)
        if isinstance(asset, LocalAsset) and not os.path.exists(os.path.expanduser(asset.path)):
            raise ConfigError(
                f"{source}: assets.{name}.path: {shown(asset.path)} does not exist; correct "
                "the path (relative to the folder where the command runs)"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff check``."""
    parser.add_argument("studies", nargs="*", help="study files to check")
    parser.add_argument(
        "--write-schema", action="store_true", help=f"write {SCHEMA_PATH} and {KEYS_PATH}"
    )


def main(args: argparse.Namespace) -> None:
    """Check every study file and report each, or write the schema and the tables of keys."""
    with run_main("check"):
        if args.write_schema:
            SCHEMA_PATH.parent.mkdir(parents=True, exist_ok=True)
            SCHEMA_PATH.write_text(study_schema())
            KEYS_PATH.write_text(key_tables())
        results = [_is_valid(path) for path in args.studies]
        if not all(results):
            sys.exit(1)


def _is_valid(path: str) -> bool:
    """Check one study file and print what was found."""
    try:
        study = load_study(path)
        is_template = Path(path).resolve() == TEMPLATE_PATH.resolve()
        if is_template:  # make own replaces the path of its data
            domains = tuple(d.model_copy(update={"path": None}) for d in study.domains)
            study = study.model_copy(update={"domains": domains})
        check_files(study, path, BENCHMARKS)
        check_assets(study, path)
    except ConfigError as error:
        print(escaped(str(error)), file=sys.stderr)
        return False
    print(f"{path}: valid {'template for make own' if is_template else f'study {study.study!r}'}")
    return True
