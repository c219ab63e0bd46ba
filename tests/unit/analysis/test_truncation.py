"""Truncated responses are found in the records and reported on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.truncation import Truncation, find_truncations, paragraph, record


def test_the_page_counts_truncated_responses(tmp_path: Path) -> None:
    """A domain of two runs is counted once; one without truncated responses is not named."""
    runs = pd.DataFrame(
        {"model": "m", "run": ["base", "a", "b", "c"], "domain": ["", "own", "own", "whole"]}
    )
    tasks = {f"domain_{name}": {"n_items": 20} for name in ("own", "whole")}
    for run, domain, n_truncated in (
        ("base", "own", 5),
        ("a", "own", 5),
        ("b", "own", 5),
        ("c", "w", 0),
    ):
        folder = tmp_path / run
        folder.mkdir()
        info = {"tasks": tasks, "n_truncated": {"own": 5, "whole": 0}}
        (folder / "eval.json").write_text(json.dumps({"eval_info": info}))
        if domain and run != "base":
            training = {"n_truncated": 2 * n_truncated, "n_examples": 80}
            (folder / "train.json").write_text(json.dumps({"train_info": training}))
    found = find_truncations(runs, tmp_path)
    assert found == [Truncation("m", "own", "test", 5, 20), Truncation("m", "own", "train", 10, 80)]
    text = paragraph(found)
    assert "- m, own: 5 of 20 (25%) test responses are longer than `training.max_length`" in text
    assert "- m, own: 10 of 80 (12%) train responses" in text
    assert record(found)["truncated"][0]["n_truncated"] == 5


def test_records_without_the_count_say_nothing(tmp_path: Path) -> None:
    """Published studies may be older than the count."""
    runs = pd.read_csv("results/published/quick/run_table.csv")
    found = find_truncations(runs, Path("results/published/quick/runs"))
    assert (found, paragraph(found), record(found)) == ([], "", {})
