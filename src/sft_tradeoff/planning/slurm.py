"""What the Slurm profile asks the cluster: which command knows the state of finished jobs."""

from __future__ import annotations

import functools
import re
import subprocess

from sft_tradeoff.system.console import UserError

LONGEST_PAUSE_S = 190  # between two questions of the plugin


@functools.cache
def status_command() -> str | None:
    """Return ``squeue`` for a cluster without accounting, where ``sacct`` knows no job.

    The plugin would choose ``sacct`` if there is such a program, and wait for ever. None leaves the
    choice to it: there is accounting, or no answer.

    Raises:
        UserError: If Slurm forgets finished jobs before the plugin asks for them.
    """
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    settings = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", done.stdout, re.MULTILINE))
    if settings.get("AccountingStorageType") not in ("accounting_storage/none", "(null)"):
        return None
    age_s = int(settings["MinJobAge"].split()[0])
    if age_s < LONGEST_PAUSE_S:
        raise UserError(
            f"this Slurm has no accounting and forgets finished jobs after {age_s} s (MinJobAge); "
            f"ask its administrator for MinJobAge=300, Slurm's default, or for accounting"
        )
    _stay_with_squeue(age_s)
    return "squeue"


def _stay_with_squeue(age_s: int) -> None:
    """Answer for the plugin how long Slurm remembers finished jobs.

    It asks the controller before every round, and turns to ``sacct`` when that is away.
    """
    import snakemake_executor_plugin_slurm as plugin  # type: ignore[import-untyped]

    plugin.get_min_job_age = lambda: age_s
