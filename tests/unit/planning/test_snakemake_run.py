"""Commands that run as children: their environment, signals and exit codes."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sft_tradeoff.planning.snakemake_run import machine_memory_mb, run, snakemake_command

PARENT = """
import sys
from sft_tradeoff.planning.snakemake_run import run
sys.exit(run([sys.executable, "-c", sys.argv[1]]))
"""
# A process and its child, as Snakemake and a job; each notes the signals that it gets.
CHILD = """
import os, pathlib, signal, sys, time
received = []
def note(number, frame):
    received.append(signal.Signals(number).name)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
role = int(os.fork() == 0)
pathlib.Path(f"started{role}").touch()
while not received:
    time.sleep(0.05)
time.sleep(0.5)  # as long as jobs take to end
pathlib.Path(f"ended{role}").write_text(" ".join(received))
if role == 0:
    os.wait()
sys.exit(7)
"""
TICKING = """
import os, pathlib, time
os.fork()
pathlib.Path(f"started{os.getpid()}").touch()
while True:
    os.write(1, b".")
    time.sleep(0.05)
"""


def python(code):
    return [sys.executable, "-c", code]


def test_the_command_line_names_settings_that_are_given():
    command = snakemake_command(Path("s.yaml"), "2", {"tolerance": "a=1 b=2", "smallest_gain": " "})
    assert command[1:] == [
        *("-m", "snakemake", "--config", "tolerance=a=1 b=2"),
        *("--resources", f"mem_mb={machine_memory_mb()}"),
        *("--configfile", "s.yaml", "--cores", "2"),
    ]
    assert "--config" not in snakemake_command(Path("s.yaml"), "all", {"tolerance": ""})
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert machine_memory_mb() == pytest.approx(0.9 * total, abs=1)


def test_exit_codes_and_the_scripts_of_this_python_reach_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    assert run(python("import sys; sys.exit(3)")) == 3
    found = tmp_path / "found"
    code = f"import shutil; open({str(found)!r}, 'w').write(shutil.which('sft-tradeoff'))"
    assert run(python(code)) == 0
    assert found.read_text() == str(Path(sys.executable).parent / "sft-tradeoff")


@pytest.fixture
def start(tmp_path):
    """Start a parent in a session of its own, and wait for its child's child."""
    started = []

    def start(child=CHILD, *before):
        command = [*before, sys.executable, "-c", PARENT, child]
        parent = subprocess.Popen(
            command, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        started.append(parent)
        wait_for(lambda: len(list(tmp_path.glob("started*"))) == 2)
        return parent

    yield start
    for parent in started:
        parent.kill()


def wait_for(happened, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("tell", [os.kill, os.killpg])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_all_processes_end_by_themselves(tmp_path, start, tell, number):
    """Each is interrupted once, whether this one alone or its group, as by a terminal, was told."""
    parent = start()
    tell(parent.pid, number)
    assert parent.wait(30) == 128 + number
    assert (tmp_path / "ended0").read_text() == (tmp_path / "ended1").read_text() == "SIGINT"


def test_nohup_is_respected(tmp_path, start):
    parent = start(CHILD, "nohup")
    parent.send_signal(signal.SIGHUP)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 128 + signal.SIGTERM
    assert (tmp_path / "ended1").exists()


def test_ctrl_z_stops_all_processes_until_they_are_told_to_go_on(tmp_path, start):
    parent = start(TICKING)
    assert ticks(parent)
    parent.send_signal(signal.SIGTSTP)
    wait_for(lambda: not ticks(parent))
    assert os.waitid(os.P_PID, parent.pid, os.WSTOPPED | os.WNOHANG)
    parent.send_signal(signal.SIGCONT)
    wait_for(lambda: ticks(parent))


def ticks(parent):
    """Whether the child writes within half a second; what it wrote before is dropped."""
    output = parent.stdout.fileno()
    while select.select([output], [], [], 0)[0]:
        os.read(output, 1000)
    return bool(select.select([output], [], [], 0.5)[0])


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    run(python(""))
    with pytest.raises(FileNotFoundError):
        run(["no-such-command"])
    assert signal.getsignal(signal.SIGINT) is before
