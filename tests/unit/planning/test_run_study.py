"""A study is run step by step, by one process at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.planning import run_study as module
from sft_tradeoff.planning.run_study import limit_times, locked
from sft_tradeoff.system.console import UserError
from tests.conftest import ROOT
from tests.finished_study import make_finished_study

HOLDER = """
import os, sys
from pathlib import Path
from sft_tradeoff.planning.run_study import LOCK, locked
with locked(LOCK) as descriptor:
    os.set_inheritable(descriptor, True)
    if sys.argv[1:]:
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "30")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the catalogue and a finished study."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SFT_TRADEOFF_CACHE", raising=False)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/catalogue.yaml").symlink_to(ROOT / "config/catalogue.yaml")
    (tmp_path / "Snakefile").touch()
    make_finished_study(tmp_path)
    return tmp_path


@pytest.fixture
def steps(monkeypatch):
    """Targets of the Snakemake calls, which do nothing; codes that they return, in turn."""
    called, codes = [], []

    def run(command, keep_open):
        assert len(keep_open) == 1 and os.fstat(keep_open[0])
        called.append(command[command.index("--cores") + 2 :])
        return codes.pop(0) if codes else 0

    monkeypatch.setattr(module, "run", run)
    return called, codes


def ended(*arguments):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["study", *arguments])
    return stopped.value.code


def test_material_comes_first_and_the_table_last(project, steps, capsys):
    assert ended("tiny", "--cores=2") == 0
    assert steps[0] == [["material"], []]
    text = capsys.readouterr().out
    assert "Domain accuracy" in text
    assert text.endswith(
        "Results:\nresults/tiny/tables\nresults/tiny/figures\nresults/tiny/report.html\n"
    )


def test_a_study_that_refines_is_run_again_while_rates_are_added(project, steps, monkeypatch):
    """After a failure nothing is added: the results are not complete."""
    path, asked, left = project / "config/studies/tiny.yaml", [], [2, 1, 0]
    path.write_text(path.read_text() + "refine: {rounds: 5}\n")

    def refine(study_file, tolerance):
        asked.append((study_file, tolerance))
        return left.pop(0)

    monkeypatch.setattr("sft_tradeoff.planning.refine.refine", refine)
    assert ended("tiny", "--tolerance=bits_per_byte=0.5") == 0
    assert steps[0] == [["material"], [], [], []]
    assert asked == [(Path("config/studies/tiny.yaml"), "bits_per_byte=0.5")] * 3
    steps[1].extend([0, 0, 1])
    left.extend([1, 1])
    assert ended("tiny") == 1 and len(left) == 1


def test_added_rates_are_checked_with_the_study(project, steps, capsys):
    path = project / "config/studies/tiny.yaml"
    path.write_text(path.read_text() + "refine: {}\n")
    (project / "results/tiny/added_rates.yaml").write_text("added_rates: 3\n")
    assert ended("tiny") == 1 and not steps[0]
    assert "results/tiny/added_rates.yaml: damaged" in capsys.readouterr().err


def test_snakemakes_own_lock_is_removed_if_one_is_left(project, steps):
    (project / ".snakemake/locks").mkdir(parents=True)
    assert ended("tiny") == 0
    (project / ".snakemake/locks/0.input.lock").touch()
    assert ended("tiny") == 0
    assert steps[0] == [["material"], [], ["--unlock"], ["material"], []]


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 1), (-9, 1), (130, 130), (143, 143)])
def test_a_failure_ends_the_study(project, steps, capsys, code, expected):
    steps[1].append(code)
    assert ended("tiny") == expected
    assert steps[0] == [["material"]] and not capsys.readouterr().out


def test_a_results_folder_that_is_not_writable_is_named(project, steps, monkeypatch, capsys):
    steps[1].append(1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert ended("tiny") == 1
    assert "error: the folder results is not writable; correct its" in capsys.readouterr().err


@pytest.mark.parametrize("codes", [[1], [0, 1]])
def test_a_cache_that_is_not_writable_is_named_if_it_lacks_something(
    project, steps, monkeypatch, capsys, codes
):
    """It lacks nothing if its own step, the first, succeeds."""
    (project / "shared/models").mkdir(parents=True)
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", "shared")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "models")
    steps[1].extend(codes)
    assert ended("tiny") == 1
    words = "error: the folder shared/models is not writable and lacks something that this study"
    assert (words in capsys.readouterr().err) == (codes == [1])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("tinny", "", "config/studies/tinny.yaml: no such study; did you mean 'tiny'?"),
        ("tiny", "seed: [1]\n", "seed: unknown key; did you mean 'seeds'?"),
        ("tiny", "results_source: published\n", "published results: run make figures STUDY=tiny"),
        ("tiny", "evaluation: {}\n", "key 'evaluation' is given twice"),
        ("tiny", "tolerance: nll=1\n", "tolerance: 'nll=1' is not measure=number"),
    ],
)
def test_a_wrong_study_starts_nothing(project, steps, capsys, name, change, words):
    path = project / "config/studies/tiny.yaml"
    path.write_text(path.read_text() + change)
    assert ended(name) == 1
    assert words in capsys.readouterr().err
    assert not steps[0] and not (project / ".snakemake").exists()


def test_a_published_study_is_refused_whatever_models_it_names(project, steps, capsys):
    path = project / "config/studies/old.yaml"
    path.write_text("study: old\nmodels: [gone]\nresults_source: 'published'\n")
    assert ended("old") == 1
    assert "run make figures STUDY=old" in capsys.readouterr().err


def hold(*arguments):
    """A process that holds the lock until its input ends; with an argument, its child does too."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_study_in_the_folder_is_refused(project, steps, capsys):
    holder = hold()
    assert ended("tiny") == 1
    err = capsys.readouterr().err
    assert f"Another study is running in this folder: process {holder.pid}, since 20" in err
    assert err.endswith(f"or: kill -INT -- -{holder.pid}\n")
    assert not steps[0]
    holder.communicate()
    assert ended("tiny") == 0


def test_a_child_holds_the_lock_after_a_kill_and_the_kernel_releases_it(project):
    holder = hold("with a child")
    holder.kill()
    holder.wait()
    with pytest.raises(UserError, match=r"process \d+, since .*: kill \d+$"), locked(module.LOCK):
        pass
    os.killpg(holder.pid, 9)
    for _ in range(100):
        try:
            with locked(module.LOCK):
                return
        except UserError:
            time.sleep(0.05)
    pytest.fail("the lock is still held")


def test_only_times_in_the_future_change(tmp_path):
    now, past, future = 10**18, 10**18 - 10**9, 10**18 + 10**15
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    names = ("old", "new", "folder/new", "linked", "folder")
    for name in names[:-1]:
        (root / name).touch()
    os.link(root / "linked", tmp_path / "the user's")
    outside = tmp_path / "outside"
    outside.touch()
    (root / "pointer").symlink_to(outside)
    for path in [*(root / name for name in names), outside, root]:
        time = past if path.name == "old" else future
        os.utime(path, ns=(time, time))
    os.utime(root / "pointer", ns=(future, future), follow_symlinks=False)
    (tmp_path / "link").symlink_to(root)

    limit_times([tmp_path / "link", tmp_path / "absent"], now)
    assert [(root / name).stat().st_mtime_ns for name in names] == [past, now, now, future, now]
    assert (root / "pointer").lstat().st_mtime_ns == now
    assert outside.stat().st_mtime_ns == future
    assert root.stat().st_mtime_ns == now


def test_times_are_limited_to_that_of_the_lock(project, steps):
    data = project / "results/tiny/run_table.csv"
    future = data.stat().st_mtime_ns + 10**15
    os.utime(data, ns=(future, future))
    assert ended("tiny") == 0
    assert data.stat().st_mtime_ns == Path(".snakemake/study.lock").stat().st_mtime_ns


@pytest.mark.parametrize("cores", ["", "two", "0", "-1"])
def test_a_wrong_number_of_cores_starts_nothing(project, steps, capsys, cores):
    with pytest.raises(SystemExit):
        cli.main(["study", "tiny", f"--cores={cores}"])
    assert f"cores: {cores!r} is not a number" in capsys.readouterr().err
    assert steps[0] == []


def test_another_folder_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for stage in (["study", "tiny"], ["own", "--data=x.jsonl"], ["redraw"], ["bench"]):
        with pytest.raises(SystemExit):
            cli.main(stage)
        assert f"{tmp_path} has no Snakefile; run the command in the" in capsys.readouterr().err
