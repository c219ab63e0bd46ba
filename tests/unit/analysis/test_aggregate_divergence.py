"""KL(θ0‖θ) and θ0's mean probability in the tables; runs of older versions have neither."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.aggregate import aggregated
from sft_tradeoff.analysis.base_probability import summary_path, write_summary
from sft_tradeoff.analysis.scores import NOT_MEASURED, score_table
from sft_tradeoff.analysis.tables import KL, TEXT_CHANGE, TEXT_KL, read_over_seeds
from sft_tradeoff.study.names import SAMPLED_TEXTS
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, TUNED_E, Scores, write


def with_divergence(scores: Scores, label: str, kl: list[float]) -> Scores:
    texts: Scores = {
        (SAMPLED_TEXTS, TEXT_CHANGE): ([sum(kl), 0.0], [10, 30]),
        (SAMPLED_TEXTS, TEXT_KL): ([sum(kl), 1.0], [10, 30]),
    }
    return scores | {(label, KL): (kl, [4, 4])} | texts


@pytest.fixture
def measured(folder: Path) -> Path:
    base = with_divergence(with_divergence(BASE, "d", [0, 0]), "e", [0, 0])
    write(folder, RUNS[0][0], base)
    write(folder, RUNS[1][0], with_divergence(TUNED, "d", [1, 3]))
    write(folder, RUNS[2][0], with_divergence(TUNED_E, "e", [2, 2]))
    return folder


def test_kl_and_probability_are_columns(runs: pd.DataFrame, measured: Path) -> None:
    """(1 + 3) / (4 + 4) nats per token; residuals ∓ 1: se = √(2 · 2) / 8."""
    write_summary(summary_path(measured, "m", "d"), -np.log([0.5, 1.0]))
    scores, tradeoff, over_seeds = aggregated(runs, measured)
    for table in (tradeoff, over_seeds):
        row = table[(table["domain"] == "d") & (table["method"] == "sft")].iloc[0]
        assert (row["domain_kl"], row["domain_kl_stderr"]) == (0.5, pytest.approx(0.25))
        assert row["domain_kl_low"] < 0.5 < row["domain_kl_high"]
        assert row["base_probability"] == 0.75 and row["reason"] == ""
        base = table[(table["domain"] == "d") & (table["method"] == "base")].iloc[0]
        assert (base["domain_kl"], base["base_probability"]) == (0, 0.75)
        assert table[table["domain"] == "e"]["base_probability"].isna().all()
    of_texts = scores[(scores["benchmark"] == SAMPLED_TEXTS) & (scores["run"] == RUNS[1][0])]
    assert of_texts.set_index("metric")["value"].to_dict() == {TEXT_CHANGE: 0.1, TEXT_KL: 0.125}


def test_general_scores_do_not_contain_it(runs: pd.DataFrame, measured: Path, folder: Path) -> None:
    general = [name for name in aggregated(runs, measured)[1] if name.startswith("general")]
    with_it = aggregated(runs, measured)[1][general]
    for run, scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(folder, run[0], scores)
    pd.testing.assert_frame_equal(aggregated(runs, folder)[1][general], with_it)


def test_a_run_of_an_older_version_stays_readable(runs: pd.DataFrame, measured: Path) -> None:
    write(measured, RUNS[1][0], TUNED)
    scores, tradeoff, _ = aggregated(runs, measured)
    older = scores[(scores["run"] == RUNS[1][0]) & (scores["metric"] == KL)].iloc[0]
    assert math.isnan(older["value"]) and older["reason"] == NOT_MEASURED
    row = tradeoff[(tradeoff["domain"] == "d") & (tradeoff["method"] == "sft")].iloc[0]
    assert math.isnan(row["domain_kl"]) and row["domain_nll"] == 1.5


def test_a_theta0_of_an_older_version_stays_readable(runs: pd.DataFrame, measured: Path) -> None:
    """There is nothing to compare with: the numbers are left out."""
    write(measured, RUNS[0][0], BASE)
    assert KL not in set(score_table(runs, measured)["metric"])


def test_published_tables_without_the_columns_are_read(
    runs: pd.DataFrame, measured: Path, tmp_path: Path
) -> None:
    over_seeds = aggregated(runs, measured)[2]
    older = over_seeds.drop(columns=[n for n in over_seeds if n.startswith("domain_kl")])
    older.drop(columns="base_probability").to_csv(tmp_path / "older.csv", index=False)
    read = read_over_seeds(tmp_path / "older.csv")
    assert read[["domain_kl", "domain_kl_low", "base_probability"]].isna().all(axis=None)
