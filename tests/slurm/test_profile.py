"""The shipped profile drives the real plugin; Slurm's commands and the clock are stand-ins."""

import asyncio
import logging
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
import throttler.throttler
from snakemake.profiles import ProfileConfigFileParser
from snakemake_executor_plugin_slurm import Executor, ExecutorSettings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from tests.slurm.conftest import PROFILE
from tests.unit.planning.test_slurm import CONFIG

from sft_tradeoff.planning.slurm import status_command

AWAY_S = (10, 55)  # from when until when the controller does not answer


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster without accounting, though it has ``sacct``; its controller is away for a while.

    Yields:
        The file with its time [s].
    """
    clock = tmp_path / "clock"
    clock.write_text("0")
    now = f"now=$(cut -d. -f1 {clock})\n"
    away = f"{now}[ $now -ge {AWAY_S[0]} ] && [ $now -lt {AWAY_S[1]} ] && exit 1\n"
    config = CONFIG.format(storage="accounting_storage/none", age=300)
    programs = {
        "scontrol": f"{away}cat <<'END'\n{config}END\n",
        "sacct": "echo Slurm accounting storage is disabled >&2; exit 1\n",
        "squeue": f"{away}echo '7|COMPLETED'; echo '8|RUNNING'\n",
        "sinfo": "",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    status_command.cache_clear()

    async def sleep(seconds):
        clock.write_text(str(float(clock.read_text()) + seconds + 0.01))

    monkeypatch.setattr(throttler.throttler, "asyncio", SimpleNamespace(sleep=sleep))
    now = SimpleNamespace(monotonic=lambda: float(clock.read_text()))
    monkeypatch.setattr(throttler.throttler, "time", now)
    monkeypatch.setattr(plugin, "get_min_job_age", plugin.get_min_job_age)  # and undo its change
    yield clock
    status_command.cache_clear()


def options():
    """The profile as Snakemake reads it."""
    with (Path(PROFILE) / "profile.yaml").open() as file:
        return ProfileConfigFileParser().parse(file)


def one_round(settings, checks_per_second):
    """Ask once for the state of two jobs, as the plugin does; what is known of them then."""
    finished = []
    pace = Fraction(checks_per_second).limit_denominator()
    executor = object.__new__(Executor)
    vars(executor).update(
        workflow=SimpleNamespace(
            executor_settings=settings,
            remote_execution_settings=SimpleNamespace(seconds_between_status_checks=40),
        ),
        logger=logging.getLogger("plugin"),
        run_uuid="run",
        status_rate_limiter=throttler.throttler.Throttler(pace.numerator, pace.denominator),
        report_job_success=lambda job: finished.append(job.external_jobid),
        _next_seconds_between_status_checks=None,
        _status_query_calls=0,
        _status_query_failures=0,
        _status_query_total_seconds=0.0,
        _status_query_min_seconds=None,
        _status_query_max_seconds=0.0,
        _status_query_cycle_rows=[],
    )
    log = Path("never written")
    jobs = [SubmittedJobInfo(None, external_jobid=n, aux={"slurm_logfile": log}) for n in "78"]

    async def ask():
        return [job.external_jobid async for job in executor.check_active_jobs(jobs)]

    return finished, asyncio.run(ask())


def test_no_job_is_forgotten_while_the_controller_is_away(cluster):
    chosen = options()
    settings = ExecutorSettings(
        status_command=chosen["slurm-status-command"],
        status_attempts=int(chosen["slurm-status-attempts"]),
    )
    cluster.write_text(str(AWAY_S[0]))
    finished, active = one_round(settings, float(chosen["max-status-checks-per-second"]))
    assert (finished, active) == (["7"], ["8"])


def test_the_plugins_own_pace_forgets_both_jobs(cluster):
    """Why the profile has its numbers; if this fails, it may not need them any more."""
    cluster.write_text(str(AWAY_S[0]))
    assert one_round(ExecutorSettings(status_command="squeue"), 100.0) == ([], [])
