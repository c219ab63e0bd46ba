"""How much of a run's gain survives if its weights are saved in bfloat16, as most models are.

The gain is the decrease of the domain's NLL against θ0 on the same items. Where the run is scored
with rounded weights, so is θ0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sft_tradeoff.analysis.noise_floor import UNMEASURED, Floors, floor_of, known
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import LEVEL, SHIPPED
from sft_tradeoff.stats.bootstrap import Clustered, ratios, resampled_ratios
from sft_tradeoff.stats.intervals import Interval, interval

NLL = "nll"
AS_TRAINED, AS_SHIPPED = 0, 1


@dataclass(frozen=True)
class Survival:
    """Gain of one setting in domain NLL, as trained and as shipped.

    Args:
        trained: Gain over θ0 in nats per token, of the weights as trained.
        shipped: Gain of the weights rounded to bfloat16.
        share: Shipped gain divided by the trained one; None if the latter cannot be told from 0.
    """

    trained: Interval
    shipped: Interval
    share: Interval | None


def survival(
    runs: Sequence[Items], base: Items, domain: str, floors: Floors = UNMEASURED
) -> Survival | None:
    """Compare the gains of one setting, over items and seeds; None if one was not measured.

    Args:
        runs: Per-item scores of the setting, one entry per seed.
        base: Those of θ0.
        domain: The domain.
        floors: Numerical noise of the model's scores, added to both sides of the intervals.
    """
    keys = [(domain, NLL), (domain, SHIPPED[NLL])]
    if not runs or not all(key in items for key in keys for items in (*runs, base)):
        return None
    gains = _gains(runs, base, keys)
    per_seed = ratios(gains)  # (2, S)
    drawn = resampled_ratios(gains, np.random.default_rng(0)).mean(-1)  # (R, 2, S) -> (R, 2)
    noise = known(floor_of(floors, keys[0]))

    def of(statistic: Callable[[np.ndarray], np.ndarray], floor: float) -> Interval:
        point = float(statistic(per_seed.mean(-1)))
        return interval(point, statistic(drawn.T), statistic(per_seed), gains.df, LEVEL, floor)

    trained = of(lambda gain: gain[AS_TRAINED], noise)
    shipped = of(lambda gain: gain[AS_SHIPPED], noise)
    if not trained.low > 0:
        return Survival(trained, shipped, None)
    # An error of ε in both gains changes their ratio r by up to ε (1 + |r|) / gain.
    of_ratio = noise * (1 + abs(shipped.value / trained.value)) / trained.value
    share = of(lambda gain: gain[AS_SHIPPED] / gain[AS_TRAINED], of_ratio)
    return Survival(trained, shipped, share)


def _gains(runs: Sequence[Items], base: Items, keys: Sequence[tuple[str, str]]) -> Clustered:
    """Gain of each item in nats, [2, S, n]: as trained and as shipped, for each seed."""
    frame = base[keys[0]]
    values = [
        [(base[key].loc[frame.index, "value"] - run[key].loc[frame.index, "value"]) for run in runs]
        for key in keys
    ]
    clusters = np.unique(frame["cluster"].to_numpy(str), return_inverse=True)[1]
    return Clustered(np.array(values), frame["size"].to_numpy(), clusters)
