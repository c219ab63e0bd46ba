"""Tables of single tokens, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.tables import BASE, TOKEN_TABLES, read_token_table
from sft_tradeoff.analysis.token_tables import HARDEST, token_tables, typical_example
from sft_tradeoff.study import runs
from tests.unit.analysis.claims.simulated import SMALL, Run, study
from tests.unit.analysis.claims.token_files import EXAMPLE, PLACE, with_tokens, write_training

N = len(PLACE)
P_BASE = np.where(PLACE < 5, 0.1, 0.8)  # a quarter of the tokens is hard for θ0
AFTER = {"sft": 0.4, "talr": 0.2}  # p of the hard ones after training


@pytest.fixture
def results(tmp_path: Path) -> Results:
    arms = {"sft": {SMALL: Run()}, "talr": {SMALL: Run()}, "wise_ft": {SMALL: Run()}}
    found = with_tokens(
        study(arms),
        tmp_path,
        -np.log(P_BASE),
        lambda run: -np.log(np.where(PLACE < 5, AFTER.get(run["label"], 0.1), 0.8)),
    )
    reference = -np.log(np.clip(P_BASE * (1 - 0.0001 * EXAMPLE), 0, 1))  # the last is the hardest
    for label, p in AFTER.items():
        for seed in range(3):
            p_of_epoch = [P_BASE, np.where(PLACE < 5, p, 0.8)]
            folder = tmp_path / f"m.d.{label}.1e-05.{seed}"
            write_training(folder, -np.log(np.stack(p_of_epoch)), reference)
    return found


def test_probabilities_by_hand(results: Results, tmp_path: Path) -> None:
    table = token_tables(results.runs, tmp_path)["token_probability.csv"]
    base = table[table["method"] == BASE].set_index("quantile")
    assert base["p"][[0.0, 0.2, 0.5, 1.0]].tolist() == pytest.approx([0.1, 0.1, 0.8, 0.8])
    assert (base["share_easy"] == 0.75).all() and (base["n_tokens"] == N).all()
    sft = table[table["label"] == "sft"].set_index("quantile")
    assert sft["p"][0.0] == pytest.approx(0.4)
    assert set(table["label"]) == {BASE, "sft", "talr", "wise_ft"}


def test_changes_by_hand(results: Results, tmp_path: Path) -> None:
    """A quarter of the tokens moved, all alike: a tenth of all carries 4 tenths of the change."""
    table = token_tables(results.runs, tmp_path)["token_change.csv"]
    sft = table[(table["label"] == "sft") & (table["kind"] == "all")].set_index("tokens")["share"]
    assert sft[[0.0, 0.05, 0.1, 0.3, 1.0]].tolist() == pytest.approx([0, 0.2, 0.4, 1, 1], abs=1e-5)
    kinds = table[(table["label"] == "sft") & (table["kind"] != "all")]
    assert kinds[["kind", "tokens", "share"]].to_numpy().tolist() == [["content", 1.0, 1.0]]


def test_curriculum_by_hand(results: Results, tmp_path: Path) -> None:
    table = token_tables(results.runs, tmp_path)["token_curriculum.csv"]
    assert set(table["label"]) == {"sft", "talr"}  # an average trains nothing
    of = table.set_index(["label", "difficulty", "epoch"])["share"]
    assert of["sft", "hard", 1] == 0 and of["sft", "hard", 2] == 1
    assert of["talr", "hard", 2] == 0  # p = .2 is not above it
    assert of["sft", "all", 1] == 0.75 and of["sft", "all", 2] == 1
    assert of["talr", "easy", 2] == 1
    assert (
        table["n_tokens"] == np.where(table["difficulty"] == "hard", 500, table["n_tokens"])
    ).all()


def test_paths_by_hand(results: Results, tmp_path: Path) -> None:
    """The example of median difficulty; its twenty tokens, of which five are hard."""
    table = token_tables(results.runs, tmp_path)["token_paths.csv"]
    assert set(table["example"]) == {"i0049"}  # the lower of the two in the middle
    assert table["place"].nunique() == HARDEST == 20
    hard = table[(table["place"] == 3) & (table["label"] == "sft")].set_index("epoch")["p"]
    assert hard.tolist() == pytest.approx([0.1 * (1 - 0.0049), 0.1, 0.4])
    assert set(table[table["place"] == 3]["context"]) == {"www"}


def test_typical_example_by_hand() -> None:
    rows = [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 9.0)]
    frame = pd.DataFrame(rows, columns=["example", "reference_nll"]).assign(epoch=1)
    assert typical_example(frame) == "c"


def test_a_setting_without_tokens_has_one_empty_row(results: Results, tmp_path: Path) -> None:
    run = tmp_path / "m.d.talr.1e-05.1"
    (run / "tokens.parquet").unlink()
    (run / "training_tokens.parquet").unlink()
    for name, table in token_tables(results.runs, tmp_path).items():
        talr = table[table["label"] == "talr"]
        assert len(talr) == 1, name
        assert (
            talr.drop(columns=["model", "domain", "method", "label", "learning_rate"])
            .isna()
            .all(axis=None)
        )
        assert len(table[table["label"] == "sft"]) > 1


def test_the_stage_writes_what_is_read_again(results: Results, tmp_path: Path) -> None:
    results.runs.to_csv(tmp_path / "run_table.csv", index=False)
    paths = ["--run-table", str(tmp_path / "run_table.csv"), "--runs", str(tmp_path)]
    cli.main(["token-tables", *paths, "--out-dir", str(tmp_path / "out")])
    found = {path.name for path in (tmp_path / "out").glob("*.csv")}
    assert found == set(TOKEN_TABLES) == set(runs.TOKEN_TABLES)
    for name, table in token_tables(results.runs, tmp_path).items():
        again = read_token_table(tmp_path / "out" / name)
        assert list(again) == TOKEN_TABLES[name] and len(again) == len(table)
        assert again["learning_rate"].dropna().unique().tolist() == [SMALL]
        assert not math.isnan(again[again["label"] == "sft"].iloc[0, -1])
