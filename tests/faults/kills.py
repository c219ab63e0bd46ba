"""kill -9 of a training process, an evaluation process and a whole running study."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.laboratory import (
    DOMAIN,
    Broken,
    Laboratory,
    check_finished,
    check_whole,
    fingerprint,
)
from tests.faults.outcome import RECOVERED, Outcome, failed
from tests.faults.running import REFUSAL, SNAKEMAKE, RunningStudy, environment, finish_study
from tests.faults.stages import Moment, Stage

TRAINING_SIGHTS = (
    "state/*/.*.tmp.pt",  # a resume point is being written
    "state/*/[!.]*.pt",  # it has its name; its predecessor goes
    "runs/*/.model-*",  # weights are being written
    "runs/*/.model-*/model/model.safetensors",
    "runs/*/model",  # they have their name
    "runs/*/.train.*.json",
    "runs/*/train.json",  # resume points go
)
EVALUATION_SIGHTS = (
    "runs/*/.items.*.parquet",
    "runs/*/items.parquet",
    "runs/*/.answers.*.parquet",
    "runs/*/answers.parquet",
    "runs/*/.eval.*.json",
)
IN_A_ROW = 5  # kills until a run may finish
BETWEEN_S = (2.0, 25.0)  # from the start of a study to its kill


def kill_training(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Training is killed at random moments and at file events, again and again."""
    yield from _kill(
        lab.new_folder,
        lab.start_training,
        lab.finish_training,
        lab.training_truth,
        lab.duration_s["training"],
        TRAINING_SIGHTS,
        rng,
        n,
    )


def kill_evaluation(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Evaluation is killed at random moments and at file events, again and again."""
    yield from _kill(
        lab.trained_copy,
        lab.start_evaluation,
        lab.finish_evaluation,
        lab.evaluation_truth,
        lab.duration_s["evaluation"],
        EVALUATION_SIGHTS,
        rng,
        n,
    )


def _kill(
    new_folder: Callable[[], Path],
    start: Callable[[Path], Stage],
    finish: Callable[[Path], None],
    truth: dict[str, str],
    duration_s: float,
    sights: tuple[str, ...],
    rng: random.Random,
    n: int,
) -> Iterator[Outcome]:
    """Every other kill is at a file event; the others are uniform over the stage's duration."""
    done = 0
    while done < n:
        work, kills = new_folder(), 0
        wanted = min(IN_A_ROW, n - done)
        try:
            while kills < wanted:
                moment = Moment(rng.uniform(0, duration_s))
                if (done + kills) % 2:
                    moment = Moment(rng.uniform(0, 0.004), rng.choice(sights))
                stage = start(work)
                moment.wait(work, stage)
                if stage.kill():
                    kills += 1
                    check_whole(work, truth)
                elif stage.process.exitcode:
                    raise Broken(f"failed by itself: {stage.wait().text[-1500:]}")
            finish(work)
        except Broken as broken:
            yield from [failed(f"{work}: {broken}")] * max(kills, 1)
        else:
            shutil.rmtree(work)
            yield from [RECOVERED] * kills
        done += max(kills, 1)


def kill_study(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """`make study` is killed as a whole, or Snakemake alone, or one job alone."""
    done = 0
    while done < n:
        checkout, kills, finished = lab.checkout(), 0, False
        try:
            while kills < min(IN_A_ROW, n - done) and not finished:
                study = RunningStudy(checkout)
                time.sleep(rng.uniform(*BETWEEN_S))
                victim = rng.choice(["all", "all", "snakemake", "job"])
                if study.kill(victim):
                    kills += 1
                    if victim == "job":  # the others go on, the study fails
                        study.wait()
                else:
                    ended = study.wait()
                    if ended.code and REFUSAL not in ended.text:
                        raise Broken(f"failed by itself: {ended.text[-3000:]}")
                    finished = ended.code == 0
                check_whole(checkout / "results/faults", lab.training_truth | lab.study_truth)
            finish_study(checkout, lab.study_truth)
        except Broken as broken:
            kills = max(kills, 1)
            yield from [failed(f"{checkout}: {broken}")] * kills
        else:
            shutil.rmtree(checkout)
            yield from [RECOVERED] * kills
        done += kills


def examples(folder: Path) -> dict[str, str]:
    """Content of the splits of a domain."""
    return {n: digest for n, digest in fingerprint(folder).items() if n.endswith(".jsonl")}


def kill_snakemake(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Snakemake and its one job are killed while four files of a domain are made."""
    goal = f"results/faults/data/{DOMAIN}/card.md"
    for _ in range(n):
        checkout = lab.checkout()
        made = checkout / Path(goal).parent
        truth = examples(lab.data)
        try:
            study = RunningStudy(checkout, goal=goal)
            deadline = time.monotonic() + 30
            while not list(made.glob("*")) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
            study.kill("all")
            found = examples(made)
            if not found.items() <= truth.items():
                raise Broken(f"half-written: {found}")
            unlock = [*SNAKEMAKE, "--unlock"]
            subprocess.run(unlock, cwd=checkout, env=environment(checkout), check=True)
            done = RunningStudy(checkout, goal=goal).wait()
            found = examples(made)
            if done.code or found != truth:
                raise Broken(f"the next run failed: {done.text[-1500:]}")
        except Broken as broken:
            yield failed(str(broken))
        else:
            yield RECOVERED


def two_trainings(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """A run is started again while the process of a killed Snakemake still trains it."""
    provoked = 0
    while provoked < n:
        work = lab.new_folder()
        first = lab.start_training(work)
        Moment(rng.uniform(0, 1)).wait(work, first)
        second, at_once = lab.start_training(work), first.process.is_alive()
        try:
            for done in (first.wait(), second.wait()):
                if done.code:
                    raise Broken(f"one of two failed: {done.text[-1500:]}")
            check_finished(work, lab.training_truth)
        except Broken as broken:
            provoked += 1
            yield failed(str(broken))
        else:
            provoked += at_once
            yield from [RECOVERED] * at_once
