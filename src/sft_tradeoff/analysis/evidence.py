"""What a recommendation needs beyond the tables: per-item scores, sizes of the suite, and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from sft_tradeoff.analysis.scores import Items, domains_of, own_domains, read_evaluation, rows_of
from sft_tradeoff.analysis.tolerance import ACCURACY
from sft_tradeoff.analysis.tradeoff import CODE_LENGTH
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.files import read_json

BASE = "base"
Setting = tuple[str, str, str, float | None]  # model, domain, label, learning rate (θ0: None)


@dataclass(frozen=True)
class Cost:
    """What one training run took: seconds and the process's peak memory, the seeds' means."""

    time_s: float = math.nan
    peak_memory_bytes: float = math.nan


class Measured(NamedTuple):
    """What the table does not hold.

    Args:
        items: Per-item scores of each setting, one entry per seed.
        suite: (Model, general measure) -> benchmark -> number of its items.
        costs: What each setting took.
        grading: Domain -> how answers are graded, where numbers need not be exact.
    """

    items: Mapping[Setting, Sequence[Items]]
    suite: Mapping[tuple[str, str], Mapping[str, int]]
    costs: Mapping[Setting, Cost]
    grading: Mapping[str, str] = MappingProxyType({})


def read_measured(runs: pd.DataFrame, folder: Path) -> Measured:
    """Read per-item scores and costs of all runs.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/eval.json``, ``items.parquet`` and ``train.json``.
    """
    items: dict[Setting, list[Items]] = {}
    suite: dict[tuple[str, str], dict[str, int]] = {}
    spent: dict[Setting, list[Cost]] = {}
    grading: dict[str, str] = {}
    for model, group in runs.groupby("model", sort=False):
        domains = domains_of(group)
        for run in rows_of(group):
            is_base = run["method"] == BASE
            rate = None if is_base else run["learning_rate"]
            evaluation = read_evaluation(folder / run["run"])
            if evaluation and is_base:
                suite |= _suite(str(model), evaluation.items, domains)
                grading |= _inexact(evaluation.record)
            for domain in own_domains(run, domains):
                setting = str(model), domain, run["label"], rate
                spent.setdefault(setting, []).append(_cost(folder, run["run"]))
                if evaluation:
                    items.setdefault(setting, []).append(evaluation.items)
    mean_costs = {setting: _mean(costs) for setting, costs in spent.items()}
    return Measured(items, suite, mean_costs, grading)


def _inexact(record: Path) -> dict[str, str]:
    """Say of an evaluation's domains, by label, which wrong numbers count as right."""
    info = read_json(record).get("run_info", {})
    domains = info.get("config", {}).get("domains", [])
    inexact = (d for d in domains if d.get("metric") == "numeric" and d.get("tolerance"))
    return {
        d["label"]: f"An answer counts as right within {d['tolerance']:g} of the gold number "
        "(relative), not only if it equals it."
        for d in inexact
    }


def metric_of(benchmark: str, measure: str) -> str | None:
    """The metric of a benchmark that a general measure is made of; None if there is none."""
    if measure != ACCURACY:
        return measure
    return BENCHMARKS[benchmark].accuracy if benchmark in BENCHMARKS else None


def _suite(
    model: str, items: Items, domains: Sequence[str]
) -> dict[tuple[str, str], dict[str, int]]:
    """Number of items of each general benchmark, by measure."""
    sizes: dict[tuple[str, str], dict[str, int]] = {}
    for (benchmark, metric), frame in items.items():
        for measure in (ACCURACY, CODE_LENGTH):
            if benchmark not in domains and metric == metric_of(benchmark, measure):
                sizes.setdefault((model, measure), {})[benchmark] = len(frame)
    return sizes


def _cost(folder: Path, run: str) -> Cost:
    """Cost of a run; an average of weights costs the training of what it averages too."""
    path = folder / run / "train.json"
    if not path.is_file():
        return Cost()
    report: dict[str, Any] = read_json(path)
    info = report["train_info"]
    own = Cost(info.get("time_s", math.nan), info.get("peak_memory_bytes", math.nan))
    source = report.get("run_info", {}).get("config", {}).get("merge_of")
    if source is None:
        return own
    trained = _cost(folder, source)
    peak = max(own.peak_memory_bytes, trained.peak_memory_bytes)
    return replace(own, time_s=own.time_s + trained.time_s, peak_memory_bytes=peak)


def _mean(costs: Sequence[Cost]) -> Cost:
    columns = zip(*((c.time_s, c.peak_memory_bytes) for c in costs), strict=True)
    return Cost(*(math.fsum(column) / len(costs) for column in columns))
