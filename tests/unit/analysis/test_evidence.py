"""What the recommendation reads from the runs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.evidence import Cost, read_measured
from tests.recommended_runs import RUN_COLUMNS, RUNS, write_runs


def test_what_is_read_from_the_runs(tmp_path: Path) -> None:
    """Averaging the weights took 2 s, plus the 100 s of the run they come from."""
    measured = read_measured(pd.DataFrame(RUNS, columns=RUN_COLUMNS), write_runs(tmp_path))
    assert measured.suite == {("m", "accuracy"): {"piqa": 3}, ("m", "bits_per_byte"): {"code": 2}}
    assert measured.clusters == measured.suite  # an older record: every item is a unit
    assert measured.costs["m", "d", "sft", 1e-4] == Cost(100, 5)
    assert measured.costs["m", "d", "wise", 1e-4] == Cost(102, 5)
    assert {setting for setting, seeds in measured.items.items() if len(seeds) == 1} == {
        ("m", "d", "base", None),
        ("m", "d", "sft", 1e-4),
        ("m", "d", "wise", 1e-4),
    }


@pytest.mark.parametrize(
    ("evaluation", "seen"),
    [
        ({}, 0.9),  # as training recorded it, for two bfloat16 parts
        ({"weights": "as trained", "dtype": "bfloat16"}, 0.9),
        ({"weights": "as trained", "dtype": "float32"}, 1.0),
        ({"weights": "as shipped", "dtype": "bfloat16"}, 0.25),  # vLLM
    ],
)
def test_the_projection_is_that_of_the_weights_that_were_scored(
    tmp_path: Path, evaluation: dict[str, str], seen: float
) -> None:
    folder = write_runs(tmp_path)
    update = {"norm_ratio": 0.5, "projection": 0.25, "evaluated_projection": 0.9}
    for name, part in (
        ("train.json", {"train_info": {"rounding": update}}),
        ("eval.json", {"eval_info": evaluation}),
    ):
        path = folder / "m.d.sft" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | part))
    measured = read_measured(pd.DataFrame(RUNS, columns=RUN_COLUMNS), folder)
    found = measured.rounding["m", "d", "sft", 1e-4]
    assert (found.projection, found.evaluated_projection) == (0.25, seen)
