"""Commands that run as children: their environment, signals and exit codes."""

import os
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
CHILD = """
import pathlib, signal, sys, time
def end(number, frame):
    time.sleep(0.5)  # as long as jobs take to end
    pathlib.Path("ended").write_text(signal.Signals(number).name)
    sys.exit(7)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
pathlib.Path("started").touch()
time.sleep(60)
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


@pytest.mark.parametrize(
    ("number", "to_group", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 7)]
)
def test_signals_let_the_command_end_by_itself(tmp_path, number, to_group, code):
    """Ctrl-C goes to both processes, as from a terminal; SIGTERM to the parent alone."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], cwd=tmp_path, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (os.killpg if to_group else os.kill)(parent.pid, number)
    assert parent.wait(30) == code
    assert (tmp_path / "ended").read_text() == number.name


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    run(python(""))
    with pytest.raises(FileNotFoundError):
        run(["no-such-command"])
    assert signal.getsignal(signal.SIGINT) is before
