"""Disks that are full or read-only, and files that are damaged or missing."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.laboratory import (
    RUN,
    Broken,
    Laboratory,
    check_whole,
    clear_error,
    results_below,
)
from tests.faults.outcome import RECOVERED, REFUSED, Outcome, failed
from tests.faults.stages import Moment

BLOCK = 4096  # bytes


class NoMounts(Exception):
    """The kernel does not let this user mount file systems."""


class Disk:
    """A private file system, in a mount namespace that ends with this object.

    Args:
        folder: Where it is mounted; only processes inside see it there, others at ``path``.

    Raises:
        NoMounts: If this user may not mount.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = 'mount -t tmpfs none "$0" && echo ready && exec sleep infinity'
        self.holder = subprocess.Popen(
            ["unshare", *user, "--mount", "sh", "-c", script, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout and self.holder.stderr
        if self.holder.stdout.readline() != "ready\n":
            reason = self.holder.stderr.read().strip()
            raise NoMounts(f"full and read-only disks need a mount namespace: {reason}")
        self.path = Path(f"/proc/{self.holder.pid}/root{folder.resolve()}")
        self._enter = ["nsenter", f"--target={self.holder.pid}", "--mount"]
        self._enter += ["--user", "--preserve-credentials"] if user else []

    def inside(self, folder: Path) -> list[str]:
        """Prefix of a command that runs in a folder with this file system."""
        return [*self._enter, f"--wdns={folder.resolve()}"]

    def remount(self, options: str) -> None:
        """Change its size, or whether it is writable."""
        command = [*self._enter, "mount", "-o", f"remount,{options}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        """End the namespace, and with it the file system."""
        self.holder.kill()
        self.holder.communicate()


def full_disk(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The disk of the results is full at some byte of training, or of evaluation."""
    provoked = 0
    while provoked < n:
        evaluating = provoked % 2 == 1
        with contextlib.closing(Disk(lab.new_folder() / "results")) as disk:
            size = BLOCK * rng.randint(10, 800)
            if evaluating:
                shutil.copytree(lab.trained, disk.path, dirs_exist_ok=True)
                size = shutil.disk_usage(disk.path).used + BLOCK * rng.randint(1, 4)
            disk.remount(f"size={size}")
            outcome = _on_bad_disk(lab, disk, evaluating, mend="size=1g")
        if outcome != RECOVERED:  # it was large enough: no fault
            provoked += 1
            yield outcome


def read_only(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The results folder is read-only."""
    for i in range(n):
        evaluating = i % 2 == 1
        with contextlib.closing(Disk(lab.new_folder() / "results")) as disk:
            if evaluating:
                shutil.copytree(lab.trained, disk.path, dirs_exist_ok=True)
            disk.remount("ro")
            yield _on_bad_disk(lab, disk, evaluating, mend="rw")


def _on_bad_disk(lab: Laboratory, disk: Disk, evaluating: bool, mend: str) -> Outcome:
    """A stage ends with a clear error and complete files only; with the disk repaired it works."""
    start = lab.start_evaluation if evaluating else lab.start_training
    truth = lab.evaluation_truth if evaluating else lab.training_truth
    try:
        done = start(disk.path).wait()
        check_whole(disk.path, truth)
        if done.code:
            clear_error(done)
            if left := [path for path in disk.path.rglob(".*") if ".tmp" in path.name]:
                raise Broken(f"temporary files are left: {left}")
        disk.remount(mend)
        (lab.finish_evaluation if evaluating else lab.finish_training)(disk.path)
    except Broken as broken:
        return failed(str(broken))
    return REFUSED if done.code else RECOVERED


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file as disks and incomplete copies do; return how."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["cut", "emptied", "bit flipped", "block overwritten"])
    at = rng.randrange(len(data))
    if kind == "cut":
        del data[at:]
    elif kind == "emptied":
        data.clear()
    elif kind == "bit flipped":
        data[at] ^= 1 << rng.randrange(8)
    else:
        data[at : at + 512] = bytes(255 - byte for byte in data[at : at + 512])
    path.unlink()  # not through a link into another folder
    path.write_bytes(data)
    return f"{path.name} {kind} at {at}"


def damaged_resume_point(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Training is killed and its resume point damaged."""
    provoked = 0
    while provoked < n:
        work, how = lab.new_folder(), "nothing damaged"
        try:
            stage = lab.start_training(work)
            Moment(rng.uniform(0, 0.3), "state/*/[!.]*.pt").wait(work, stage)
            if not stage.kill() and stage.process.exitcode:
                raise Broken(f"failed by itself: {stage.wait().text[-1500:]}")
            points = [path for name, path in results_below(work) if name.endswith(".pt")]
            if not points:  # it had ended
                continue
            how = ", ".join(damage(path, rng) for path in points)
            lab.finish_training(work)
        except Broken as broken:
            yield failed(f"{how}: {broken}")
        else:
            shutil.rmtree(work)
            yield RECOVERED
        provoked += 1


def damaged_weights(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The safetensors of θ0 or of a trained run are damaged: refused; the advice helps."""
    for i in range(n):
        work = lab.trained_copy()
        own = i % 2 == 0
        folder = work / "runs" / RUN / "model" if own else lab.model
        start = lab.start_evaluation if own else lab.start_training
        how = damage(folder / "model.safetensors", rng)
        try:
            if not own:
                work = lab.new_folder()
            clear = clear_error(start(work).wait())
            follow(clear)
            if own:
                shutil.rmtree(work / "state", ignore_errors=True)
                if not folder.exists():
                    lab.finish_training(work)
                lab.finish_evaluation(work)
            else:
                lab.build_model()
                lab.finish_training(work)
        except Broken as broken:
            shutil.rmtree(lab.model, ignore_errors=True)
            lab.build_model()
            yield failed(f"{how} of {'the run' if own else 'θ0'}: {broken}")
        else:
            shutil.rmtree(work)
            yield REFUSED


def follow(error: str) -> None:
    """Delete what the error says should be deleted.

    Raises:
        Broken: If it names nothing that exists.
    """
    folder = re.search(r"delete the folder (\S+)", error)
    named = [folder[1]] if folder else [word.strip("':;,()") for word in error.split()]
    path = next((Path(word) for word in named if "/" in word and Path(word).exists()), None)
    if "delete" not in error or path is None:
        raise Broken(f"the advice cannot be followed: {error}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut_inputs(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """A file between two stages is truncated: its reader refuses it, and it is made again."""
    files = [
        lab.data / "train.npz",
        lab.data / "test.npz",
        lab.data / "test.jsonl",
        *lab.benchmarks,
    ]
    for i in range(n):
        path = files[i % len(files)]
        whole = path.read_bytes()
        path.write_bytes(whole[: rng.randrange(len(whole) - 1)])
        work = lab.trained_copy()
        start = lab.start_training if path.name == "train.npz" else lab.start_evaluation
        try:
            clear = clear_error(start(work).wait())
            check_whole(work, lab.evaluation_truth)
            follow(clear)
        except Broken as broken:
            yield failed(f"{path.name} cut: {broken}")
        else:
            yield REFUSED
        finally:
            path.write_bytes(whole)
            shutil.rmtree(work)


def deleted_cache(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Parts of the cache are deleted while a stage runs, then all of it; it is made again."""
    for i in range(n):
        work = lab.new_folder() if i % 2 else lab.trained_copy()
        start = lab.start_training if i % 2 else lab.start_evaluation
        finish = lab.finish_training if i % 2 else lab.finish_evaluation
        truth = lab.training_truth if i % 2 else lab.evaluation_truth
        try:
            stage = start(work)
            Moment(rng.uniform(0, 0.5)).wait(work, stage)
            shutil.rmtree(lab.cache, ignore_errors=True)
            done = stage.wait()
            if done.code:
                clear_error(done)
            check_whole(work, truth)
            lab.make_material()
            finish(work)
        except Broken as broken:
            lab.make_material()
            yield failed(f"{'training' if i % 2 else 'evaluation'}: {broken}")
        else:
            yield REFUSED if done.code else RECOVERED
