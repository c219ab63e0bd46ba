"""Aggregate per-item scores into three tables: all scores, one row per run, means over seeds.

``scores.csv`` has one row per (run, benchmark, metric); ``tradeoff.csv`` one row per run, with its
scores on the domain and on the general suite; ``tradeoff_over_seeds.csv`` averages the seeds of
each setting. All statistics are computed here: tables and figures only read the last file.
``reason`` says why a number is NaN.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sft_tradeoff.analysis.base_probability import base_probability
from sft_tradeoff.analysis.epochs import epoch_table
from sft_tradeoff.analysis.noise_floor import known
from sft_tradeoff.analysis.run_records import Key, training_record
from sft_tradeoff.analysis.scores import NOT_EVALUATED, join_reasons, score_table
from sft_tradeoff.analysis.tables import (
    BASE,
    BASE_PROBABILITY,
    CODE_LENGTH,
    DF,
    FLOOR,
    FLOORED,
    FLOORS,
    KL,
    LEVEL,
    OVER_SEEDS_COLUMNS,
    PARTS,
    PLAIN,
    QUANTITIES,
    RANGES,
    SETTING,
    SHIPPED,
    TRADEOFF_COLUMNS,
    Row,
    domains_of,
    own_domains,
    read_run_table,
    rows_of,
)
from sft_tradeoff.analysis.talr_options import talr_options_table
from sft_tradeoff.stats.estimates import (
    Estimate,
    confidence_interval,
    effective_n,
    mean_estimate,
    mean_over_seeds,
    quantile_of_level,
    wilson_interval,
)
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import run_main
from sft_tradeoff.system.files import atomic_write_text

MISSING = Estimate(math.nan, math.nan, 0, math.nan)


def tradeoff_table(scores: pd.DataFrame, runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per run, and one per (model, domain) for θ0: domain and general scores.

    ``general_score`` is the mean over the general benchmarks of the accuracy that each declares
    (:data:`~sft_tradeoff.suite.registry.BENCHMARKS`: ``acc_norm``, ``exact_match``, ...),
    ``general_bits_per_byte_difference`` the mean paired difference over the code-length
    benchmarks. Bounds are 95 % intervals: Wilson's for the domain score, Student's for the rest,
    with the numerical noise floor added on both sides where there is one.
    ``reason`` joins the reasons of the NaN scores behind these quantities.

    Args:
        scores: What :func:`~sft_tradeoff.analysis.scores.score_table` returned.
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
        record = training_record(folder / run["run"])
        speed = {"tokens_per_s": record.tokens_per_s, "time_s": record.time_s} if record else {}
        for domain in own_domains(run, domains):
            scores_of_run = results[run["run"]]
            floors = _floors(scores_of_run, domain, domains, is_base=run["method"] == BASE)
            measured = _measure(scores_of_run, domain, domains, floors)
            known = {BASE_PROBABILITY: base_probability(folder, run["model"], domain)}
            rows.append(run | {"domain": domain} | measured | speed | known)
    return pd.DataFrame(rows, columns=TRADEOFF_COLUMNS).astype({"seed": "Int64"})


def _floors(
    scores: Mapping[Key, Row], domain: str, domains: Sequence[str], *, is_base: bool
) -> dict[str, float]:
    """Noise floor of each quantity in :data:`~.tables.FLOORED`; NaN if it was not measured.

    That of the general mean is the mean of the benchmarks' floors: they may all err to one side.
    """
    nll = scores.get((domain, "nll"), {}).get("noise_floor", math.nan)
    texts = [
        row["noise_floor"]
        for (benchmark, metric), row in scores.items()
        if metric == CODE_LENGTH and benchmark not in domains
    ]
    # θ0's difference from itself is 0 exactly.
    general = 0.0 if is_base else sum(texts) / len(texts) if texts else math.nan
    return dict(zip(FLOORED, (nll, general, nll, general), strict=True))


def _measure(
    scores: Mapping[Key, Row], domain: str, domains: Sequence[str], floors: Mapping[str, float]
) -> Row:
    """Domain and general quantities of one run, from its rows of the score table."""
    reasons = []

    def of(key: Key, name: str = "value") -> Estimate:
        stderr = "stderr" if name == "value" else f"{name}_stderr"
        if (row := scores.get(key)) is None:
            return MISSING
        if math.isnan(row[name]):
            where = "" if row["reason"] == NOT_EVALUATED else f"{' '.join(key)}: "
            reasons.append(where + row["reason"])
        return Estimate(row[name], row[stderr], row["n"], row["df"])

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
        of((domain, SHIPPED["nll"])),
        general(lambda key: key[1] == SHIPPED[CODE_LENGTH], "difference"),
        of((domain, KL)),
    )
    row: Row = {"format_failure": of((domain, "format_failure")).value}
    for quantity, estimate in zip(QUANTITIES, estimates, strict=True):
        interval, df = confidence_interval(estimate, LEVEL), estimate.df
        if estimate is accuracy:
            n = effective_n(estimate)
            interval = wilson_interval(estimate.value * n, n, LEVEL)
            df = math.inf  # z, not t
        floor = known(floors.get(quantity, 0.0))
        bounds = interval[0] - floor, interval[1] + floor
        row |= _columns(quantity, estimate.value, estimate.stderr, *bounds)
        row[f"{quantity}{DF}"] = df
    named = {f"{quantity}{FLOOR}": floor for quantity, floor in floors.items()}
    return row | named | {"reason": join_reasons(reasons)}


def _is_accuracy(key: Key) -> bool:
    """Whether this is the accuracy that counts towards the general score."""
    benchmark = BENCHMARKS.get(key[0])
    return benchmark is not None and key[1] == benchmark.accuracy


def _columns(quantity: str, *numbers: float) -> dict[str, float]:
    return {f"{quantity}{part}": number for part, number in zip(PARTS, numbers, strict=True)}


def over_seeds(tradeoff: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds of each setting; see :func:`~.estimates.mean_over_seeds` for the errors.

    The bounds are combined like the standard errors, each side separately, so a single seed keeps
    its interval; then they are cut off at the ends of :data:`~.tables.RANGES`. More seeds do not
    reduce the numerical noise floor, which is the same for all. A setting with a missing seed is
    NaN: the remaining seeds are not a fair sample.

    Args:
        tradeoff: What :func:`tradeoff_table` returned, one row per setting and seed.
    """
    rows = []
    for setting, group in tradeoff.groupby(SETTING, sort=False, dropna=False):
        row = dict(zip(SETTING, setting, strict=True)) | {"n_seeds": len(group)}
        row |= {name: group[name].mean(skipna=False) for name in PLAIN}
        row |= {name: group[name].max() for name in FLOORS}
        row["reason"] = _combine_reasons(group)
        for quantity in QUANTITIES:
            row |= _columns(quantity, *_combine_seeds(group, quantity))
        rows.append(row)
    return within_ranges(pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS))


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
    floor = known(group[f"{quantity}{FLOOR}"].max()) if quantity in FLOORED else 0.0
    below = half_width(values - group[f"{quantity}_low"] - floor) + floor
    above = half_width(group[f"{quantity}_high"] - values - floor) + floor
    return mean, stderr, mean - below, mean + above


def within_ranges(table: pd.DataFrame) -> pd.DataFrame:
    """A trade-off whose bounds lie within the range of each quantity (:data:`~.tables.RANGES`)."""
    columns = [
        (f"{name}{side}", ends) for name, ends in RANGES.items() for side in ("_low", "_high")
    ]
    return table.assign(**{column: table[column].clip(*ends) for column, ends in columns})


def aggregated(runs: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return all scores, the trade-off of every run, and the trade-off over seeds.

    Args:
        runs: The run table.
        folder: Holds ``<run>/eval.json``, ``items.parquet`` and ``train.json``.
    """
    scores = score_table(runs, folder)
    tradeoff = tradeoff_table(scores, runs, folder)
    return scores, within_ranges(tradeoff), over_seeds(tradeoff)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff aggregate``."""
    parser.add_argument("--run-table", type=Path, required=True, help="run_table.csv")
    parser.add_argument("--runs", type=Path, required=True, help="folder with <run>/eval.json")
    parser.add_argument("--scores", type=Path, required=True, help="output CSV, all scores")
    parser.add_argument("--tradeoff", type=Path, required=True, help="output CSV, row per run")
    parser.add_argument(
        "--over-seeds", type=Path, required=True, help="output CSV, row per setting"
    )
    parser.add_argument("--epochs", type=Path, help="output CSV, row per run and epoch")
    parser.add_argument(
        "--talr-options", type=Path, help="output CSV, row per setting with TALR's options"
    )


def main(args: argparse.Namespace) -> None:
    """Aggregate the evaluations of one study."""
    with run_main("aggregate"):
        runs = read_run_table(args.run_table)
        paths = args.scores, args.tradeoff, args.over_seeds
        written = dict(zip(paths, aggregated(runs, args.runs), strict=True))
        if args.epochs:
            written[args.epochs] = epoch_table(runs, args.runs)
        if args.talr_options:
            means = written[args.over_seeds]
            written[args.talr_options] = talr_options_table(means, runs, args.runs)
        for path, table in written.items():
            atomic_write_text(path, table.to_csv(index=False, lineterminator="\n"), checksum=True)
