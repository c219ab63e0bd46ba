"""General loss against the learning rate, with the noise of items and seeds at every rate.

All settings of a model are scored on the same general items, so one resample of the items serves
them all: the loss between two rates then has the small spread of paired data, too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sft_tradeoff.analysis.evidence import Measured, Setting, metric_of
from sft_tradeoff.analysis.noise_floor import UNMEASURED, floor_of, known
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import BASE, LEVEL, RANGES, UNBOUNDED
from sft_tradeoff.analysis.tolerance import ACCURACY, GENERAL, is_degenerate, no_change_bound
from sft_tradeoff.stats.bootstrap import N_RESAMPLES, Clustered, ratios, resampled_ratios
from sft_tradeoff.stats.estimates import degrees_of_freedom, within
from sft_tradeoff.stats.intervals import Interval, interval


class _Benchmark(NamedTuple):
    """Losses of the settings of a model on one benchmark."""

    over_seeds: list[np.ndarray]  # per setting: [S]
    over_items: np.ndarray  # [R, settings], mean over seeds
    df: float  # of the variance between clusters
    n_items: int
    n_clusters: int


@dataclass(frozen=True)
class LossCurve:
    """General loss of one method in one measure, piecewise linear in the logarithm of the rate.

    Args:
        rates: Learning rates in increasing order, [K].
        over_seeds: Loss of each seed, [S, K]; positive if θ0 was better.
        over_items: Per benchmark: its part of the mean loss on resamples of its items, [R, K].
        dfs: Degrees of freedom of each benchmark's items.
        measure: A key of :data:`~.tolerance.GENERAL`.
        floor: Numerical noise, part of every interval; 0 if it was not measured.
        least: Minimum half width of an interval (:func:`~.tolerance.no_change_bound`).
        least_unchanged: The same where no item changed, as those of a cluster may be all alike.
    """

    rates: tuple[float, ...]
    over_seeds: np.ndarray
    over_items: tuple[np.ndarray, ...]
    dfs: tuple[float, ...]
    measure: str
    floor: float = 0.0
    least: float = 0.0
    least_unchanged: float = 0.0

    def at(self, rate: float) -> Interval:
        """Loss at a rate from the smallest to the largest, with its 95 % interval.

        The bounds are NaN if the items show no spread, so that they give no interval.
        """
        weight = self._weights(rate)
        parts = [part @ weight for part in self.over_items]
        df = degrees_of_freedom([float(part.var(ddof=1)) for part in parts], self.dfs)
        of_seeds = self.over_seeds @ weight
        found = interval(
            float(of_seeds.mean()), np.sum(parts, axis=0), of_seeds, df, LEVEL, self.floor
        )
        least = self.least if found.stderr > 0 else self.least_unchanged
        half = max(found.high - found.value - self.floor, least) + self.floor
        if self.measure != ACCURACY and is_degenerate(found.value, found.stderr):
            half = math.nan
        column, sign = GENERAL[self.measure]
        ends = sorted(sign * end for end in RANGES.get(column, UNBOUNDED))
        low, high = within(found.value - half, found.value + half, *ends)
        return found._replace(low=low, high=high)

    def _weights(self, rate: float) -> np.ndarray:
        """Share of each rate of the grid in the loss at a rate between two of them, [K]."""
        x = np.log(self.rates)
        one_hot = np.eye(len(x))
        return np.array([np.interp(math.log(rate), x, row) for row in one_hot])


def loss_curves(
    measured: Measured, measures: Iterable[str]
) -> dict[tuple[str, str, str], dict[str, LossCurve]]:
    """Loss curves by (model, domain, method label) and general measure.

    A rate without a finite score in every measure and every seed is left out: see
    :func:`missing_rates`. A method without any has an empty mapping.

    Args:
        measured: Per-item scores, suite sizes, and the numerical noise where it was measured.
        measures: General measures.
    """
    names, trained = list(measures), _trained(measured)
    found: dict[tuple[str, str, str], dict[str, LossCurve]] = {s[:3]: {} for s in trained}
    for model in dict.fromkeys(s[0] for s in trained):
        scored = [s for s in trained if s[0] == model and _is_scored(measured, s, names)]
        for measure in names if scored else ():
            for label, curve in _curves(measured, scored, measure).items():
                found[label][measure] = curve
    return found


def missing_rates(
    measured: Measured, measures: Iterable[str]
) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """Rates of each (model, domain, method label) that lack a finite general score."""
    found: dict[tuple[str, str, str], tuple[float, ...]] = {}
    names = list(measures)
    for setting in _trained(measured):
        lacks = not _is_scored(measured, setting, names)
        found[setting[:3]] = (*found.get(setting[:3], ()), *[_rate(setting)] * lacks)
    return found


def _trained(measured: Measured) -> list[Setting]:
    """All settings but θ0, also those not evaluated; the rates of a method in increasing order."""
    settings = {**measured.costs, **measured.items}
    order = {label: i for i, label in enumerate(dict.fromkeys(s[:3] for s in settings))}
    return sorted((s for s in settings if s[2] != BASE), key=lambda s: (order[s[:3]], _rate(s)))


def _rate(setting: Setting) -> float:
    return float(setting[3] or math.nan)


def _keys(measured: Measured, model: str, measure: str) -> list[tuple[str, str]]:
    benchmarks = measured.suite.get((model, measure), {})
    return [(benchmark, str(metric_of(benchmark, measure))) for benchmark in benchmarks]


def _is_scored(measured: Measured, setting: Setting, measures: Sequence[str]) -> bool:
    """Whether all seeds of a setting, and θ0, have finite scores on every general benchmark."""
    n_seeds = max(
        (len(measured.items[s]) for s in measured.items if s[:3] == setting[:3]), default=0
    )
    runs = [*measured.items.get(setting, ()), _base(measured, setting)]
    keys = [key for measure in measures for key in _keys(measured, setting[0], measure)]
    return len(runs) == n_seeds + 1 > 1 and all(
        key in run and bool(np.isfinite(run[key]["value"]).all()) for run in runs for key in keys
    )


def _base(measured: Measured, setting: Setting) -> Items:
    return measured.items.get((*setting[:2], BASE, None), ({},))[0]


def _curves(
    measured: Measured, settings: Sequence[Setting], measure: str
) -> dict[tuple[str, str, str], LossCurve]:
    """One curve per method label, from the scored settings of one model."""
    keys = _keys(measured, settings[0][0], measure)
    parts = [_benchmark(measured, settings, key, GENERAL[measure][1]) for key in keys]
    if not parts:
        return {}
    floors = measured.floors.get(settings[0][0], UNMEASURED)
    least, least_unchanged = (
        no_change_bound(len(parts) * smallest, LEVEL) if measure == ACCURACY else 0.0
        for smallest in (min(p.n_items for p in parts), min(p.n_clusters for p in parts))
    )
    found = {}
    for label in dict.fromkeys(s[:3] for s in settings):
        mine = [i for i, s in enumerate(settings) if s[:3] == label]
        found[label] = LossCurve(
            rates=tuple(_rate(settings[i]) for i in mine),
            over_seeds=np.mean([[p.over_seeds[i] for i in mine] for p in parts], axis=0).T,
            over_items=tuple(part.over_items[:, mine] / len(parts) for part in parts),
            dfs=tuple(part.df for part in parts),
            measure=measure,
            floor=sum(known(floor_of(floors, key)) for key in keys) / len(keys),
            least=least,
            least_unchanged=least_unchanged,
        )
    return found


def _benchmark(
    measured: Measured, settings: Sequence[Setting], key: tuple[str, str], sign: int
) -> _Benchmark:
    """Losses of all settings on one benchmark: of each seed, and on resamples of its items."""
    base = _base(measured, settings[0])[key]
    cluster = np.unique(base["cluster"].to_numpy(str), return_inverse=True)[1]
    size = base["size"].to_numpy()
    losses = []  # per setting: [S, n]
    for setting in settings:
        values = [run[key].loc[base.index, "value"] for run in measured.items[setting]]
        losses.append(sign * (np.array(values) - base["value"].to_numpy()))
    means = Clustered(np.array([loss.mean(axis=0) for loss in losses]), size, cluster)
    rng = np.random.default_rng(zlib.crc32("\n".join(key).encode()))
    return _Benchmark(
        over_seeds=[ratios(Clustered(loss, size, cluster)) for loss in losses],
        over_items=resampled_ratios(means, rng, N_RESAMPLES),
        df=means.df,
        n_items=len(base),
        n_clusters=means.n_clusters,
    )
