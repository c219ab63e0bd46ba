"""The console command and its stages."""

import importlib
import subprocess
import sys

import pytest

from sft_tradeoff import cli


@pytest.mark.parametrize("stage", cli.STAGES)
def test_every_stage_has_help(stage, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([stage, "--help"])
    assert stopped.value.code == 0
    module = importlib.import_module(f"sft_tradeoff.{cli.STAGES[stage][0]}")
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"usage: sft-tradeoff {stage} ")
    assert module.__doc__.splitlines()[0].split()[-1] in said


def test_without_a_stage_all_are_listed_and_torch_is_not_imported():
    code = "import sys; from sft_tradeoff import cli; cli.main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True)
    assert done.returncode == 0 and b"torch" not in done.stderr
    assert all(stage.encode() in done.stdout for stage in cli.STAGES)


def test_an_unknown_stage_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fetchh"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "'fetchh'" in said and "fetch" in said


def test_ctrl_c_has_no_traceback(monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["cost", "--study", "x"])
    assert stopped.value.code == 130


def test_code_of_another_folder_is_told(tmp_path, monkeypatch, capsys):
    """A copy of the project whose environment has the original installed."""
    (tmp_path / "src/sft_tradeoff").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["cost", "--help"])
    said = capsys.readouterr().err
    assert said.startswith("warning: the code that runs is in ") and str(tmp_path) in said
