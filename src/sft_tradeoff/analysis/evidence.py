"""What a recommendation needs beyond the tables: per-item scores, suite sizes, and costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from sft_tradeoff.analysis.noise_floor import Floors, read_noise_floor
from sft_tradeoff.analysis.run_records import (
    Evaluation,
    EvaluationRecord,
    Items,
    Rounding,
    read_evaluation,
    training_record,
)
from sft_tradeoff.analysis.starts import Start, Starts, starts_of
from sft_tradeoff.analysis.tables import BASE, CODE_LENGTH, domains_of, own_domains, rows_of
from sft_tradeoff.analysis.tolerance import ACCURACY
from sft_tradeoff.suite.registry import BENCHMARKS

if TYPE_CHECKING:
    import pandas as pd

Setting = tuple[str, str, str, float | None]  # model, domain, label, learning rate (θ0: None)


@dataclass(frozen=True)
class Cost:
    """What one training run took, averaged over the seeds.

    Args:
        time_s: Duration in seconds; NaN if unknown.
        peak_memory_bytes: Peak memory of the process; NaN if unknown.
    """

    time_s: float = math.nan
    peak_memory_bytes: float = math.nan


class Measured(NamedTuple):
    """What the trade-off table does not hold.

    Args:
        items: Per-item scores of each setting, one entry per seed.
        suite: (Model, general measure) -> benchmark -> number of its items.
        costs: What training took, per setting.
        grading: Domain -> note on grading, where an answer need not equal the gold number.
        floors: Model -> numerical noise floor of its scores, where it was measured.
        rounding: What saving in bfloat16 does to the update, per setting.
        clusters: Like ``suite``, with the number of independent units among the items.
        starts: Model -> runs that its θ0 comes from, the first one first; none if pretrained.
    """

    items: Mapping[Setting, Sequence[Items]]
    suite: Mapping[tuple[str, str], Mapping[str, int]]
    costs: Mapping[Setting, Cost]
    grading: Mapping[str, str] = MappingProxyType({})
    floors: Mapping[str, Floors] = MappingProxyType({})
    rounding: Mapping[Setting, Rounding] = MappingProxyType({})
    clusters: Mapping[tuple[str, str], Mapping[str, int]] = MappingProxyType({})
    starts: Starts = MappingProxyType({})


def read_measured(runs: pd.DataFrame, folder: Path) -> Measured:
    """Read per-item scores and costs of all runs.

    Args:
        runs: The run table, θ0 included.
        folder: Holds ``<run>/eval.json``, ``items.parquet`` and ``train.json``; beside it,
            ``noise_floor/<model>.json``, if it was measured.
    """
    items: dict[Setting, list[Items]] = {}
    suite: dict[tuple[str, str], dict[str, int]] = {}
    clusters: dict[tuple[str, str], dict[str, int]] = {}
    spent: dict[Setting, list[Cost]] = {}
    grading: dict[str, str] = {}
    floors: dict[str, Floors] = {}
    rounding: dict[Setting, list[Rounding]] = {}
    starts: dict[str, Sequence[Start]] = {}
    for model, group in runs.groupby("model", sort=False):
        domains = domains_of(group)
        for run in rows_of(group):
            is_base = run["method"] == BASE
            rate = None if is_base else run["learning_rate"]
            evaluation = read_evaluation(folder / run["run"])
            if evaluation and is_base:
                suite |= _suite(str(model), evaluation.items, domains, len)
                clusters |= _suite(str(model), evaluation.items, domains, _n_clusters)
                grading |= _inexact(evaluation.record)
                starts[str(model)] = starts_of(evaluation.record)
                floors[str(model)] = read_noise_floor(folder, str(model), evaluation.items)
            for domain in own_domains(run, domains):
                setting = str(model), domain, run["label"], rate
                spent.setdefault(setting, []).append(_cost(folder, run["run"]))
                if record := training_record(folder / run["run"]):
                    seen = _as_evaluated(record.rounding, evaluation)
                    rounding.setdefault(setting, []).append(seen)
                if evaluation:
                    items.setdefault(setting, []).append(evaluation.items)
    mean_costs = {setting: Cost(*_means(map(astuple, costs))) for setting, costs in spent.items()}
    of_update = {setting: Rounding(*_means(found)) for setting, found in rounding.items()}
    return Measured(items, suite, mean_costs, grading, floors, of_update, clusters, starts)


def _as_evaluated(rounding: Rounding, evaluation: Evaluation | None) -> Rounding:
    """What rounding does, with the projection that the evaluation saw.

    Training records that of two bfloat16 parts.
    """
    if evaluation is None or math.isnan(rounding.projection):
        return rounding
    info = evaluation.record.content.eval_info
    if info.weights == "as shipped":
        return rounding._replace(evaluated_projection=rounding.projection)
    return rounding._replace(evaluated_projection=1.0) if info.dtype == "float32" else rounding


def _inexact(record: EvaluationRecord) -> dict[str, str]:
    """Domain -> note on grading, for the domains with a numeric tolerance."""
    inexact = (d for d in record.domains if d.metric == "numeric" and d.tolerance)
    return {
        d.label: "An answer counts as correct if its relative difference from the gold number "
        f"is at most {d.tolerance:g}."
        for d in inexact
    }


def metric_of(benchmark: str, measure: str) -> str | None:
    """The metric of a benchmark that enters a general measure; None if there is none."""
    if measure != ACCURACY:
        return measure
    return BENCHMARKS[benchmark].accuracy if benchmark in BENCHMARKS else None


def _n_clusters(frame: pd.DataFrame) -> int:
    return int(frame["cluster"].nunique())


def _suite(
    model: str, items: Items, domains: Sequence[str], count: Callable[[pd.DataFrame], int]
) -> dict[tuple[str, str], dict[str, int]]:
    """Count the items of each general benchmark, or their clusters, by measure."""
    sizes: dict[tuple[str, str], dict[str, int]] = {}
    for (benchmark, metric), frame in items.items():
        for measure in (ACCURACY, CODE_LENGTH):
            if benchmark not in domains and metric == metric_of(benchmark, measure):
                sizes.setdefault((model, measure), {})[benchmark] = count(frame)
    return sizes


def _cost(folder: Path, run: str) -> Cost:
    """Cost of a run; that of averaged weights includes the training run they come from."""
    record = training_record(folder / run)
    if record is None:
        return Cost()
    own = Cost(record.time_s, record.peak_memory_bytes)
    if record.merge_of is None:
        return own
    trained = _cost(folder, record.merge_of)
    peak = max(own.peak_memory_bytes, trained.peak_memory_bytes)
    return replace(own, time_s=own.time_s + trained.time_s, peak_memory_bytes=peak)


def _means(seeds: Iterable[Sequence[float]]) -> list[float]:
    """Mean of each number over the seeds; NaN if it is unknown of one."""
    return [math.fsum(column) / len(column) for column in zip(*seeds, strict=True)]
