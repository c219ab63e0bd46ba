"""Freeze a finished study into ``results/published/<study>``, and check what is frozen.

A reader draws from these files without training anything (``make figures``) and has to trust them:
nothing unfinished, outdated or broken gets in, and no file changes unnoticed afterwards. No torch
here: the workflow that draws imports this module.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table
from sft_tradeoff.analysis.scores import NUMBERS, TEXT, score_table
from sft_tradeoff.analysis.tradeoff import read_table
from sft_tradeoff.study.config import Study, load_study
from sft_tradeoff.study.names import measures_text
from sft_tradeoff.study.runs import EvaluationConfig, RunConfig, evaluation_configs, expand_runs
from sft_tradeoff.study.runs import run_table as planned_runs
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text, read_json, sha256_of
from sft_tradeoff.system.provenance import run_info
from sft_tradeoff.system.strict_yaml import read_yaml
from sft_tradeoff.system.text import listing
from sft_tradeoff.system.validation import closest

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"
SEAL = "MANIFEST.sha256"  # covers the manifest too; readable by `sha256sum --check`
RUN_TABLE = "run_table.csv"
AGGREGATED = ("scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv")
MAX_RUNS_BYTES = 20_000_000  # a repository keeps every version of every file for ever
SHORTEST_HOST = 5

# Two names or more, so that a lone slash in prose is none; what follows a word is a URL or a unit.
ABSOLUTE_PATH = re.compile(r"(?:file://|(?<![\w./<~-]))/[\w.+-]+/[\w.+/-]*")


class PublishError(UserError):
    """A study cannot be published, or what is published was changed."""


# --- what is published --------------------------------------------------------------------------


def verified_studies(published: Path, only: str | None = None) -> list[str]:
    """Names of the published studies, each checked against its seal.

    Args:
        published: Folder with one folder per study.
        only: The one study wanted; None for all.

    Raises:
        PublishError: If there is no such study, or a file was changed.
    """
    names = sorted(p.name for p in published.glob("[!.]*") if p.is_dir())
    if not names:
        raise PublishError(f"{published}: nothing is published; run make publish STUDY=<name>")
    if only is not None and only not in names:
        raise PublishError(
            f"{published}: study {only!r} is not published ({closest(only, names)}); run "
            f"make publish STUDY={only} first"
        )
    names = names if only is None else [only]
    for name in names:
        verify(published / name)
    return names


def with_runs(published: Path, studies: Sequence[str]) -> list[str]:
    """Those of the published studies whose per-item scores are published too.

    A recommendation compares items, so it cannot be drawn again from tables alone.
    """
    return [name for name in studies if _read_record(published / name / MANIFEST)["runs_included"]]


def published_measures(folder: Path, key: str) -> str:
    """Tolerance or smallest gain of a published study, as the recommendation reads it.

    Empty where the study gives none, which means the default.
    Of the frozen file nothing else is read: it may name models that the catalogue no longer has.
    """
    return measures_text(read_yaml(folder / "study.yaml").get(key, ""))


def verify(folder: Path) -> None:
    """Compare every file of a published study with its seal.

    Raises:
        PublishError: Naming the files that were changed, removed or added.
    """
    if not (folder / SEAL).is_file():
        raise PublishError(f"{folder / SEAL}: missing; {_repair(folder)}")
    lines = (folder / SEAL).read_text(encoding="utf-8").splitlines()
    sealed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = file_hashes(folder)
    names = sorted(sealed.keys() | found.keys())
    if changed := [folder / name for name in names if sealed.get(name) != found.get(name)]:
        raise PublishError(
            f"{listing(changed)}: changed, removed or added since it was published; "
            f"{_repair(folder)}"
        )


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a published study's folder, by relative path; not of the seal."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    hashes.pop(SEAL, None)
    return hashes


def _repair(folder: Path) -> str:
    return f"restore the folder from git, or run make publish STUDY={folder.name} REPLACE=yes"


# --- whether a study may be published -----------------------------------------------------------


def records_of(study: Study) -> dict[str, RunConfig | EvaluationConfig]:
    """Every record that a finished study has written, by path, with the settings it must hold."""
    trained = {f"runs/{run.run}/train.json": run for run in expand_runs(study)}
    return trained | {f"runs/{n}/eval.json": c for n, c in evaluation_configs(study).items()}


def run_files(study: Study) -> list[str]:
    """Paths of all files that the runs of a finished study have written, but their weights."""
    items = [f"runs/{name}/items.parquet" for name in evaluation_configs(study)]
    return sorted([*records_of(study), *items])


def check_finished(study: Study, results: Path) -> None:
    """Refuse a study with runs that are not trained, not evaluated or of other settings.

    Raises:
        PublishError: Naming these runs.
    """
    missing = [name for name in run_files(study) if not (results / name).is_file()]
    if runs := sorted({Path(name).parent.name for name in missing}):
        raise PublishError(
            f"study {study.study!r}: {len(runs)} of {len(evaluation_configs(study))} runs are not "
            f"finished: {listing(runs)}; {_run_again(study)}"
        )
    for name, config in records_of(study).items():
        expected = config.model_dump(mode="json")
        found = _read_record(results / name).get("run_info", {}).get("config", {})
        keys = sorted(expected.keys() | found.keys())
        if other := [key for key in keys if found.get(key) != expected.get(key)]:
            raise PublishError(
                f"{results / name}: {listing(other)}: not the study file's; this run was made with "
                f"other settings; {_run_again(study)}"
            )


def check_tables(study: Study, results: Path) -> None:
    """Refuse broken scores, and tables that are not those of the runs beside them.

    Raises:
        PublishError: Naming the scores or the table.
        UserError: If scores of different items were to be compared.
    """
    tables = {RUN_TABLE: planned_runs(study).to_csv(index=False)}
    _check_table(study, results / RUN_TABLE, tables[RUN_TABLE])
    runs = read_table(results / RUN_TABLE, [*TEXT, *NUMBERS], "sft_tradeoff.study.runs")
    scores = score_table(runs, results / "runs")
    broken = scores[scores["reason"] != ""]
    if len(broken):
        rows = [
            f"{run} on {benchmark}, {metric}: {reason}"
            for run, benchmark, metric, reason in broken[
                ["run", "benchmark", "metric", "reason"]
            ].to_numpy()
        ]
        raise PublishError(
            f"study {study.study!r}: {len(rows)} scores are broken: {listing(rows)}; find out why, "
            "or take these settings out of the study"
        )
    tradeoff = tradeoff_table(scores, runs, results / "runs")
    for name, table in zip(AGGREGATED, (scores, tradeoff, over_seeds(tradeoff)), strict=True):
        _check_table(study, results / name, table.to_csv(index=False, lineterminator="\n"))


def _check_table(study: Study, path: Path, expected: str) -> None:
    if not path.is_file():
        raise PublishError(f"{path}: missing; {_run_again(study)}")
    if path.read_text(encoding="utf-8") != expected:
        raise PublishError(
            f"{path}: not the table of the runs beside it; delete it and {_run_again(study)}"
        )


def _run_again(study: Study) -> str:
    return f"run make study STUDY={study.study}, then publish again"


def _read_record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path)
    return record


# --- publishing ---------------------------------------------------------------------------------


def publish(study_file: Path, results: Path, out: Path, *, replace: bool = False) -> None:
    """Freeze a finished study, as a whole or not at all.

    Args:
        study_file: The study's YAML.
        results: Its results.
        out: Folder to make.
        replace: Whether other results may be overwritten.

    Raises:
        UserError: If the study is not fit to be published, or another state of it already is.
    """
    study = load_study(study_file)
    check_finished(study, results)
    check_tables(study, results)
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{out.name}-*"):  # of a killed run
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        # One level down, because the temporary folder itself is private to the user.
        folder = Path(staging) / "new"
        _copy(study_file, folder / "study.yaml")
        kept = _kept_run_files(study, results)
        for name in [RUN_TABLE, *AGGREGATED, *kept]:
            _copy(results / name, folder / name)
        _seal(folder, _facts(study, results) | {"runs_included": bool(kept)})
        if out.exists() and not replace and _is_same(folder, out):
            logger.info("%s: already published, unchanged", out)
            return
        _move(folder, out, Path(staging) / "old")
    logger.info("%s: published; next: make figures STUDY=%s, and commit both", out, study.study)


def _kept_run_files(study: Study, results: Path) -> list[str]:
    """The runs' own files, or none of them if together they are too large for a repository."""
    names = run_files(study)
    size = sum((results / name).stat().st_size for name in names)
    if size <= MAX_RUNS_BYTES:
        return names
    logger.warning(
        "the files of the runs have %.0f MB, more than %.0f: only tables are published, and no "
        "recommendation can be drawn from them",
        size / 1e6, MAX_RUNS_BYTES / 1e6,
    )  # fmt: skip
    return []


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".parquet":
        names = pd.read_parquet(source).select_dtypes(exclude="number")
        _check_private("\n".join(map(str, names.to_numpy().ravel())), source)
        shutil.copyfile(source, target)
        return
    text = _relative_paths(source.read_text(encoding="utf-8"))
    _check_private(text, source)
    atomic_write_text(target, text)


def _relative_paths(text: str) -> str:
    """Cut the repository's own place off its paths."""
    return re.sub(rf"(?<![\w./-]){re.escape(str(Path.cwd()))}/", "", text)


def _check_private(text: str, source: Path) -> None:
    """Refuse what tells about one machine and serves no other."""
    names = "|".join(map(re.escape, _telling_names(socket.gethostname()))) or "(?!)"
    found = ABSOLUTE_PATH.search(text) or re.search(rf"(?<![\w-])(?:{names})(?![\w-])", text)
    if found:
        raise PublishError(
            f"{source}: {found[0]!r} is a path outside the repository or this machine's name, "
            "which cannot be published; use a path relative to the repository, or other words"
        )


def _telling_names(host: str) -> list[str]:
    """The names of a machine that can mean nothing else.

    With its domain always; alone only with a digit or hyphen and of some length: a machine may be
    called "runner" or "a100", which items and hardware may be as well.
    """
    short, _, domain = host.partition(".")
    telling = len(short) >= SHORTEST_HOST and re.search(r"[\d-]", short)
    return [host] * bool(domain) + [short] * bool(telling)


def _facts(study: Study, results: Path) -> dict[str, Any]:
    """Where the results come from: commits, versions, settings."""
    configs = records_of(study)
    settings = _relative_paths("\n".join(c.model_dump_json() for c in configs.values()))
    records = [_read_record(results / name) for name in configs]
    origins, machines = ([r.get(key, {}) for r in records] for key in ("run_info", "meta_info"))
    packages: list[dict[str, str]] = [machine.get("packages", {}) for machine in machines]
    here = run_info({})
    return {
        "study": study.study,
        "settings_sha256": hashlib.sha256(settings.encode()).hexdigest(),
        "n_runs": len(evaluation_configs(study)),
        "published": {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git_commit": here["git_commit"],
            "git_dirty": here["git_dirty"],
        },
        "computed": {
            "git_commit": _distinct(origins, "git_commit"),
            "git_dirty": any(origin.get("git_dirty") for origin in origins),
            "python": _distinct(machines, "python"),
            "packages": {n: _distinct(packages, n) for n in sorted(set().union(*packages))},
            "hardware": _distinct(machines, "hardware"),
        },
    }


def _distinct(records: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(record[key]) for record in records if record.get(key) is not None})


def _seal(folder: Path, facts: dict[str, Any]) -> None:
    files = {
        name: {"size_bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in file_hashes(folder).items()
    }
    atomic_write_json(folder / MANIFEST, facts | {"files": files})
    lines = [f"{digest}  {name}\n" for name, digest in file_hashes(folder).items()]
    atomic_write_text(folder / SEAL, "".join(lines))


def _is_same(folder: Path, published: Path) -> bool:
    """Whether the same results are published already; their manifests differ in the date.

    Raises:
        PublishError: If other results are, or they were changed.
    """
    ours, theirs = ({**file_hashes(path), MANIFEST: ""} for path in (folder, published))
    if differing := sorted(n for n in ours | theirs if ours.get(n) != theirs.get(n)):
        raise PublishError(
            f"{published}: published already, with other content: {listing(differing)}; to "
            f"overwrite it, run make publish STUDY={published.name} REPLACE=yes"
        )
    verify(published)
    return True


def _move(folder: Path, out: Path, aside: Path) -> None:
    """Put a finished folder in its place; if that fails, what was there stays."""
    if out.exists():
        os.rename(out, aside)
    try:
        os.rename(folder, out)
    except OSError:
        if aside.exists():
            os.rename(aside, out)
        raise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff publish``."""
    parser.add_argument("--study", type=Path, required=True, help="study file, YAML")
    parser.add_argument("--results", type=Path, required=True, help="its results, results/<study>")
    parser.add_argument("--out", type=Path, required=True, help="results/published/<study>")
    parser.add_argument("--replace", action="store_true", help="overwrite another state of it")


def main(args: argparse.Namespace) -> None:
    """Publish one study."""
    with run_main("publish"):
        publish(args.study, args.results, args.out, replace=args.replace)
