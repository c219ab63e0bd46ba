"""The points of the trade-off explorer: every setting averaged over its seeds, and every run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.run_records import training_record
from sft_tradeoff.analysis.tables import BASE, SETTING, Row, rows_of
from sft_tradeoff.report.page.quantities import (
    OF_TRADEOFF,
    Bounds,
    Quantity,
    benchmark_bounds,
    benchmark_quantities,
    general_domains,
    of_benchmarks,
    of_tradeoff,
)
from sft_tradeoff.study.names import format_learning_rate

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 6  # significant, of what is drawn


@dataclass(frozen=True)
class Tables:
    """The tables of a study.

    Args:
        runs: ``run_table.csv``.
        scores: ``scores.csv``.
        tradeoff: ``tradeoff.csv``, one row per run and domain.
        over_seeds: ``tradeoff_over_seeds.csv``, one row per setting.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    tradeoff: pd.DataFrame
    over_seeds: pd.DataFrame


def quantities(tables: Tables) -> list[Quantity]:
    """What the axes can show: every quantity that some run has."""
    shown = [of_tradeoff(row) for row in rows_of(tables.over_seeds)]
    named = [q for q in OF_TRADEOFF if any(q.key in found for found in shown)]
    return named + benchmark_quantities(tables.scores, general_domains(tables.runs))


def points(tables: Tables, folder: Path) -> list[dict[str, Any]]:
    """All points, θ0's included: one per setting (``seed`` is None), and one per run.

    ``values`` maps a quantity to value, low and high; ``runs`` names the runs behind a point. θ0
    has a point in each domain.

    Args:
        tables: The study's tables.
        folder: Holds ``<run>/train.json``.
    """
    names = _runs_of_settings(tables.runs)
    benchmarks = of_benchmarks(tables.scores, quantities(tables))
    targets = _targets(tables.runs, folder)
    found = []
    for row in rows_of(tables.over_seeds):
        runs = [name for name, _ in names[_setting(row)]]
        found.append(_point(row, None, runs, benchmarks, targets))
    for row in rows_of(tables.tradeoff):
        if row["method"] != BASE:
            run = next(name for name, seed in names[_setting(row)] if seed == row["seed"])
            found.append(_point(row, int(row["seed"]), [run], benchmarks, targets))
    return found


def _point(
    row: Row,
    seed: int | None,
    runs: Sequence[str],
    benchmarks: Mapping[str, Mapping[str, Row]],
    targets: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    values = of_tradeoff(row)
    keys = dict.fromkeys(key for run in runs for key in benchmarks.get(run, {}))
    for key in keys:
        of_runs = [benchmarks[run][key] for run in runs if key in benchmarks.get(run, {})]
        if len(of_runs) == len(runs):
            values[key] = benchmark_bounds(of_runs)
    rate = None if row["method"] == BASE else float(row["learning_rate"])
    domain, target = targets.get(row["domain"], (row["domain"], ""))
    return {
        "id": runs[0] if seed is not None else "/".join(map(str, _setting(row))),
        **{name: row[name] for name in ("model", "domain", "method", "label")},
        "data": domain,
        "target": target,
        "rate": rate,
        "rateText": "" if rate is None else format_learning_rate(rate),
        "seed": seed,
        "runs": list(runs),
        "reason": row["reason"],
        "values": dict(_rounded(values)),
    }


def _rounded(values: Mapping[str, Bounds]) -> Iterator[tuple[str, list[float | None]]]:
    for key, bounds in values.items():
        if not math.isnan(bounds[0]):
            yield key, [float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None for x in bounds]


def _setting(row: Row) -> tuple[Any, ...]:
    """Key of a setting; θ0 has no learning rate."""
    *names, rate = (row[name] for name in SETTING)
    return (*names, None if row["method"] == BASE else float(rate))


def _runs_of_settings(runs: pd.DataFrame) -> dict[tuple[Any, ...], list[tuple[str, Any]]]:
    """Setting -> its runs with their seeds; θ0 is a setting of every domain of its model."""
    found: dict[tuple[Any, ...], list[tuple[str, Any]]] = {}
    for _, group in runs.groupby("model", sort=False):
        domains = general_domains(group)
        for row in rows_of(group):
            own = domains if row["method"] == BASE else [row["domain"]]
            for domain in own:
                setting = _setting(row | {"domain": domain})
                found.setdefault(setting, []).append((row["run"], row["seed"]))
    return found


def _targets(runs: pd.DataFrame, folder: Path) -> dict[str, tuple[str, str]]:
    """Label of a domain -> its name and the form of its targets, from the runs' records."""
    found = {}
    for row in rows_of(runs[runs["method"] != BASE]):
        if row["domain"] not in found and (record := training_record(folder / row["run"])):
            domain = record.config.get("domain", {})
            name, variant = (str(domain.get(key, "")) for key in ("name", "variant"))
            found[row["domain"]] = (name or row["domain"], variant)
    return found
