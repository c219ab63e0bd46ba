"""Run a study with Snakemake, or continue one that stopped, and print its table.

With ``refine``, learning rates are added from the results until nothing is left to add.

One study runs in a folder at a time. Snakemake inherits our lock, so it is held while Snakemake
runs, even if this process is killed. Whoever holds it can safely remove Snakemake's own lock, which
survives a kill.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from sft_tradeoff.assets.fetch import CACHE_VARIABLE, cache_dir
from sft_tradeoff.planning.snakemake_run import (
    require_project_folder,
    run,
    snakemake_command,
)
from sft_tradeoff.report import PAGE, tables
from sft_tradeoff.report.recommend import add_limit_arguments
from sft_tradeoff.study.added_rates import RESULTS, planned_study
from sft_tradeoff.study.checks import check_assets, check_files
from sft_tradeoff.study.config import STUDIES, load_study
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.strict_yaml import read_yaml

LOCK = Path(".snakemake/study.lock")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
MATERIAL = "material"  # target: what is fetched and built in the cache


def run_study(name: str, cores: str = "all", tolerance: str = "", smallest_gain: str = "") -> int:
    """Run a study, or what is left of it, and print its table.

    Args:
        name: Name of a file in ``config/studies``, without ``.yaml``.
        cores: Cores for all jobs together: a number, or ``all``.
        tolerance: Replaces the study's own, for the recommendation; empty: does not.
        smallest_gain: Likewise.

    Returns:
        Exit code: 0, 1 if a job failed, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        UserError: If there is no such study, it is not valid, or one is running in this folder.
    """
    study_file = STUDIES / f"{name}.yaml"
    require_project_folder()
    _check_cores(cores)
    check_study(study_file)
    settings = {"tolerance": tolerance, "smallest_gain": smallest_gain}
    command = snakemake_command(study_file, cores, settings)
    with locked(LOCK) as descriptor:
        limit_times([Path("workflow"), RESULTS, cache_dir()], LOCK.stat().st_mtime_ns)
        for step in _steps(command, study_file, tolerance):
            if code := run(step, keep_open=[descriptor]):
                return code if code > 128 else _failed(step)
    results = RESULTS / name
    shown = [str(results / "tables"), str(results / "figures"), str(results / PAGE)]
    tradeoff = results / "tradeoff_over_seeds.csv"
    tables.main(argparse.Namespace(tradeoff=tradeoff, out_dir=None, show=shown))
    return 0


def _steps(command: list[str], study_file: Path, tolerance: str) -> Iterator[list[str]]:
    """Yield the calls of Snakemake; each begins after the one before has succeeded.

    If the study says so, learning rates are added from the results, and it is run again.
    """
    if _has_files(SNAKEMAKE_LOCKS):
        yield [*command, "--unlock"]
    # Material first: Snakemake plans no job after a file behind ancient() that is rebuilt.
    yield [*command, MATERIAL]
    yield command
    if load_study(study_file).refine:
        from sft_tradeoff.planning.refine import refine  # pandas, which a check does without

        while refine(study_file, tolerance):
            yield command


def _check_cores(cores: str) -> None:
    if cores != "all" and not (cores.isdecimal() and int(cores) > 0):
        raise UserError(f"cores: {cores!r} is not a number of cores from 1; write one, or all")


def check_study(study_file: Path) -> None:
    """Check a study before anything is started.

    Raises:
        UserError: If it is missing, not valid, or drawn from published results.
    """
    content = read_yaml(study_file) if study_file.is_file() else None
    if isinstance(content, dict) and content.get("results_source") == "published":
        raise UserError(
            f"{study_file.stem} is drawn from published results: run make figures "
            f"STUDY={study_file.stem}"
        )
    study = planned_study(study_file)
    check_files(study, str(study_file), BENCHMARKS)
    check_assets(study, str(study_file))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock file and set its time to now; the kernel releases it when its holders have ended.

    Yields:
        Its file descriptor; a process that inherits it holds the lock as well.

    Raises:
        UserError: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another study is running in this folder: {_holder(path)}") from None
        os.utime(path)
        yield file.fileno()


def _holder(lock: Path) -> str:
    """Who holds a lock file, since when, and how to end it."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(lock.resolve()) for file in process.open_files()):
                found[process.pid] = process
    found.pop(os.getpid(), None)
    with contextlib.suppress(psutil.Error):
        for pid, process in found.items():
            if process.ppid() in found:
                continue
            since = datetime.fromtimestamp(process.create_time())
            # A leader is told with all its group, since Snakemake alone would wait for its jobs.
            end = f"kill -INT -- -{pid}" if os.getpgid(pid) == pid else f"kill {pid}"
            return (
                f"process {pid}, since {since:%Y-%m-%d %H:%M}; wait until it has ended, or: {end}"
            )
    return "by another user, or on another machine; wait until it has ended"


def limit_times(roots: Iterable[Path], latest_ns: int) -> None:
    """Set later modification times to ``latest_ns``, of all files and folders below some folders.

    A clock that was set back leaves files in the future. Whatever is made from them would be older,
    and Snakemake would delete it. Files with several links, and what links point to, may be the
    user's own and are left alone.

    Args:
        roots: Folders, or links to them; those that do not exist are skipped.
        latest_ns: Nanoseconds since the epoch.
    """
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in ["", *folders, *files]:
                # Running jobs of others may remove files; some may belong to another user.
                with contextlib.suppress(OSError):
                    _limit_time(os.path.join(folder, name), latest_ns)


def _limit_time(path: str, latest_ns: int) -> None:
    found = os.lstat(path)
    is_shared = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
    if found.st_mtime_ns > latest_ns and not is_shared:
        os.utime(path, ns=(latest_ns, latest_ns), follow_symlinks=False)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _failed(step: Sequence[str]) -> int:
    """Exit code of a failed step; says so if the reason is a folder that is not writable."""
    if RESULTS.exists() and not os.access(RESULTS, os.W_OK):
        raise UserError(
            f"the folder {RESULTS} is not writable; correct its permissions, or replace it by a "
            "link to a folder that is, and run the same command again"
        )
    cache = cache_dir()
    folders = [cache, *(cache / name for name in ("assets", "benchmarks", "models"))]
    closed = [folder for folder in folders if folder.exists() and not os.access(folder, os.W_OK)]
    if step[-1] == MATERIAL and closed:
        raise UserError(
            f"the folder {closed[0]} is not writable and lacks something that this study needs; "
            f"correct its permissions, or set {CACHE_VARIABLE} to a folder of your own, and run "
            "the same command again"
        )
    return 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff study``."""
    parser.add_argument("study", help="name of a file in config/studies, without .yaml")
    add_run_arguments(parser)
    add_limit_arguments(parser, default="the study file's")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a study."""
    parser.add_argument(
        "--cores", default="all", help="total cores shared by all jobs; a number, or all (default)"
    )


def main(args: argparse.Namespace) -> None:
    """Run a study, or continue one that stopped."""
    with run_main("study"):
        sys.exit(run_study(args.study, args.cores, args.tolerance, args.smallest_gain))
