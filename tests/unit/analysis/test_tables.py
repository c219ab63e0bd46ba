"""Reading the tables of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.tables import ADDED, OVER_SEEDS_COLUMNS, read_over_seeds, read_table
from sft_tradeoff.system.console import UserError


def test_names_that_look_missing_stay_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,domain,seed\nNA,null,\n")
    row = read_table(tmp_path / "t.csv", ["label"], "the test").iloc[0]
    assert (row["label"], row["domain"]) == ("NA", "null")
    assert pd.isna(row["seed"])
    with pytest.raises(UserError, match="file not found; pass the table that 'the test' writes"):
        read_table(tmp_path / "u.csv", [], "the test")


def test_tables_of_older_versions_lack_what_was_added(tmp_path: Path) -> None:
    """Studies published before there was a noise floor; any other column is still required."""
    values = dict.fromkeys(OVER_SEEDS_COLUMNS, 0.5) | {"n_seeds": 1, "reason": ""}
    values |= dict.fromkeys(("model", "domain", "method", "label"), "x")
    table, path = pd.DataFrame([values]), tmp_path / "t.csv"
    table.drop(columns=ADDED).to_csv(path, index=False)
    found = read_over_seeds(path)
    assert found[ADDED].isna().all(axis=None) and found["domain_nll"].tolist() == [0.5]
    table.drop(columns=[*ADDED, "domain_nll_low"]).to_csv(path, index=False)
    with pytest.raises(UserError, match="no column domain_nll_low"):
        read_over_seeds(path)
