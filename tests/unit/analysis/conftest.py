"""The evaluations written to files, and their run table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.tables import read_run_table
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, TUNED_E, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for (run, *_), scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(tmp_path, run, scores)
    info = {"train_info": {"tokens_per_s": 100.0, "time_s": 7.0}}
    (tmp_path / RUNS[1][0] / "train.json").write_text(json.dumps(info))
    return tmp_path


@pytest.fixture
def runs(tmp_path: Path) -> pd.DataFrame:
    columns = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]
    path = tmp_path / "run_table.csv"
    pd.DataFrame(RUNS, columns=columns).to_csv(path, index=False)
    return read_run_table(path)
