"""Records and per-item scores are checked as they are read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.run_records import (
    EvaluationRecord,
    TrainingRecord,
    evaluation_record,
    training_record,
)
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.system.console import UserError
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, write


@pytest.mark.parametrize("run", [RUNS[0][0], RUNS[1][0]])
def test_unknown_items_are_an_error(runs: pd.DataFrame, folder: Path, run: str) -> None:
    write(folder, run, BASE if run == "m.base" else TUNED, news=None)
    with pytest.raises(UserError, match=rf"{run}/eval\.json: .* lacks 'news'.*; delete this file"):
        score_table(runs, folder)


def test_item_scored_twice_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    path = folder / RUNS[1][0] / "items.parquet"
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.head(1)]).to_parquet(path)
    with pytest.raises(UserError, match="appears twice"):
        score_table(runs, folder)


def test_file_without_its_columns_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    path = folder / RUNS[1][0] / "items.parquet"
    pd.read_parquet(path).drop(columns="size").to_parquet(path)
    with pytest.raises(UserError, match="no column size"):
        score_table(runs, folder)


def test_what_a_record_does_not_hold_is_nan_or_empty(tmp_path: Path) -> None:
    """As in a study that was published before these numbers were recorded."""
    assert training_record(tmp_path) is None and evaluation_record(tmp_path) is None
    (tmp_path / "train.json").write_text('{"train_info": {"time_s": 7.0}}')
    (tmp_path / "eval.json").write_text("{}")
    training, evaluation = training_record(tmp_path), evaluation_record(tmp_path)
    assert isinstance(training, TrainingRecord) and isinstance(evaluation, EvaluationRecord)
    assert training.time_s == 7.0 and math.isnan(training.peak_memory_bytes)
    assert (training.n_truncated, training.merge_of) == (0, None)
    assert (evaluation.test_sha256, evaluation.domains, evaluation.n_truncated) == ({}, [], {})
    assert (training.config, training.origin, training.machine) == ({}, {}, {})


def test_what_a_record_holds(tmp_path: Path) -> None:
    training = {
        "run_info": {"git_commit": "c", "config": {"merge_of": "m.d.sft"}},
        "train_info": {"tokens_per_s": 2.0, "n_examples": 80, "n_truncated": 3},
    }
    evaluation = {
        "meta_info": {"test_sha256": {"d": "0f"}, "python": "3.11"},
        "eval_info": {"n_truncated": {"d": 5}, "tasks": {"domain_d": {"n_items": 20}}},
    }
    (tmp_path / "train.json").write_text(json.dumps(training))
    (tmp_path / "eval.json").write_text(json.dumps(evaluation))
    trained = TrainingRecord.read(tmp_path / "train.json")
    assert (trained.tokens_per_s, trained.n_examples, trained.n_truncated) == (2.0, 80, 3)
    assert (trained.merge_of, trained.origin["git_commit"]) == ("m.d.sft", "c")
    found = EvaluationRecord.read(tmp_path / "eval.json")
    assert (found.test_sha256, found.n_truncated, found.n_items("d")) == ({"d": "0f"}, {"d": 5}, 20)
    assert found.machine["python"] == "3.11"
