"""Clusters with and without accounting; the answers are those of real ones."""

import pytest
import snakemake_executor_plugin_slurm as plugin

from sft_tradeoff.planning.slurm import status_command
from sft_tradeoff.system.console import UserError

CONFIG = """\
Configuration data as of 2026-12-01T00:30:00
AccountingStorageEnforce = none
AccountingStorageHost   = localhost
AccountingStorageType   = {storage}
MessageTimeout          = 10 sec
MinJobAge               = {age} sec

Cgroup Support Configuration:
"""


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Write a stand-in for ``scontrol``, the only program in PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(plugin, "get_min_job_age", plugin.get_min_job_age)
    status_command.cache_clear()

    def write(text, code=0):
        program = tmp_path / "scontrol"
        program.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{text}END\nexit {code}\n")
        program.chmod(0o755)

    yield write
    status_command.cache_clear()


@pytest.mark.parametrize("storage", ["accounting_storage/none", "(null)"])
def test_without_accounting_squeue_tells_the_state(scontrol, storage):
    scontrol(CONFIG.format(storage=storage, age=300))
    assert status_command() == "squeue"
    scontrol("", code=1)
    assert plugin.get_min_job_age() == 300, "whether or not the controller answers"


def test_with_accounting_or_without_an_answer_the_plugin_chooses(scontrol):
    assert status_command() is None
    scontrol("slurm_load_ctl_conf error: Unable to contact slurm controller\n", code=1)
    status_command.cache_clear()
    assert status_command() is None
    scontrol(CONFIG.format(storage="accounting_storage/slurmdbd", age=2))
    status_command.cache_clear()
    assert status_command() is None


def test_a_cluster_that_forgets_its_jobs_too_soon_is_refused(scontrol):
    scontrol(CONFIG.format(storage="accounting_storage/none", age=120))
    with pytest.raises(UserError, match=r"after 120 s \(MinJobAge\); ask .* for MinJobAge=300"):
        status_command()
