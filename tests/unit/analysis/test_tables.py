"""Reading the tables of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.tables import read_table
from sft_tradeoff.system.console import UserError


def test_names_that_look_missing_stay_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,domain,seed\nNA,null,\n")
    row = read_table(tmp_path / "t.csv", ["label"], "the test").iloc[0]
    assert (row["label"], row["domain"]) == ("NA", "null")
    assert pd.isna(row["seed"])
    with pytest.raises(UserError, match="file not found; pass the table that 'the test' writes"):
        read_table(tmp_path / "u.csv", [], "the test")
