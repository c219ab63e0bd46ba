"""The quantities that the page can put on an axis, and their values for every setting and run.

Those of the trade-off come with their intervals from ``tradeoff.csv`` and
``tradeoff_over_seeds.csv``, those of single benchmarks from ``scores.csv``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sft_tradeoff.analysis.noise_floor import known
from sft_tradeoff.analysis.tables import BASE, CODE_LENGTH, LEVEL, Row, domains_of, rows_of
from sft_tradeoff.analysis.tolerance import ACCURACY
from sft_tradeoff.stats.estimates import (
    Estimate,
    confidence_interval,
    effective_n,
    mean_over_seeds,
    wilson_interval,
    within,
)
from sft_tradeoff.suite.registry import BENCHMARKS

if TYPE_CHECKING:
    import pandas as pd

Bounds = tuple[float, float, float]  # value, low, high; NaN: unknown
NO_VALUE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Quantity:
    """What an axis can show.

    Args:
        key: Name in the page's data and in its address.
        name: Heading.
        unit: Unit; empty for a plain number.
        better: 1 if more is better, −1 if less is, 0 if neither.
        group: Heading in the list of axes.
        column: Column of the trade-off; empty if it comes from the scores.
        sign: −1 turns a change of accuracy into a loss.
        measure: General measure whose tolerance limits it; empty if none does.
        log: Whether its axis is logarithmic.
    """

    key: str
    name: str
    unit: str
    better: int
    group: str
    column: str = ""
    sign: int = 1
    measure: str = ""
    log: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What the page has to know."""
        return {k: v for k, v in asdict(self).items() if k not in ("column", "sign")}


FRACTION, NATS, BITS = "fraction correct", "nats per token", "bits per byte"
DOMAIN, GENERAL, BENCHMARK, COST = "Domain", "General ability", "Single benchmarks", "Training"
IN_BF16 = ", saved in bfloat16"
OF_TRADEOFF = (
    Quantity("accuracy", "Domain accuracy", FRACTION, 1, DOMAIN, "domain_score"),
    Quantity("nll", "Domain NLL", NATS, -1, DOMAIN, "domain_nll"),
    Quantity("nll_bf16", f"Domain NLL{IN_BF16}", NATS, -1, DOMAIN, "domain_nll_shipped"),
    Quantity("format", "Answers not in the format", "fraction", -1, DOMAIN, "format_failure"),
    Quantity("kl", "KL(θ₀‖θ) on domain prompts", NATS, -1, DOMAIN, "domain_kl"),
    Quantity(
        *("loss_bits", "General loss in code length", BITS, -1, GENERAL),
        *("general_bits_per_byte_difference", 1, CODE_LENGTH),
    ),
    Quantity(
        *("loss_bits_bf16", f"General loss in code length{IN_BF16}", BITS, -1, GENERAL),
        "general_bits_per_byte_difference_shipped",
    ),
    Quantity(
        *("loss_accuracy", "General loss in accuracy", FRACTION, -1, GENERAL),
        *("general_score_difference", -1, ACCURACY),
    ),
    Quantity("general", "General accuracy", FRACTION, 1, GENERAL, "general_score"),
    Quantity("time", "Training time", "s", -1, COST, "time_s"),
    Quantity("rate", "Learning rate", "", 0, COST, "learning_rate", log=True),
)


def of_tradeoff(row: Row) -> dict[str, Bounds]:
    """Quantities of one row of a trade-off table; those without a value are left out."""
    found = {}
    for q in OF_TRADEOFF:
        value, *ends = (
            q.sign * float(row.get(f"{q.column}{part}", math.nan)) for part in ("", "_low", "_high")
        )
        if not math.isnan(value):
            found[q.key] = (value, min(ends), max(ends))
    return found


# --- single benchmarks ----------------------------------------------------------------------------


def benchmark_quantities(scores: pd.DataFrame, domains: Sequence[str]) -> list[Quantity]:
    """One quantity per benchmark of the general suite: its accuracy, or its change of code length.

    Args:
        scores: ``scores.csv``.
        domains: Domains of the study, which are no such benchmarks.
    """
    names = dict.fromkeys(scores.loc[~scores["benchmark"].isin(domains), "benchmark"])
    return [q for name in map(str, names) if (q := _of_benchmark(name, scores)) is not None]


def _of_benchmark(name: str, scores: pd.DataFrame) -> Quantity | None:
    metric = _metric(name)
    if metric not in set(scores.loc[scores["benchmark"] == name, "metric"]):
        return None
    if metric == CODE_LENGTH:
        return Quantity(f"in_{name}", f"{name}: change of code length", BITS, -1, BENCHMARK)
    return Quantity(f"in_{name}", f"{name}: accuracy", FRACTION, 1, BENCHMARK)


def _metric(name: str) -> str:
    benchmark = BENCHMARKS.get(name)
    return CODE_LENGTH if benchmark is None else benchmark.accuracy or CODE_LENGTH


def of_benchmarks(
    scores: pd.DataFrame, quantities: Iterable[Quantity]
) -> Mapping[str, dict[str, Row]]:
    """Run -> key of a quantity -> its row of the scores."""
    wanted = {
        (name := q.key.removeprefix("in_"), _metric(name)): q.key
        for q in quantities
        if q.group == BENCHMARK
    }
    found: dict[str, dict[str, Row]] = {}
    for row in rows_of(scores):
        if key := wanted.get((row["benchmark"], row["metric"])):
            found.setdefault(row["run"], {})[key] = row
    return found


def benchmark_bounds(rows: Sequence[Row]) -> Bounds:
    """Value and 95 % interval of one benchmark, over the seeds of a setting.

    That of a single accuracy is Wilson's, all others are Student's; the numerical noise floor of a
    code length is added on both sides, as in the trade-off.

    Args:
        rows: Of the scores, one per seed.
    """
    is_accuracy = rows[0]["metric"] != CODE_LENGTH
    value, error = ("value", "stderr") if is_accuracy else ("difference", "difference_stderr")
    seeds = [Estimate(r[value], r[error], int(r["n"]), r["df"]) for r in rows]
    if any(math.isnan(seed.value) for seed in seeds):
        return NO_VALUE
    if not is_accuracy:
        mean = _mean(seeds)
        floor = known(rows[0]["noise_floor"])
        low, high = confidence_interval(mean, LEVEL)
        return mean.value, low - floor, high + floor
    if len(seeds) == 1:
        n = effective_n(seeds[0], LEVEL)
        return seeds[0].value, *wilson_interval(seeds[0].value * n, n, LEVEL)
    mean = _mean(seeds)
    return mean.value, *within(*confidence_interval(mean, LEVEL), 0.0, 1.0)


def _mean(seeds: Sequence[Estimate]) -> Estimate:
    return seeds[0] if len(seeds) == 1 else mean_over_seeds(seeds)


def general_domains(runs: pd.DataFrame) -> list[str]:
    """All domains of a study, in the order of its run table."""
    trained = runs[runs["method"] != BASE]
    return domains_of(trained)
