"""The CSV tables of a study: their columns, and how they are read.

``run_table.csv`` lists the runs, ``scores.csv`` has one row per (run, benchmark, metric),
``tradeoff.csv`` one row per run and domain, ``tradeoff_over_seeds.csv`` one row per setting. The
last one is what tables, figures and recommendation are made from. ``epochs.csv`` has one row per
run and epoch, if the study keeps the best epochs, and the tables of :data:`TOKEN_TABLES` are about
single tokens, if it records them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import damaged, verify_checksum

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

BASE = "base"  # the "method" of θ0
LEVEL = 0.95  # coverage of the intervals

# Run table.
TEXT = {name: "str" for name in ("run", "model", "domain", "method", "label")}
RUN_COLUMNS = [*TEXT, "learning_rate", "seed"]

# Scores.
CODE_LENGTH = "bits_per_byte"  # a metric
# The same scores of the weights rounded to bfloat16, as models are saved for use.
SHIPPED = {CODE_LENGTH: "bits_per_byte_shipped", "nll": "nll_shipped"}
# How far from θ0: KL(θ0‖θ) on domain prompts, in nats per token, and on texts sampled from θ0 the
# change of code length and the exact KL, in bits per byte. Studies may lack them.
KL = "kl"
TEXT_CHANGE, TEXT_KL = "code_length_change", "kl_bits_per_byte"
OPTIONAL_METRICS = {KL, TEXT_CHANGE, TEXT_KL}
RESULT = [
    *("value", "stderr", "n", "df", "difference", "difference_stderr", "noise_floor", "reason"),
]
SCORE_COLUMNS = [*RUN_COLUMNS, "benchmark", "metric", *RESULT]

# Trade-off: each quantity has a value, a standard error and the bounds of its interval.
SETTING = ["model", "domain", "method", "label", "learning_rate"]
SHIPPED_QUANTITIES = ("domain_nll_shipped", "general_bits_per_byte_difference_shipped")
QUANTITIES = (
    "domain_score",
    "domain_nll",
    "general_score",
    "general_score_difference",
    "general_bits_per_byte_difference",
    *SHIPPED_QUANTITIES,
    "domain_kl",
)
PARTS = ("", "_stderr", "_low", "_high")
# What the bounds of quantities made of accuracies are cut off at; tests of few items go beyond.
DIFFERENCE, UNBOUNDED = (-1.0, 1.0), (-math.inf, math.inf)
RANGES = {
    "domain_score": (0.0, 1.0),
    "general_score": (0.0, 1.0),
    "general_score_difference": DIFFERENCE,
}
# Numerical noise of a quantity, part of its interval on both sides; NaN if not measured.
FLOOR = "_floor"
FLOORED = ("domain_nll", "general_bits_per_byte_difference", *SHIPPED_QUANTITIES)
FLOORS = [f"{quantity}{FLOOR}" for quantity in FLOORED]
MEASURED = [f"{quantity}{part}" for quantity in QUANTITIES for part in PARTS]
# Without an interval. base_probability: θ0's mean probability of the training responses' tokens.
BASE_PROBABILITY = "base_probability"
PLAIN = ("format_failure", "tokens_per_s", "time_s", BASE_PROBABILITY)
# Degrees of freedom of the intervals. Only combining the seeds needs them.
DF = "_df"
FREEDOM = [f"{quantity}{DF}" for quantity in QUANTITIES]
TRADEOFF_COLUMNS = [*SETTING, "seed", *MEASURED, *FREEDOM, *FLOORS, *PLAIN, "reason"]
OVER_SEEDS_COLUMNS = [*SETTING, "n_seeds", *MEASURED, *FLOORS, *PLAIN, "reason"]
# Studies published by older versions lack these: NaN.
ADDED = [
    *FLOORS,
    *(f"{q}{part}" for q in (*SHIPPED_QUANTITIES, "domain_kl") for part in PARTS),
    BASE_PROBABILITY,
]

# Epochs: validation scores of a run's weights.
OF_EPOCH = ("domain_score", "domain_nll")
EPOCH_COLUMNS = [
    *RUN_COLUMNS,
    *("epoch", "step", "n_items", "selected"),
    *(f"{quantity}{part}" for quantity in OF_EPOCH for part in ("", "_low", "_high")),
]

# Single tokens: file name -> columns.
TOKEN_TABLES = {
    "token_probability.csv": [*SETTING, "quantile", "p", "share_easy", "n_tokens"],
    "token_change.csv": [*SETTING, "kind", "tokens", "share"],
    "token_curriculum.csv": [
        *(*SETTING, "difficulty", "epoch", "share", "share_low", "share_high", "n_tokens"),
    ],
    "token_paths.csv": [*SETTING, "example", "place", "context", "text", "epoch", "p"],
}

_TYPES = (
    TEXT
    | dict.fromkeys(("reason", "remedies", "tau", "kind", "difficulty"), "str")
    | dict.fromkeys(("example", "context", "text"), "str")
    | {"selected": "boolean"}
    | dict.fromkeys(("seed", "n_seeds", "step", "n_items", "n_tokens", "place"), "Int64")
    | dict.fromkeys(("learning_rate", "epoch", *MEASURED, *FLOORS, *PLAIN), "float64")
)


# --- reading --------------------------------------------------------------------------------------


def read_run_table(path: Path) -> pd.DataFrame:
    """Read ``run_table.csv``, one row per run, θ0 included.

    Raises:
        UserError: If the file or a column is missing, or the file was changed or is damaged.
    """
    return read_table(path, RUN_COLUMNS, "sft-tradeoff runs")


def read_over_seeds(path: Path) -> pd.DataFrame:
    """Read ``tradeoff_over_seeds.csv``, one row per setting.

    Raises:
        UserError: If it is another table (e.g. the one with a row per seed), missing, changed or
            damaged.
    """
    needed = [name for name in OVER_SEEDS_COLUMNS if name not in ADDED]
    table = read_table(path, needed, "sft-tradeoff aggregate --over-seeds")
    return table.assign(**{name: math.nan for name in ADDED if name not in table})


def read_epoch_table(path: Path) -> pd.DataFrame:
    """Read ``epochs.csv``, one row per run and epoch.

    Raises:
        UserError: As :func:`read_over_seeds`.
    """
    return read_table(path, EPOCH_COLUMNS, "sft-tradeoff aggregate --epochs")


def read_token_table(path: Path) -> pd.DataFrame:
    """Read one of :data:`TOKEN_TABLES`, which its file name tells.

    Raises:
        UserError: As :func:`read_over_seeds`.
    """
    return read_table(path, TOKEN_TABLES[path.name], "sft-tradeoff token-tables")


def read_table(path: Path, columns: Sequence[str], source: str) -> pd.DataFrame:
    """Read a CSV of this project.

    Only empty cells are missing values: a label such as ``NA`` stays a label.

    Args:
        path: The file.
        columns: Columns it must have.
        source: The command that writes such a table, for the error message.

    Raises:
        UserError: If the file or a column is missing, or the file was changed or is damaged.
    """
    import pandas as pd  # takes half a second, and planning does not need it

    if not path.is_file():
        raise UserError(f"{path}: file not found; pass the table that '{source}' writes")
    verify_checksum(path)
    if not path.read_bytes().endswith(b"\n"):
        raise damaged(path, "its last line is not complete")
    try:
        header = pd.read_csv(path, nrows=0).columns
        types = {name: _TYPES[name] for name in header if name in _TYPES}
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except (ValueError, TypeError, OverflowError) as error:  # not a table, text or a number
        raise damaged(path, error) from None
    if lacking := [name for name in columns if name not in header]:
        raise UserError(
            f"{path}: no column {', '.join(lacking)}; pass the table that '{source}' writes"
        )
    if problem := _problem(table):
        raise damaged(path, problem)
    return table.fillna({"reason": ""})


def _problem(table: pd.DataFrame) -> str:
    """What no run table or trade-off table has; empty if there is nothing."""
    trained = table[table["method"] != BASE] if "method" in table else table
    if trained.empty:
        return "it has no trained run"
    needed = {"run": table, "model": table, "method": table, "label": table, "n_seeds": table}
    for name, rows in (needed | {"domain": trained, "learning_rate": trained}).items():
        if name in table and rows[name].isna().any():
            return f"a row has no {name}"
    of_tokens = ("quantile", "kind", "tokens", "difficulty", "place")
    names = ("run", *SETTING, "seed", "benchmark", "metric", "epoch", *of_tokens)
    if table.duplicated([name for name in names if name in table]).any():
        return "a row is there twice"
    for name in ("learning_rate", *MEASURED, *FLOORS, *PLAIN):
        if name in table and np.isinf(table[name]).any():
            return f"{name} is not finite"
    return ""


# --- rows -----------------------------------------------------------------------------------------


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries from column to value."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def domains_of(runs: pd.DataFrame) -> list[str]:
    """Domains that the runs of one model were trained on."""
    return [str(domain) for domain in runs["domain"].dropna().unique()]


def own_domains(run: Row, domains: list[str]) -> list[str]:
    """Domains that a run is a result for: θ0 for all of them, any other run for its own."""
    import pandas as pd

    return domains if pd.isna(run["domain"]) else [run["domain"]]


def missing_settings(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """List the settings that lack a score which other settings have.

    Args:
        table: The trade-off over seeds.
        columns: The quantities that are shown.

    Returns:
        Setting -> reason.
    """
    measured = table[list(columns)].dropna(axis="columns", how="all")
    gaps = measured.isna().any(axis="columns") | (table.get("reason", "") != "")
    rows = rows_of(table[gaps])
    return {_name_setting(row): row.get("reason") or "not measured" for row in rows}


def _name_setting(row: Row) -> str:
    rate = "" if row["method"] == BASE else f" at {format_learning_rate(row['learning_rate'])}"
    return f"{row['model']}, {row['domain']}, {row['label']}{rate}"
