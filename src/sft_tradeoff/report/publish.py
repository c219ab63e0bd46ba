"""Freeze a finished study in results/published."""

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
from pathlib import Path
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.answers import ANSWERS, FROM_MODEL
from sft_tradeoff.analysis.computed import computed_with
from sft_tradeoff.analysis.run_records import Record
from sft_tradeoff.report.publish_checks import (
    RUN_TABLE,
    check_finished,
    check_tables,
    records_of,
    run_files,
)
from sft_tradeoff.report.published import CHECKSUMS, MANIFEST, PublishError, checksums, verify
from sft_tradeoff.study.added_rates import FILE, with_added_rates
from sft_tradeoff.study.config import Study, load_study
from sft_tradeoff.study.runs import (
    aggregated_tables,
    answer_weight_files,
    evaluation_configs,
)
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_json, atomic_write_text, remove_leftovers
from sft_tradeoff.system.provenance import run_info
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)

MAX_RUNS_BYTES = 20_000_000  # git keeps every version of every file forever
SHORTEST_HOST = 5

# At least two names, so that a lone slash in prose does not count; after a word or a dot it is part
# of a URL, a unit or a relative path.
ABSOLUTE_PATH = re.compile(r"(?:file://|(?<![\w./<~-]))/[\w.+-]+/[\w.+/-]*")


def publish(study_file: Path, results: Path, out: Path, *, replace: bool = False) -> None:
    """Freeze a finished study. The published folder is complete, or it does not change.

    Args:
        study_file: The study's YAML.
        results: Folder with its results.
        out: Folder to write, ``results/published/<study>``.
        replace: Whether to overwrite a published version that differs.

    Raises:
        UserError: If the study may not be published, or a different version of it already is.
    """
    study = with_added_rates(load_study(study_file), results)
    check_finished(study, results)
    check_tables(study, results)
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        # One level down: the temporary folder itself is readable by the user only.
        folder = Path(staging) / "new"
        _copy(study_file, folder / "study.yaml")
        kept = _kept_run_files(study, results)
        # Older results lack the weights of the answer, which only warn.
        optional = [*([FILE] if study.refine else []), *answer_weight_files(study)]
        added = [name for name in optional if (results / name).is_file()]
        for name in [RUN_TABLE, *aggregated_tables(study), *added, *kept]:
            _copy(results / name, folder / name)
        included = {
            "runs_included": bool(kept),
            "answers_included": any(Path(name).name == ANSWERS for name in kept),
        }
        _write_checksums(folder, _facts(study, results) | included)
        if out.exists() and not replace and _is_same(folder, out):
            logger.info("%s: already published, no change", out)
            return
        _move(folder, out, Path(staging) / "old")
    logger.info("%s: published; next: make figures STUDY=%s, and commit both", out, study.study)


def _kept_run_files(study: Study, results: Path) -> list[str]:
    """Files of the runs to publish: what is not too large for a repository.

    Answers are left out first, because nothing is computed from them; then all files of the runs.
    """
    names = run_files(study)
    without_answers = [name for name in names if Path(name).name != ANSWERS]
    for kept, consequence in (
        (names, "their answers are not published"),
        (without_answers, "only tables are published, and the recommendation cannot be redrawn"),
    ):
        size = sum((results / name).stat().st_size for name in kept)
        if size <= MAX_RUNS_BYTES:
            return kept
        what = "" if kept is names else " without answers"
        message = "the files of the runs%s take %.0f MB, more than %.0f: %s"
        logger.warning(message, what, size / 1e6, MAX_RUNS_BYTES / 1e6, consequence)
    return []


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".parquet":
        # What a model wrote says nothing about this machine.
        frame = pd.read_parquet(source).drop(columns=FROM_MODEL, errors="ignore")
        names = frame.select_dtypes(exclude="number")
        _check_private("\n".join(map(str, names.to_numpy().ravel())), source)
        shutil.copyfile(source, target)
        return
    text = _relative_paths(source.read_text(encoding="utf-8"))
    _check_private(text, source)
    atomic_write_text(target, text)


def _relative_paths(text: str) -> str:
    """Make absolute paths inside the repository relative to it."""
    return re.sub(rf"(?<![\w./-]){re.escape(str(Path.cwd()))}/", "", text)


def _check_private(text: str, source: Path) -> None:
    """Refuse paths and host names, which mean nothing on another machine."""
    names = "|".join(map(re.escape, _identifying_names(socket.gethostname()))) or "(?!)"
    found = ABSOLUTE_PATH.search(text) or re.search(rf"(?<![\w-])(?:{names})(?![\w-])", text)
    if found:
        raise PublishError(
            f"{source}: {found[0]!r} is a path outside the repository or the name of this machine, "
            "which must not be published; use a path relative to the repository, or reword it"
        )


def _identifying_names(host: str) -> list[str]:
    """The names of a machine that cannot be mistaken for anything else.

    The full name with its domain always; the short name only if it is long enough and has a digit
    or hyphen: "runner" or "a100" may also occur in items or as hardware.
    """
    short, _, domain = host.partition(".")
    identifies = len(short) >= SHORTEST_HOST and re.search(r"[\d-]", short)
    return [host] * bool(domain) + [short] * bool(identifies)


def _facts(study: Study, results: Path) -> dict[str, Any]:
    """Where the results come from: commits, versions, settings."""
    configs = records_of(study)
    settings = _relative_paths("\n".join(c.model_dump_json() for c in configs.values()))
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
        "computed": computed_with([Record.read(results / name) for name in configs]),
    }


def _write_checksums(folder: Path, facts: dict[str, Any]) -> None:
    files = {
        name: {"size_bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in checksums(folder).items()
    }
    atomic_write_json(folder / MANIFEST, facts | {"files": files})
    lines = [f"{digest}  {name}\n" for name, digest in checksums(folder).items()]
    atomic_write_text(folder / CHECKSUMS, "".join(lines))


def _is_same(folder: Path, published: Path) -> bool:
    """Whether these results are published already. The manifest is left out: it holds the date.

    Raises:
        PublishError: If different results are published, or a published file was changed.
    """
    ours, theirs = ({**checksums(path), MANIFEST: ""} for path in (folder, published))
    if differing := sorted(n for n in ours | theirs if ours.get(n) != theirs.get(n)):
        raise PublishError(
            f"{published}: already published with other content: {listing(differing)}; to "
            f"overwrite it, run make publish STUDY={published.name} REPLACE=yes"
        )
    verify(published)
    return True


def _move(folder: Path, out: Path, aside: Path) -> None:
    """Rename a finished folder to its final name; if that fails, restore the previous one."""
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
    parser.add_argument(
        "--replace", action="store_true", help="overwrite a published version that differs"
    )


def main(args: argparse.Namespace) -> None:
    """Publish one study."""
    with run_main("publish"):
        publish(args.study, args.results, args.out, replace=args.replace)
