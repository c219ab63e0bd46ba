"""A whole study as users run it, in a checkout."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.laboratory import Broken, check_whole, fingerprint
from tests.faults.stages import Done

MAKE = ("make", "study", "STUDY=faults")
SNAKEMAKE = ("snakemake", "--configfile", "config/studies/faults.yaml", "--cores", "all")
REFUSAL = "Another study is running in this folder"
TIMEOUT_S = 400


class RunningStudy:
    """``make study`` in a checkout, in its own process group.

    Args:
        checkout: Where.
        prefix: Command that starts it, such as ``nsenter``.
        cache: Cache of fetched material; None: the checkout's own.
        goal: A file that Snakemake alone makes instead.
    """

    def __init__(
        self,
        checkout: Path,
        prefix: Sequence[str] = (),
        cache: Path | None = None,
        goal: str | None = None,
    ) -> None:
        command = MAKE if goal is None else (*SNAKEMAKE, goal)
        self.log = checkout / f"study{time.monotonic_ns()}.log"
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                [*prefix, *command],
                cwd=checkout,
                env=environment(checkout, cache),
                start_new_session=True,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> Done:
        """Let it end."""
        return Done(self.process.wait(TIMEOUT_S), self.log.read_text())

    def kill(self, victim: str) -> bool:
        """Kill ``all`` processes, or one ``job`` or ``snakemake`` alone; True if there was one."""
        if victim == "all":
            running = self.process.poll() is None
            if running:
                others = _below(self.process.pid)  # Snakemake has a session of its own
                os.killpg(self.process.pid, signal.SIGKILL)
                for process in others:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                self.process.wait()
            return running
        while self.process.poll() is None:
            for process in _below(self.process.pid):
                if _role(_command(process)) == victim:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                        return True
            time.sleep(0.01)
        return False


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    """Command line of a Python process; empty for others, such as shells."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return []
    return command if command and "python" in Path(command[0]).name else []


def _role(command: Sequence[str]) -> str:
    """``snakemake``, or ``job`` of a stage that it started; the study's own process is neither."""
    called = [Path(part).name for part in command[1:4] if part != "-m"]
    if called[:1] == ["snakemake"]:
        return "snakemake"
    is_stage = called[:1] in (["sft-tradeoff"], ["sft_tradeoff"])
    return "job" if is_stage and called[1:2] != ["study"] else ""


def environment(checkout: Path, cache: Path | None = None) -> Mapping[str, str]:
    """Environment of a user in a checkout."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("SFT_", "MAKE"))}
    path = f"{checkout / '.venv/bin'}{os.pathsep}{keep['PATH']}"
    keep |= {"PATH": path, "HF_HUB_OFFLINE": "1"}
    keep |= {"CUDA_VISIBLE_DEVICES": ""}
    return keep | ({"SFT_TRADEOFF_CACHE": str(cache)} if cache else {})


def finish_study(
    checkout: Path,
    truth: Mapping[str, str],
    prefix: Sequence[str] = (),
    cache: Path | None = None,
) -> int:
    """Run the study, again if it is refused because orphans of a killed one still write.

    Returns:
        How often it was refused.
    """
    deadline, n_refused = time.monotonic() + TIMEOUT_S, 0
    while True:
        done = RunningStudy(checkout, prefix, cache).wait()
        if done.code == 0:
            break
        if REFUSAL not in done.text or time.monotonic() > deadline:
            raise Broken(f"the next run failed: {done.text[-3000:]}")
        n_refused += 1
        time.sleep(0.5)
    check_finished_study(checkout, truth)
    return n_refused


def check_finished_study(checkout: Path, truth: Mapping[str, str]) -> None:
    """All results equal those of the undisturbed study."""
    results = checkout / "results/faults"
    check_whole(results, truth)
    if left := list(results.glob("runs/*/model")):
        raise Broken(f"weights are left that nobody needs: {left}")
    if missing := set(truth) - set(fingerprint(results)):
        raise Broken(f"missing: {sorted(missing)}")
