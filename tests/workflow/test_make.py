"""Targets of the Makefile, in a copy of the checkout and on the Python of the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow


def make(checkout, *arguments, **variables):
    """Run a target; its set-up counts as done."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "-o", ".venv/installed.lock", *arguments, "CORES=2"]
    environment = os.environ | {"PATH": path} | variables
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["study", "cost", "partial", "publish"])
def test_an_unknown_study_ends_with_the_nearest_name(checkout, target):
    done = make(checkout, target, "STUDY=quik")
    assert done.returncode == 2
    assert "config/studies/quik.yaml: no such study; did you mean 'quick'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_study_has_no_figures(checkout):
    done = make(checkout, "figures", "STUDY=quik")
    assert done.returncode == 2
    assert "study 'quik' is not published (did you mean 'quick'?)" in done.stdout + done.stderr


TRAPS = "a'b\"; touch trap; `touch trap` $(touch trap) $(shell touch trap) $e"


@pytest.mark.parametrize("target", ["study", "cost", "partial", "publish", "figures"])
def test_neither_make_nor_a_shell_evaluates_a_study(checkout, target):
    for given, variables in ([f"STUDY={TRAPS}"], {}), ([], {"STUDY": TRAPS, "REPLACE": TRAPS}):
        done = make(checkout, target, *given, **variables)
        assert done.returncode == 2
        # How the message of the file's name, or of the name, shows it.
        assert TRAPS in done.stdout + done.stderr or repr(TRAPS) in done.stdout + done.stderr
    assert not (checkout / "trap").exists()


def test_neither_make_nor_a_shell_evaluates_data(checkout, tmp_path):
    """Nor does a NAME of the environment count, which some systems set."""
    trap = checkout / "trap"
    data = tmp_path / "my \"data\" $e $(shell touch trap) '`touch trap`'.jsonl"
    lines = [json.dumps({"prompt": f"{i}?", "response": f"{i}"}) + "\n" for i in range(5)]
    data.write_text("".join(lines))
    done = make(checkout, "own", f"DATA={data}", "MODEL=random-2layer", NAME="not valid!")
    assert done.returncode == 2 and "5 different prompts" in done.stderr
    assert "name:" not in done.stderr
    done = make(checkout, "own", f"DATA={data}", "NAME=not valid!")
    assert "name: 'not valid!' is not valid" in done.stderr
    done = make(checkout, "own", f"DATA={data}", "DATA_COLUMNS=prompt=$e response=$(shell date)")
    assert "'prompt=$e response=$(shell date)' cannot be read" in done.stderr
    done = make(checkout, "own")
    assert "DATA is missing; run make own DATA=<file or folder>" in done.stderr
    assert not trap.exists()
