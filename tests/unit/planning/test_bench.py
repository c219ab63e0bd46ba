"""The benchmarks run one after another."""

from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.planning import bench


def test_material_and_every_script_run_until_one_fails(monkeypatch):
    calls, codes = [], []

    def run(command):
        calls.append(command)
        return codes.pop(0) if codes else 0

    monkeypatch.setattr(bench, "run", run)
    cli.main(["bench", "--cores=2"])
    assert calls[0][-5:] == [
        "--configfile",
        "config/studies/quick.yaml",
        "--cores",
        "2",
        "material",
    ]
    scripts = [command[1] for command in calls[1:]]
    assert len(scripts) == 6 and all(Path(script).is_file() for script in scripts)
    codes += [0, 0, 3]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench"])
    assert stopped.value.code == 3 and len(calls) == 7 + 3
