"""What the recommendation reads from the runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

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
