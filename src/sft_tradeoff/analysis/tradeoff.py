"""The table of the trade-off: its columns, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.scores import (
    NUMBERS,
    TEXT,
    Row,
    rows_of,
)
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import verify_checksum

LEVEL = 0.95
CODE_LENGTH = "bits_per_byte"
QUANTITIES = (
    "domain_score",
    "domain_nll",
    "general_score",
    "general_score_difference",
    "general_bits_per_byte_difference",
)
PLAIN = ("format_failure", "tokens_per_s", "time_s")
SETTING = ["model", "domain", "method", "label", "learning_rate"]
PARTS = ("", "_stderr", "_low", "_high")
MEASURED = [f"{q}{part}" for q in QUANTITIES for part in PARTS]
DF = "_df"  # degrees of freedom of the bounds; once the seeds are combined, nothing reads them
FREEDOM = [f"{q}{DF}" for q in QUANTITIES]
TRADEOFF_COLUMNS = [*SETTING, "seed", *MEASURED, *FREEDOM, *PLAIN, "reason"]
OVER_SEEDS_COLUMNS = [*SETTING, "n_seeds", *MEASURED, *PLAIN, "reason"]


def read_table(path: Path, columns: Sequence[str], source: str) -> pd.DataFrame:
    """Read a CSV of this project; empty cells are missing, names such as ``NA`` stay names.

    Args:
        path: The file.
        columns: Columns it must have.
        source: What writes such a table, for the error message.

    Raises:
        UserError: If the file or a column is missing, or it is not as it was written.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such table; pass what {source} writes")
    verify_checksum(path)
    header = pd.read_csv(path, nrows=0).columns
    if lacking := [name for name in columns if name not in header]:
        raise UserError(f"{path}: no column {', '.join(lacking)}; pass what {source} writes")
    types = {k: v for k, v in (TEXT | NUMBERS | {"reason": "str"}).items() if k in header}
    table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    return table.fillna({"reason": ""})  # nothing is wrong


def read_over_seeds(path: Path) -> pd.DataFrame:
    """Read what tables and figures show: ``tradeoff_over_seeds.csv``, one row per setting.

    Raises:
        UserError: If it is another table, e.g. the one with a row per seed.
    """
    return read_table(path, OVER_SEEDS_COLUMNS, "sft_tradeoff.analysis.aggregate --over-seeds")


def missing_settings(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Say why settings miss a score, in columns that others have, so that a gap is seen as one.

    Args:
        table: The trade-off over seeds.
        columns: The quantities shown.

    Returns:
        Setting -> reason.
    """
    measured = table[list(columns)].dropna(axis="columns", how="all")
    gaps = measured.isna().any(axis="columns") | (table.get("reason", "") != "")
    rows = rows_of(table[gaps])
    return {_name_setting(row): row.get("reason") or "not measured" for row in rows}


def _name_setting(row: Row) -> str:
    rate = "" if row["method"] == "base" else f" at {format_learning_rate(row['learning_rate'])}"
    return f"{row['model']}, {row['domain']}, {row['label']}{rate}"
