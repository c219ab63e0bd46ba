"""From per-item scores to three tables: every score, the trade-off per run, and over seeds.

``scores.csv`` has one row per (run, benchmark, metric); ``tradeoff.csv`` one row per run, with the
domain beside the general suite; ``tradeoff_over_seeds.csv`` averages the seeds of one setting. All
statistics end here: tables and figures read the last file. ``reason`` says why a number is NaN.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.stats import (
    Estimate,
    confidence_interval,
    mean_estimate,
    mean_over_seeds,
    quantile_of_level,
    wilson_interval,
)
from sft_tradeoff.benchmarks import BENCHMARKS
from sft_tradeoff.config import format_learning_rate
from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.files import atomic_write_text, check_seal, read_json
from sft_tradeoff.scores import (
    NOT_EVALUATED,
    NUMBERS,
    TEXT,
    Key,
    Row,
    domains_of,
    join_reasons,
    own_domains,
    rows_of,
    score_table,
)

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

MISSING = Estimate(math.nan, math.nan, 0, math.nan)


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
    check_seal(path)
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
    return read_table(path, OVER_SEEDS_COLUMNS, "sft_tradeoff.aggregate --over-seeds")


def tradeoff_table(scores: pd.DataFrame, runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per run, and one per (model, domain) for θ0: domain score beside general scores.

    ``general_score`` is the mean over the general benchmarks of the accuracy that each names
    (:data:`~sft_tradeoff.benchmarks.BENCHMARKS`: ``acc_norm``, ``exact_match``, ...),
    ``general_bits_per_byte_difference`` the mean paired difference over the code-length
    benchmarks. Bounds are 95 % intervals: Wilson's for the domain score, else Student's. ``reason``
    joins those of the NaN scores behind these quantities.

    Args:
        scores: What :func:`~sft_tradeoff.scores.score_table` returned.
        runs: The run table.
        folder: Holds ``<run>/train.json``, absent for θ0.
    """
    results: dict[str, dict[Key, Row]] = {run: {} for run in runs["run"]}
    for row in rows_of(scores):
        results[row["run"]][row["benchmark"], row["metric"]] = row
    domains_of_model = {model: domains_of(group) for model, group in runs.groupby("model")}
    rows = []
    for run in rows_of(runs):
        domains = domains_of_model[run["model"]]
        speed = _training_speed(folder / run["run"] / "train.json")
        for domain in own_domains(run, domains):
            measured = _measure(results[run["run"]], domain, domains)
            rows.append(run | {"domain": domain} | measured | speed)
    return pd.DataFrame(rows, columns=TRADEOFF_COLUMNS).astype({"seed": "Int64"})


def _training_speed(path: Path) -> dict[str, float]:
    info = read_json(path)["train_info"] if path.is_file() else {}
    return {name: info.get(name, math.nan) for name in ("tokens_per_s", "time_s")}


def _measure(scores: Mapping[Key, Row], domain: str, domains: Sequence[str]) -> Row:
    """Domain and general quantities of one run, from its rows of the score table."""
    reasons = []

    def of(key: Key, name: str = "value") -> Estimate:
        stderr = "stderr" if name == "value" else f"{name}_stderr"
        if (row := scores.get(key)) is None:
            return MISSING
        if math.isnan(row[name]):
            where = "" if row["reason"] == NOT_EVALUATED else f"{' '.join(key)}: "
            reasons.append(where + row["reason"])
        return Estimate(row[name], row[stderr], row["n"], row["n"] - 1)

    def general(chosen: Callable[[Key], bool], name: str = "value") -> Estimate:
        keys = [key for key in scores if chosen(key) and key[0] not in domains]
        return mean_estimate([of(key, name) for key in keys])

    accuracy = of((domain, "accuracy"))
    estimates = (
        accuracy,
        of((domain, "nll")),
        general(_is_accuracy),
        general(_is_accuracy, "difference"),
        general(lambda key: key[1] == CODE_LENGTH, "difference"),
    )
    row: Row = {"format_failure": of((domain, "format_failure")).value}
    for quantity, estimate in zip(QUANTITIES, estimates, strict=True):
        interval, df = confidence_interval(estimate, LEVEL), estimate.df
        if estimate is accuracy:
            interval = wilson_interval(estimate.value * estimate.n, estimate.n, LEVEL)
            df = math.inf  # z, not t
        row |= _columns(quantity, estimate.value, estimate.stderr, *interval)
        row[f"{quantity}{DF}"] = df
    return row | {"reason": join_reasons(reasons)}


def _is_accuracy(key: Key) -> bool:
    """Whether this is the accuracy that counts in the general score."""
    benchmark = BENCHMARKS.get(key[0])
    return benchmark is not None and key[1] == benchmark.accuracy


def _columns(quantity: str, *numbers: float) -> dict[str, float]:
    return {f"{quantity}{part}": number for part, number in zip(PARTS, numbers, strict=True)}


def over_seeds(tradeoff: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds of each setting; see :func:`~.stats.mean_over_seeds` for the errors.

    The bounds are combined like the standard errors, each side for itself, so one seed keeps its
    own interval. A setting with a missing seed is NaN: the seeds that survived are no fair sample.

    Args:
        tradeoff: What :func:`tradeoff_table` returned, one row per setting and seed.
    """
    rows = []
    for setting, group in tradeoff.groupby(SETTING, sort=False, dropna=False):
        row = dict(zip(SETTING, setting, strict=True)) | {"n_seeds": len(group)}
        row |= {name: group[name].mean(skipna=False) for name in PLAIN}
        row["reason"] = _combine_reasons(group)
        for quantity in QUANTITIES:
            row |= _columns(quantity, *_combine_seeds(group, quantity))
        rows.append(row)
    return pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS)


def _combine_reasons(group: pd.DataFrame) -> str:
    if group["reason"].nunique() == 1:
        return str(group["reason"].iloc[0])
    seeds = "seed " + group["seed"].astype(str) + ": " + group["reason"]
    return "; ".join(seeds[group["reason"] != ""])


def _combine_seeds(group: pd.DataFrame, quantity: str) -> tuple[float, float, float, float]:
    values, dfs = group[quantity], group[f"{quantity}{DF}"]
    quantiles = [quantile_of_level(LEVEL, df) for df in dfs]

    def mean_of(errors: pd.Series) -> Estimate:
        rows = zip(values, errors, dfs, strict=True)
        return mean_over_seeds([Estimate(value, error, 0, df) for value, error, df in rows])

    def half_width(widths: pd.Series) -> float:
        found = mean_of(widths / quantiles)
        return quantile_of_level(LEVEL, found.df) * found.stderr

    mean, stderr, *_ = mean_of(group[f"{quantity}_stderr"])
    below = half_width(values - group[f"{quantity}_low"])
    above = half_width(group[f"{quantity}_high"] - values)
    bounds = np.array([mean - below, mean + above])
    if quantity == "domain_score":
        bounds = bounds.clip(0, 1)
    return mean, stderr, *bounds


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


def main() -> None:
    """Aggregate the evaluations of one study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--scores", type=Path, required=True, help="every score, CSV to write")
    parser.add_argument("--tradeoff", type=Path, required=True, help="per run, CSV to write")
    parser.add_argument("--over-seeds", type=Path, required=True, help="per setting, CSV to write")
    args = parser.parse_args()
    with run_main("aggregate"):
        runs = read_table(args.run_table, [*TEXT, *NUMBERS], "sft_tradeoff.runs")
        scores = score_table(runs, args.runs)
        tradeoff = tradeoff_table(scores, runs, args.runs)
        paths = args.scores, args.tradeoff, args.over_seeds
        for path, table in zip(paths, (scores, tradeoff, over_seeds(tradeoff)), strict=True):
            atomic_write_text(path, table.to_csv(index=False, lineterminator="\n"), sealed=True)


if __name__ == "__main__":
    main()
