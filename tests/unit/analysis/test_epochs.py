"""Scores of every epoch, read and tabulated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.epochs import epoch_table, read_epochs
from sft_tradeoff.analysis.tables import EPOCH_COLUMNS, read_epoch_table, read_run_table
from sft_tradeoff.system.console import UserError
from tests.finished_study import BASE, OTHER_RUN, RUN, make_finished_study


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return make_finished_study(tmp_path)[1]


def test_every_epoch_has_its_scores_with_intervals(results: Path) -> None:
    """3 and 2 of 4 right, by Wilson; NLL (1, 2, 1, 2)/2 and half of it, by Student's t."""
    table = read_epoch_table(results / "epochs.csv")
    assert list(table) == EPOCH_COLUMNS
    of_run = table[table["run"] == RUN]
    assert of_run["epoch"].tolist() == [1, 2] and of_run["step"].tolist() == [50, 100]
    assert of_run["selected"].tolist() == [True, False]
    assert of_run["domain_score"].tolist() == [0.75, 0.5]
    # z = 1.96: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    assert of_run["domain_score_low"].tolist() == pytest.approx([0.3006, 0.1500], abs=1e-4)
    assert of_run["domain_score_high"].tolist() == pytest.approx([0.9544, 0.8500], abs=1e-4)
    assert of_run["domain_nll"].tolist() == [0.75, 0.375]
    # s = √(1/12) of 0.5, 1, 0.5, 1; t(3) = 3.1824
    half = 3.1824 * (1 / 12) ** 0.5 / 2
    assert (of_run["domain_nll"] - of_run["domain_nll_low"]).tolist() == pytest.approx(
        [half, half / 2], rel=1e-4
    )


def test_items_of_a_cluster_count_once(results: Path) -> None:
    """Two templates of two questions, with NLL (1 + 2)/4 each: nothing differs between them."""
    path = results / "runs" / RUN / "epochs.parquet"
    items = pd.read_parquet(path)
    items.assign(
        cluster=items["item"].map({"v0": "a", "v1": "a", "v2": "b", "v3": "b"})
    ).to_parquet(path)
    table = epoch_table(read_run_table(results / "run_table.csv"), results / "runs")
    first = table[table["run"] == RUN].iloc[0]
    assert first["domain_nll_low"] == first["domain_nll"] == first["domain_nll_high"]


def test_a_run_without_scores_has_a_row_that_says_so(results: Path) -> None:
    (results / "runs" / OTHER_RUN / "train.json").unlink()
    table = epoch_table(read_run_table(results / "run_table.csv"), results / "runs")
    assert table["run"].tolist() == [RUN, RUN, OTHER_RUN]
    assert table.loc[2, ["epoch", "step", "selected", "domain_score"]].isna().all()
    assert read_epochs(results / "runs" / BASE) is None


def test_other_epochs_than_were_recorded_are_damage(results: Path) -> None:
    path = results / "runs" / RUN / "epochs.parquet"
    frame = pd.read_parquet(path)
    frame[frame["epoch"] == 1].to_parquet(path)
    with pytest.raises(UserError, match=r"epochs\.parquet: damaged \(it has other epochs than"):
        read_epochs(path.parent)


def test_an_item_scored_twice_in_an_epoch_is_an_error(results: Path) -> None:
    path = results / "runs" / RUN / "epochs.parquet"
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.head(1)]).to_parquet(path)
    with pytest.raises(UserError, match=r"1\.0, accuracy: item 'v0' appears twice"):
        read_epochs(path.parent)
