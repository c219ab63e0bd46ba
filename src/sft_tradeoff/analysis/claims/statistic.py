"""Statistics of scores that share test items and seeds, and their effects with intervals.

A statistic is three things: its value, its values on resamples of the items' clusters, and its
values for each training seed. Any function of scores is applied to all three, so that a difference,
a mean over tasks and a hypervolume all get their interval in the same way, paired on items and
seeds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sft_tradeoff.analysis.claims.base import Untested
from sft_tradeoff.analysis.run_records import Key
from sft_tradeoff.analysis.tables import LEVEL
from sft_tradeoff.analysis.tolerance import is_degenerate
from sft_tradeoff.stats.bootstrap import Clustered, ratios, resampled_ratios
from sft_tradeoff.stats.estimates import no_change_bound
from sft_tradeoff.stats.intervals import Interval, interval
from sft_tradeoff.stats.variance import Components


class Counts(NamedTuple):
    """Items, clusters and their degrees of freedom, of one benchmark."""

    items: int
    clusters: int
    df: float


@dataclass(frozen=True)
class Statistic:
    """A number made of scores.

    Args:
        name: What it is, for messages.
        value: With the mean over seeds.
        over_items: [R, S], of each seed on resamples of clusters; [R] if it is not linear in the
            scores, of all seeds.
        over_seeds: [S], for each seed alone; [1] for θ0.
        seeds: The seeds; None for θ0, which has none.
        on: Sizes of the benchmarks that it is made of.
        floor: Numerical noise, in its unit.
        discrete: Whether it is made of right and wrong answers only.
    """

    name: str
    value: float
    over_items: np.ndarray
    over_seeds: np.ndarray
    seeds: tuple[int, ...] | None
    on: Mapping[Key, Counts]
    floor: float = 0.0
    discrete: bool = False

    def __sub__(self, other: Statistic) -> Statistic:
        """Paired difference."""
        return combined(lambda a, b: a - b, self, other, name=f"{self.name} − {other.name}")


class Effect(NamedTuple):
    """A statistic with its 95 % interval.

    Args:
        interval: Value, bounds, standard error (NaN if it cannot be estimated) and noise floor.
        components: Variances of one seed and of one cluster of items, as the effect shows them; NaN
            for seeds if there is only one.
        n_items: Items, over all benchmarks.
        n_clusters: Independent units of the smallest benchmark.
        n_seeds: Training seeds; 0 if only θ0 is in it.
    """

    interval: Interval
    components: Components
    n_items: int
    n_clusters: int
    n_seeds: int


def score(
    name: str, key: Key, scores: Clustered, seeds: tuple[int, ...] | None, floor: float = 0.0
) -> Statistic:
    """Score of one setting on one benchmark.

    The draws depend on the benchmark alone, so all settings and seeds are resampled together.

    Args:
        name: For messages.
        key: Benchmark and metric.
        scores: Values [S, n] of all seeds.
        seeds: The S seeds; None for θ0.
        floor: Numerical noise of the score.

    Raises:
        Untested: If all items belong to one cluster.
    """
    if scores.n_clusters < 2:
        n = len(scores.size)
        raise Untested(f"{key[0]}: its {n} items belong to one cluster, so nothing varies")
    rng = np.random.default_rng(zlib.crc32(key[0].encode()))
    per_seed = ratios(scores)
    return Statistic(
        name=name,
        value=float(per_seed.mean()),
        over_items=resampled_ratios(scores, rng),
        over_seeds=per_seed,
        seeds=seeds,
        on={key: Counts(len(scores.size), scores.n_clusters, scores.df)},
        floor=floor,
        discrete="accuracy" in key[1],
    )


def combined(
    f: Callable[..., np.ndarray | float],
    *parts: Statistic,
    name: str,
    floor: float | None = None,
    linear: bool = True,
) -> Statistic:
    """Apply a function of numbers to statistics.

    Args:
        f: Works on numbers, and elementwise on arrays of them.
        parts: Its arguments, themselves linear in the scores.
        name: Of the result.
        floor: Its numerical noise; None: the largest of the parts.
        linear: Whether f is linear.

    Raises:
        Untested: If the parts have different seeds.
    """
    seeds = {part.seeds: part for part in parts if part.seeds is not None}
    if len(seeds) > 1:
        told = ", ".join(
            f"{part.name} has {', '.join(map(str, part.seeds or ()))}" for part in seeds.values()
        )
        raise Untested(f"the seeds differ, so runs cannot be paired: {told}")
    over_seeds = np.broadcast_arrays(*(part.over_seeds for part in parts))
    over_items = list(np.broadcast_arrays(*(part.over_items for part in parts)))
    if not linear:
        over_items = [resamples.mean(1) for resamples in over_items]
    return Statistic(
        name=name,
        value=float(f(*(part.value for part in parts))),
        over_items=np.asarray(f(*over_items)),
        over_seeds=np.asarray(f(*over_seeds)),
        seeds=next(iter(seeds), None),
        on={key: counts for part in parts for key, counts in part.on.items()},
        floor=max(part.floor for part in parts) if floor is None else floor,
        discrete=all(part.discrete for part in parts),
    )


def effect_of(statistic: Statistic) -> Effect:
    """Interval of a statistic at 95 %.

    Right and wrong answers that did not change may change on other items: the rule of three, of
    clusters if there is no spread at all (:func:`~sft_tradeoff.stats.estimates.least_half_width`).
    A loss that changed by the same amount on every item has no known spread.
    """
    benchmarks = {key[0]: counts for key, counts in statistic.on.items()}
    n_clusters = min(counts.clusters for counts in benchmarks.values())
    items, seeds = statistic.over_items, statistic.over_seeds
    with_all = items if items.ndim == 1 else items.mean(1)
    of_items = float(with_all.var(ddof=1))
    changing = min(c.items for c in benchmarks.values()) if of_items > 0 else n_clusters
    n_seeds = len(statistic.seeds or ())
    found = interval(
        value=statistic.value,
        over_items=items,
        over_seeds=seeds,
        df_items=min(counts.df for counts in benchmarks.values()),
        level=LEVEL,
        floor=statistic.floor,
        least=no_change_bound(changing, LEVEL) if statistic.discrete else 0.0,
    )
    if not statistic.discrete and is_degenerate(found.value, found.stderr):
        found = found._replace(low=math.nan, high=math.nan, stderr=math.nan)
    return Effect(
        interval=found,
        components=Components(
            seeds=float(seeds.var(ddof=1)) if n_seeds > 1 else math.nan,
            items=of_items * n_clusters,
            interaction=math.nan,
        ),
        n_items=sum(counts.items for counts in benchmarks.values()),
        n_clusters=n_clusters,
        n_seeds=n_seeds,
    )
