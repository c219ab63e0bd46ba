"""The trade-off of a study that compares options of TALR, with each option in a column.

Beside the settings of TALR there are θ0's and standard SFT's, whose options are empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.run_records import training_record
from sft_tradeoff.analysis.tables import BASE, OVER_SEEDS_COLUMNS, read_table, rows_of

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("talr", "sft", BASE)
OPTIONS = ("tau", "quantile", "level", "floor", "normalize", "top_k", "frozen")
COLUMNS = [*OVER_SEEDS_COLUMNS, *OPTIONS]


def talr_options_table(over_seeds: pd.DataFrame, runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Rows of the trade-off over seeds for TALR, standard SFT and θ0, with TALR's options.

    Args:
        over_seeds: The trade-off over seeds.
        runs: The run table.
        folder: Holds ``<run>/train.json``; a run that is not trained yet has no options.
    """
    import pandas as pd

    options: dict[str, Any] = {}
    for run in rows_of(runs[runs["method"] == "talr"]):
        if record := training_record(folder / run["run"]):
            options[run["label"]] = record.config["method"]["options"]
    rows = [
        row | dict.fromkeys(OPTIONS) | options.get(row["label"], {})
        for row in rows_of(over_seeds[over_seeds["method"].isin(COMPARED)])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_talr_options(path: Path) -> pd.DataFrame:
    """Read ``talr_options.csv``.

    Raises:
        UserError: If it is missing, changed, damaged, or another table.
    """
    return read_table(path, COLUMNS, "sft-tradeoff aggregate --talr-options")


def temperature_name(row: dict[str, Any]) -> str:
    """The options of a row in words; standard SFT and θ0 by their label."""
    import pandas as pd

    if row["method"] != "talr" or pd.isna(row["floor"]):
        return str(row["label"])
    return ", ".join([_temperature(row), *_others(row)])


def _temperature(row: dict[str, Any]) -> str:
    import pandas as pd

    if pd.notna(row["top_k"]):
        return f"easiest {row['top_k']:.0%}"
    statistic = str(row["tau"])
    if pd.notna(row["quantile"]):
        statistic = f"{row['quantile']:g} quantile"
    elif statistic not in ("median", "mean"):
        return f"τ = {float(statistic):g}"
    of = {"sequence": "of sequences", "token": "of tokens", "each_sequence": "of each sequence"}
    return f"{statistic} {of[row['level']]}"


def _others(row: dict[str, Any]) -> list[str]:
    flags = [name for name in ("normalize", "frozen") if str(row[name]) == "True"]
    names = {"normalize": "mean one", "frozen": "frozen"}
    return [f"floor {row['floor']:g}", *(names[flag] for flag in flags)]
