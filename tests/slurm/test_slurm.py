"""The project on Slurm: the same results as without it, whatever happens to its jobs."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from tests.conftest import ROOT, snakemake
from tests.slurm.conftest import LIMIT_MB, PROFILE, SFT, TALR

NOT_RESULTS = {"time_s", "divergence_s", "tokens_per_s", "peak_memory_bytes"}
on_slurm = pytest.mark.slurm


@on_slurm
def test_results_are_those_of_a_local_run_bit_for_bit(finished):
    runs = sorted(path.name for path in (finished.local / "runs").iterdir())
    assert len(runs) == 4, "θ0, sft, talr, wise_ft"
    for run in runs:
        here, there = (results / "runs" / run for results in (finished.local, finished.on_slurm))
        for name in ("train.json", "eval.json"):
            if (here / name).exists():
                assert record(there / name) == record(here / name)
        items = [pd.read_parquet(folder / "items.parquet") for folder in (here, there)]
        pd.testing.assert_frame_equal(*items, check_exact=True)
    for name in ("scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv"):
        tables = [results_table(folder / name) for folder in (finished.local, finished.on_slurm)]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    page = "tables/tradeoff.md"
    assert (finished.on_slurm / page).read_bytes() == (finished.local / page).read_bytes()


def results_table(path):
    return pd.read_csv(path).drop(columns=NOT_RESULTS, errors="ignore")


def record(path):
    """A run's record without what may differ between two runs on one machine."""

    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in NOT_RESULTS}
        return [strip(v) for v in value] if isinstance(value, list) else value

    content = json.loads(path.read_text())
    assert content["run_info"]["config"], path
    return strip(content)


@on_slurm
def test_a_requeued_job_goes_on_from_its_resume_point(finished):
    [job] = finished.jobs_of("train", TALR)
    assert (job["Restarts"], job["JobState"]) == ("1", "COMPLETED")
    log = (finished.on_slurm / f"logs/train/{TALR}.log").read_text()
    step, n_steps = map(int, re.search(r"resuming at step (\d+) of (\d+)", log).groups())
    assert 0 < step < n_steps == 60


@on_slurm
def test_a_job_killed_for_its_memory_is_tried_again_with_more(slurm, finished):
    killed, repeated = finished.jobs_of("train", SFT)
    assert (killed["JobState"], repeated["JobState"]) == ("FAILED", "COMPLETED")
    assert killed["MinMemoryNode"] == f"{LIMIT_MB}M"
    log = (slurm.folder / "slurmd.log").read_text()
    assert re.search(rf"StepId={killed['JobId']}\.\w+ exceeded memory limit", log)
    [first_attempt] = finished.jobs_of("train", TALR)
    assert megabytes(repeated) > megabytes(first_attempt)
    assert repeated["TimeLimit"] > first_attempt["TimeLimit"]


def megabytes(job):
    value, unit = re.fullmatch(r"([\d.]+)([MG])", job["MinMemoryNode"]).groups()
    return float(value) * (1 if unit == "M" else 1024)


@on_slurm
def test_jobs_that_use_a_gpu_ask_for_it_where_there_are_gpus(finished):
    rules = ("reference", "kl_reference", "answer_weights", "train", "evaluate", "noise_floor")
    for rule in rules:
        assert finished.jobs_of(rule)
        for job in finished.jobs_of(rule):
            assert (job["TresPerJob"], job["Partition"]) == ("gres:gpu:1", "gpu")
    for rule in ("domain_data", "tokenize", "merge"):
        assert finished.jobs_of(rule)
        for job in finished.jobs_of(rule):
            assert "TresPerJob" not in job and job["Partition"] == "short"


def test_every_rule_that_uses_a_gpu_is_in_the_profile():
    """Otherwise its jobs go where there is none."""
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    using = {part.split(":")[0] for part in rules.split("\nrule ")[1:] if "gpu=gpus(" in part}
    listed = (ROOT / PROFILE / "profile.yaml").read_text().partition("gpu_rules = ")[2]
    assert set(json.loads(listed.splitlines()[0])) == using > {"train", "evaluate"}


def test_the_papers_jobs_ask_for_as_many_gpus_of_one_node_as_they_have_processes(cache):
    study = ("--workflow-profile", PROFILE, "--configfile", "config/studies/paper.yaml")
    done = snakemake(*study, "--dry-run", "--quiet", "host", cache=cache)
    asked = {}
    for rule, job in re.findall(r"^rule (\w+):\n((?: +.*\n)+)", done.stdout, re.MULTILINE):
        words = dict(re.findall(r"\b(gpu|nodes|slurm_partition)=(\w+)", job))
        asked.setdefault(rule, set()).add((words.get("gpu"), words.get("nodes")))
    assert asked["train"] == {("2", "1")}
    assert asked["reference"] == asked["evaluate"] == asked["noise_floor"] == {("1", "1")}
    assert asked["tokenize"] == {(None, "1")}
