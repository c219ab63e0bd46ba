"""The claim about epochs: R1, from the scores of every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.claims.results import Results
from tests.unit.analysis.claims.simulated import SMALL, Run, part_of, rows_of, study, written

RANK = np.random.default_rng(0).permutation(400) / 400


def with_epochs(folder: Path, shares: dict[float, float], lacking: int | None = None) -> Results:
    """Accuracy by epoch, the same items for three seeds whose accuracies differ by ± .0025."""
    results = written(study({"sft": {SMALL: Run()}}), folder)
    for seed, shift in enumerate((-0.0025, 0.0, 0.0025)):
        tables = [
            pd.DataFrame(
                {
                    "epoch": epoch,
                    "item": [f"i{i}" for i in range(400)],
                    "metric": "accuracy",
                    "value": (share + shift - 1e-9 > RANK).astype(float),
                    "size": 1.0,
                    "cluster": [f"i{i}" for i in range(400)],
                }
            )
            for epoch, share in shares.items()
        ]
        if seed != lacking:
            path = folder / f"m.d.sft.1e-05.{seed}" / "epochs.parquet"
            pd.concat(tables).to_parquet(path)
    return results


@pytest.mark.parametrize(
    ("shares", "verdict", "told"),
    [
        ({1: 0.5, 2: 0.7, 3: 0.5}, "supported", "epoch 2 against the last (best of 2"),
        ({1: 0.3, 2: 0.5}, "contradicted", "epoch 1 against the last"),
        ({1: 0.5, 2: 0.5}, "equivalent", "epoch 1 against the last"),
    ],
)
def test_an_earlier_epoch(
    tmp_path: Path, shares: dict[float, float], verdict: str, told: str
) -> None:
    (row,) = rows_of(with_epochs(tmp_path, shares), "overtraining")
    assert row.verdict == verdict
    assert row.finding.comparison.startswith(f"sft at 1e-5, {told}")
    assert part_of(row).effect.n_items == (400 if len(shares) == 2 else 200)


def test_without_scores_of_epochs(tmp_path: Path) -> None:
    (row,) = rows_of(study({"sft": {SMALL: Run()}}), "overtraining")
    assert row.note.startswith("no run scored its epochs; set 'training.select: best_domain'")
    (row,) = rows_of(with_epochs(tmp_path, {1: 0.5, 2: 0.6}, lacking=1), "overtraining")
    assert row.note == "run m.d.sft.1e-05.1 has no scores of its epochs"


def test_accuracies_at_chance_decide_nothing(tmp_path: Path) -> None:
    results = with_epochs(tmp_path, {1: 0.5, 2: 0.35})
    for config in results.configs.values():
        config["domain"]["n_labels"] = 2
    (row,) = rows_of(results, "overtraining")
    assert row.verdict == "cannot tell"
    assert row.note == "no score is above chance (0.500): epoch 1 0.500 and epoch 2 0.350"


def test_one_epoch(tmp_path: Path) -> None:
    (row,) = rows_of(with_epochs(tmp_path, {1: 0.5}), "overtraining")
    assert row.note == "sft at 1e-5: its seeds do not share two epochs or more"
