"""Faults around a whole study: two at once, clocks, disks and the cache."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.disk import Disk
from tests.faults.laboratory import (
    Broken,
    Laboratory,
    check_whole,
    clear_errors,
    fingerprint,
)
from tests.faults.outcome import RECOVERED, REFUSED, Outcome, failed
from tests.faults.running import REFUSAL, RunningStudy, check_finished_study, finish_study

DAY_S = 86_400


def _each(cases: list[Callable[[], Outcome]], n: int) -> Iterator[Outcome]:
    for i in range(n):
        case = cases[i % len(cases)]
        try:
            yield case()
        except Broken as broken:
            yield failed(f"{case.__name__}: {broken}")


def copy_of_finished(lab: Laboratory) -> Path:
    """A checkout in which the study is finished, file times included."""
    folder = lab.new_folder()
    shutil.copytree(lab.finished_study, folder, symlinks=True, dirs_exist_ok=True)
    return folder


def two_studies(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Two at a time: in one folder the second is refused; in two with one cache both finish."""

    def in_one_folder() -> Outcome:
        checkout = lab.checkout()
        first = RunningStudy(checkout)
        time.sleep(rng.uniform(0, 10))
        done = [first.wait() if i else RunningStudy(checkout).wait() for i in range(2)]
        codes = sorted(d.code for d in done)
        if codes[0] or not codes[1] or not any(REFUSAL in d.text for d in done):
            raise Broken(f"not one refused: {[d.text[-800:] for d in done]}")
        check_finished_study(checkout, lab.study_truth)
        return REFUSED

    def with_one_cache() -> Outcome:
        cache, checkouts = lab.new_folder(), [lab.checkout(), lab.checkout()]
        studies = []
        for checkout in checkouts:
            studies.append(RunningStudy(checkout, cache=cache))
            time.sleep(rng.uniform(0, 4))
        done = [study.wait() for study in studies]
        for checkout, ended in zip(checkouts, done, strict=True):
            if ended.code:  # the other took a file away, to make it itself
                clear_errors(ended)
            finish_study(checkout, lab.study_truth, cache=cache)
        return REFUSED if any(ended.code for ended in done) else RECOVERED

    return _each([in_one_folder, with_one_cache], n)


def shift_times(folder: Path, rng: random.Random) -> None:
    """Give every file another time, as a clock that jumps does."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            moment = time.time() - rng.uniform(0, 30 * DAY_S)
            os.utime(path, (moment, moment))


def clock(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The clock jumps between two runs, or is set back during one."""

    def times_shuffled() -> Outcome:
        checkout = copy_of_finished(lab)
        for part in ("results", "resources"):
            shift_times(checkout / part, rng)
        finish_study(checkout, lab.study_truth)
        return RECOVERED

    def set_back() -> Outcome:
        """The first half of the study ran two days ahead of now."""
        checkout = lab.checkout()
        study = RunningStudy(checkout)
        time.sleep(rng.uniform(15, 40))
        study.kill("all")
        for path in checkout.rglob("*"):
            if path.is_file() and not path.is_symlink():
                ahead = path.stat().st_mtime + 2 * DAY_S
                os.utime(path, (ahead, ahead))
        finish_study(checkout, lab.study_truth)
        return RECOVERED

    def data_from_the_past() -> Outcome:
        """Other data, older than the results from the previous data."""
        return _other_data(lab)

    return _each([data_from_the_past, times_shuffled, set_back], n)


def _other_data(lab: Laboratory) -> Outcome:
    checkout = lab.checkout()
    data, study = checkout / "own.jsonl", checkout / "config/studies/faults.yaml"
    domain = "domains: [{name: own, path: own.jsonl, n_train: 4, n_validation: 1, n_test: 2}]"
    study.write_text(
        "\n".join(
            domain if line.startswith("domains") else line
            for line in study.read_text().splitlines()
        )
    )
    target = "results/faults/data/own-response/train.jsonl"
    now = time.time()
    for text, moment in (("old", now), ("new", now - DAY_S), ("newer", now + DAY_S)):
        data.write_text("".join(f'{{"prompt": "{i}?", "response": "{text}"}}\n' for i in range(8)))
        os.utime(data, (moment, moment))
        done = RunningStudy(checkout, goal=target).wait()
        if done.code:
            raise Broken(done.text[-3000:])
        if f'"{text}"' not in (checkout / target).read_text():
            raise Broken("results of other data under this data's name, without a word")
    return RECOVERED


def deleted_study_cache(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The cache is deleted after a study, or during one."""

    def afterwards() -> Outcome:
        checkout = copy_of_finished(lab)
        shutil.rmtree(checkout / "resources")
        finish_study(checkout, lab.study_truth)
        return RECOVERED

    def meanwhile() -> Outcome:
        checkout = lab.checkout()
        study = RunningStudy(checkout)
        time.sleep(rng.uniform(15, 50))
        shutil.rmtree(checkout / "resources", ignore_errors=True)
        done = study.wait()
        check_whole(checkout / "results/faults", lab.study_truth)
        finish_study(checkout, lab.study_truth)
        if done.code:
            clear_errors(done)
        return REFUSED if done.code else RECOVERED

    return _each([afterwards, meanwhile], n)


def study_on_a_bad_disk(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The results folder is on a full disk, or is read-only."""

    def full() -> Outcome:
        return refused(f"size={4096 * rng.randint(30, 600)}", "size=1g")

    def read_only() -> Outcome:
        return refused("ro", "rw")

    def refused(fault: str, mend: str) -> Outcome:
        checkout = lab.checkout()
        with contextlib.closing(Disk(checkout / "results")) as disk:
            disk.remount(fault)
            done = RunningStudy(checkout, disk.inside(checkout)).wait()
            check_whole(disk.path / "faults", lab.study_truth)
            disk.remount(mend)
            second = RunningStudy(checkout, disk.inside(checkout)).wait()
            if second.code:
                raise Broken(f"{fault}: the next run failed: {second.text[-3000:]}")
            check_whole(disk.path / "faults", lab.study_truth)
            if set(lab.study_truth) - set(fingerprint(disk.path / "faults")):
                raise Broken(f"{fault}: results are missing")
            if not done.code:
                raise Broken(f"{fault}: nothing failed, so no fault was provoked")
            clear_errors(done)
        return REFUSED

    return _each([full, read_only], n)
