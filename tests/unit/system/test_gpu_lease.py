"""Jobs of one machine never share a GPU; devices are simulated, processes are real."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sft_tradeoff.system import gpu_lease
from sft_tradeoff.system.gpu_lease import (
    Device,
    LeaseError,
    driver_listing,
    n_visible,
    take,
    visible_devices,
    wait_for,
)

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb22)
  MIG 3g.20gb     Device  0: (UUID: MIG-dd44)
GPU 10: NVIDIA H100 (UUID: GPU-bb33)
"""
AA, BB, TEN = Device("0", "GPU-aa11"), Device("1", "GPU-bb22"), Device("10", "GPU-bb33")
DEADLINE_S = 30.0
# A leased job that says on which devices it is, and stays until its input is closed.
JOB = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


# --- which devices there are --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, [AA, BB, TEN]),
        ("", []),
        ("-1", []),
        ("10, 0", [TEN, AA]),
        ("1,-1,0", [BB]),
        ("1,7,0", [BB]),
        ("0,0", [AA]),
        ("GPU-aa", [Device("GPU-aa", "GPU-aa11")]),
        ("GPU-bb", [Device("GPU-bb", "GPU-bb")]),
        ("MIG-dd44,NoDevFiles", [Device("MIG-dd44", "MIG-dd44")]),
    ],
)
def test_visible_devices_are_those_that_cuda_would_see(
    listed: str | None, expected: list[Device], tmp_path: Path
) -> None:
    """An invalid entry ends the list; a UUID may be shortened to a unique prefix."""
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_devices(environment, LISTING, tmp_path) == expected


def test_device_nodes_stand_in_for_a_driver_that_lists_nothing(nodes: Path) -> None:
    zero, one, ten = (Device(number, number) for number in ("0", "1", "10"))
    assert visible_devices({}, "", nodes) == [zero, one, ten]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "10,0"}, "", nodes) == [ten, zero]


@pytest.mark.parametrize(
    ("listed", "expected"), [(None, 3), ("", 0), ("-1", 0), ("1", 1), ("0,10", 2), ("GPU-aa", 1)]
)
def test_planning_counts_device_nodes(
    listed: str | None, expected: int, nodes: Path, tmp_path: Path
) -> None:
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert n_visible(environment, nodes) == expected
    assert n_visible(environment, tmp_path / "absent") == 0, "the variable makes no GPU"


# --- holding them -------------------------------------------------------------------------------


@pytest.fixture
def three() -> list[Device]:
    """Devices that no other test holds."""
    return [Device(str(n), f"GPU-{uuid.uuid4()}") for n in range(3)]


def test_a_device_is_taken_once_and_free_when_its_socket_is_closed(three: list[Device]) -> None:
    first, second = take(three, 1), take(three, 2)
    assert first and second
    assert [*first] == three[:1] and [*second] == three[1:]
    assert take(three, 1) is None
    first[three[0]].close()
    again = take(three, 1)
    assert again and [*again] == three[:1]
    for holder in (*second.values(), *again.values()):
        holder.close()


def test_too_few_free_devices_leave_none_held(three: list[Device]) -> None:
    with contextlib.closing((take(three, 1) or {})[three[0]]):
        assert take(three, 3) is None
        rest = take(three, 2)
    assert rest and [*rest] == three[1:]


def test_more_devices_than_there_are_is_an_error_and_no_endless_wait(three: list[Device]) -> None:
    with pytest.raises(LeaseError, match=r"needs 4 GPUs and sees 3; lower training\.processes"):
        wait_for(three, 4)


# --- as a command -------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, three: list[Device]) -> Iterator[Start]:
    """Start a leased job on a pretended machine with three GPUs."""
    listing = "".join(f"GPU {d.name}: A (UUID: {d.identity})\n" for d in three)
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
    driver.chmod(0o755)
    started = []

    def start(gpus: int, job: str = JOB, **variables: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        environment |= {"PATH": f"{tmp_path}:{environment['PATH']}"} | variables
        command = ["sft-tradeoff", "lease", "--gpus", str(gpus), "--"]
        process = subprocess.Popen(
            [*command, sys.executable, "-c", job],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str], within_s: float = DEADLINE_S) -> str:
    """The next line of a job's output, or nothing in time."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    return process.stdout.readline().strip() if ready else ""


def warns(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    ready, _, _ = select.select([process.stderr], [], [], DEADLINE_S)
    return process.stderr.readline().strip() if ready else ""


def test_jobs_take_different_devices_and_one_too_many_waits_for_a_killed_one(start: Start) -> None:
    """Three devices: two jobs hold 1 + 2, the third waits until kill -9 ends the first."""
    one = start(1)
    assert says(one) == "0"
    two = start(2)
    assert says(two) == "1,2"
    third = start(1)
    assert warns(third) == "[lease] fewer than 1 of 3 GPUs are free; waiting"
    assert says(third, within_s=2.0) == ""
    one.send_signal(signal.SIGKILL)
    assert says(third) == "0"
    assert two.poll() is None, "the other job goes on"


def test_jobs_that_want_more_than_half_come_one_after_the_other(start: Start) -> None:
    """Of three devices two jobs want two each, at the same moment: neither starves the other."""
    jobs = [start(2), start(2)]
    finished: list[str] = []
    while len(finished) < 2:
        outputs = [job.stdout for job in jobs if job.stdout]
        ready, _, _ = select.select(outputs, [], [], DEADLINE_S)
        assert len(ready) == 1, "at most one has devices"
        job = next(job for job in jobs if job.stdout is ready[0])
        finished.append(says(job))
        job.communicate("")
        jobs.remove(job)
    assert finished == ["0,1", "0,1"]


def test_what_a_job_forks_keeps_its_device_and_what_it_executes_does_not(start: Start) -> None:
    """The forked child outlives its killed parent, as a data loader might; `sleep` too."""
    forks = "import os, time; pid = os.fork(); pid and print(pid, flush=True); time.sleep(60)"
    parent = start(3, job=forks)
    child = int(says(parent))
    parent.kill()
    waiting = start(1)
    try:
        assert says(waiting, within_s=2.0) == ""
    finally:
        os.kill(child, signal.SIGKILL)
    assert says(waiting) == "0"

    executes = (
        "import subprocess, time; print(subprocess.Popen(['sleep', '60'],"
        " stdin=-3, stdout=-3, stderr=-3).pid, flush=True); time.sleep(60)"
    )
    parent = start(2, job=executes)
    child = int(says(parent))
    parent.kill()
    try:
        assert says(start(2)) == "1,2"
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_list_of_the_outer_shell_limits_the_lease_to_its_devices(start: Start) -> None:
    """Two users' lists overlap in device 1: whoever names it finds out that it is taken."""
    assert says(start(1, CUDA_VISIBLE_DEVICES="2,1")) == "2"
    assert says(start(1, CUDA_VISIBLE_DEVICES="2,1")) == "1"
    third = start(1, CUDA_VISIBLE_DEVICES="1,0")
    assert says(third) == "0"
    assert "on GPU 0" in warns(third)


def test_without_a_gpu_the_command_simply_runs(start: Start) -> None:
    """Its environment, exit code and process are the command's own."""
    job = start(2, "import os, sys; print(os.getpid()); sys.exit(7)", CUDA_VISIBLE_DEVICES="")
    assert says(job) == str(job.pid)
    assert job.wait(DEADLINE_S) == 7


@pytest.fixture
def fake_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only program in PATH that is called ``nvidia-smi``."""
    program = tmp_path / "driver/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_a_driver_program_that_may_not_be_run_is_none(fake_driver: Path) -> None:
    fake_driver.chmod(0o644)
    assert driver_listing() == ""


def test_a_driver_that_hangs_is_named_with_what_helps(
    fake_driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who hides all GPUs need not ask it."""
    monkeypatch.setattr(gpu_lease, "DRIVER_TIMEOUT_S", 0.2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = r"nvidia-smi -L does not answer \(.*timed out after 0.2 seconds\); run it by hand"
    with pytest.raises(LeaseError, match=words):
        driver_listing()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    executed: list[object] = []
    monkeypatch.setattr(os, "execvp", lambda program, command: executed.append(command))
    gpu_lease.main(argparse.Namespace(gpus=1, command=["true"]))
    assert executed == [["true"]]


def test_too_many_gpus_end_in_one_line(start: Start) -> None:
    job = start(4)
    _, errors = job.communicate(timeout=DEADLINE_S)
    assert job.returncode == 1
    assert errors.startswith("[lease] error: the job needs 4 GPUs") and errors.count("\n") == 1


def test_starting_costs_little() -> None:
    """Every job starts through it: nothing heavy may be imported."""
    heavy = "{'torch', 'pandas', 'numpy'} & {*sys.modules}"
    probe = f"import sys, sft_tradeoff.system.gpu_lease; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0
