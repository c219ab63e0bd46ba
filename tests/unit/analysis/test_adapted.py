"""The page says how much of a model adapters reached."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.adapted import adapted_paragraph


def test_each_method_with_adapters_is_named_once(tmp_path: Path) -> None:
    runs = pd.DataFrame(
        {"model": "m", "run": ["base", "a", "b", "c"], "method": ["base", "sft", "lora", "lora"]}
    )
    for run, share in {"a": 1.0, "b": 0.124, "c": 0.124}.items():
        (tmp_path / run).mkdir()
        record = {"train_info": {"adapted_share": share}}
        (tmp_path / run / "train.json").write_text(json.dumps(record))
    text = adapted_paragraph(runs, tmp_path)
    assert text.splitlines()[2:] == ["- lora on m: layers with 12% of the weights."]
    assert "the others stay those of θ₀" in text


def test_records_without_the_share_say_nothing() -> None:
    """Published studies may be older than it."""
    runs = pd.read_csv("results/published/quick/run_table.csv")
    assert adapted_paragraph(runs, Path("results/published/quick/runs")) == ""
