"""The private Slurm, and one study run twice: on this machine, and by Slurm with interruptions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT, snakemake
from tests.slurm.private_slurm import PrivateSlurm, Unavailable

PROFILE = "workflow/profiles/slurm"
STUDY = "smoke.yaml"
# What a user fills in at the top of the profile.
FILLED_IN = {"partition: null": "partition: short", "gpu_partition: null": "gpu_partition: gpu"}
SOONER = "--slurm-init-seconds-before-status-checks=8"  # than the 40 s between two polls
AWAY_S = 80  # for squeue five times 10 s and a pause: the plugin's defaults would lose all jobs
SFT = "random-2layer.esci-label_only.sft.lr1e-2.seed0"  # gets too little memory
TALR = "random-2layer.esci-label_only.talr.lr1e-2.seed0"  # is interrupted after some steps
LIMIT_MB = 400  # Snakemake's own processes fit into it, PyTorch does not


@pytest.fixture(scope="session")
def slurm(request, tmp_path_factory):
    """The cluster; tests are skipped, with the reason, where it cannot run."""
    if request.config.getoption("markexpr") != "slurm":
        pytest.skip("run by make test-slurm")
    cluster = None
    try:
        cluster = PrivateSlurm(tmp_path_factory.mktemp("slurm"))
        cluster.start()
        yield cluster
    except Unavailable as reason:
        pytest.skip(str(reason))
    finally:
        if cluster:
            cluster.stop()


@dataclass
class Finished:
    """Results of both runs, and what Slurm and Snakemake say of the second."""

    local: Path
    on_slurm: Path
    jobs: list[dict[str, str]]
    output: str

    def jobs_of(self, rule: str, run: str = "") -> list[dict[str, str]]:
        """Slurm's jobs of one rule, and of one run of it, in the order of submission."""
        comment = f"rule_{rule}_wildcards_{run}" if run else f"rule_{rule}"
        return [job for job in self.jobs if job.get("Comment", "").startswith(comment)]


@pytest.fixture(scope="session")
def finished(slurm, cache, tmp_path_factory):
    """The study, run twice; on Slurm one job is killed for its memory, and one is requeued."""
    local, there = (project(tmp_path_factory.mktemp(name)) for name in ("local", "cluster"))
    snakemake("--configfile", STUDY, cache=cache, cwd=local)
    fill_in(there / PROFILE / "profile.yaml")
    slurm.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    workflow = start_on_slurm(slurm, there, cache)
    try:
        with_too_little_memory(slurm, workflow, SFT)
        # θ0's statistics, its states and the first run wait: nothing else can be submitted now.
        wait(workflow, lambda: len(waiting_for_gpus(slurm)) == 3)
        with slurm.controller_away():
            time.sleep(AWAY_S)
        slurm.run("scontrol", "update", "PartitionName=gpu", "State=UP")
        requeued_after_some_steps(slurm, workflow, TALR, there / "results/smoke/state")
        output, _ = workflow.communicate(timeout=600)
    finally:
        workflow.kill()
    jobs = slurm.jobs()
    assert workflow.returncode == 0, f"{output}\n{jobs}"
    return Finished(local / "results/smoke", there / "results/smoke", jobs, output)


def project(folder):
    """The project, with its own results, profile and study file."""
    for name in ("Snakefile", "config", "src", "environment.yml"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    (folder / "profiles").symlink_to("workflow/profiles")
    study = yaml.safe_load((ROOT / "config/studies/smoke.yaml").read_text())
    # Three methods bring every rule; 60 steps, so that there is a middle to be interrupted in.
    study["methods"] = [m for m in study["methods"] if m["name"] in ("sft", "talr", "wise_ft")]
    study["methods"][-1]["grid"] = {"alpha": [0.5]}
    study["training"]["epochs"] = 10
    # Otherwise the first run would wait for θ0's statistics, and there would be a fourth job.
    study["record_tokens"] = False
    study["evaluation"]["sampled_texts"] = 0
    (folder / STUDY).write_text(yaml.safe_dump(study))
    return folder


def fill_in(profile):
    text = profile.read_text()
    for blank, value in FILLED_IN.items():
        assert f"  {blank}" in text
        text = text.replace(f"  {blank}", f"  {value}")
    profile.write_text(text)


def start_on_slurm(slurm, folder, cache):
    path = os.pathsep.join([str(Path(sys.executable).parent), str(slurm.bin), os.environ["PATH"]])
    variables = {"PATH": path, "SFT_TRADEOFF_CACHE": str(cache)}
    study = ("--workflow-profile", PROFILE, "--configfile", STUDY, "--latency-wait=5")
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *study, SOONER],
        cwd=folder,
        env=os.environ | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def waiting_for_gpus(slurm):
    jobs = slurm.jobs()
    return [job for job in jobs if (job["Partition"], job["JobState"]) == ("gpu", "PENDING")]


def with_too_little_memory(slurm, workflow, run):
    """Lower the limit of the run's waiting job, as if the estimate had been too small."""
    job = wait_for_job(slurm, workflow, run, "PENDING")
    slurm.run("scontrol", "update", f"JobId={job}", f"MinMemoryNode={LIMIT_MB}")


def requeued_after_some_steps(slurm, workflow, run, state):
    """A preemption, without the two minutes that Slurm then waits."""
    job = wait_for_job(slurm, workflow, run, "RUNNING")
    wait(workflow, lambda: list((state / run).glob("*.pt")))
    slurm.run("scontrol", "requeue", job)
    wait_for_job(slurm, workflow, run, "PENDING")
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")


def wait_for_job(slurm, workflow, run, state):
    def found():
        return [
            job["JobId"]
            for job in slurm.jobs()
            if job.get("Comment") == f"rule_train_wildcards_{run}" and job["JobState"] == state
        ]

    return wait(workflow, found)[-1]


def wait(workflow, found, timeout_s=900):
    """Return the result of ``found`` as soon as there is one."""
    end = time.monotonic() + timeout_s
    while not (value := found()):
        assert workflow.poll() is None, workflow.stdout.read()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
    return value
