"""Compare two runs on the same test items: is one better, by an amount worth having?

A run is *better* if its gain exceeds the smallest gain worth having and the whole interval of the
gain lies above 0. The two are *alike* if the whole interval lies within ± the smallest gain.
Otherwise the items *cannot tell*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sft_tradeoff.analysis.evidence import Setting
from sft_tradeoff.analysis.noise_floor import UNMEASURED, Floors, floor_of, known
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import CODE_LENGTH, DIFFERENCE, LEVEL, UNBOUNDED
from sft_tradeoff.analysis.tolerance import (
    ACCURACY,
    is_degenerate,
    items_needed,
    read_measures,
)
from sft_tradeoff.stats.estimates import (
    Estimate,
    crossed_estimate,
    half_width,
    least_half_width,
    within,
)

NLL = "nll"
AllItems = Mapping[Setting, Sequence[Items]]
SmallestGain = dict[str, float]  # domain measure -> smallest gain worth having
DEFAULT_SMALLEST_GAIN: SmallestGain = {ACCURACY: 0.01, NLL: 0.01}


class Outcome(StrEnum):
    """What the interval of a difference says about the first run."""

    BETTER = "better"
    WORSE = "worse"
    ALIKE = "alike"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Difference:
    """Paired difference in a measure, positive if the first run is better.

    Args:
        value: The difference, as a fraction of correct answers or in nats per token.
        low: Lower bound of its interval; NaN if the items give none.
        high: Upper bound; both are within [−1, 1] for accuracies.
        smallest: Smallest difference worth having, ≥ 0.
        n_items: Number of items.
        n_items_needed: About how many items could tell, if the difference stayed the same; None if
            unknown.
    """

    value: float
    low: float
    high: float
    smallest: float
    n_items: int
    n_items_needed: int | None

    @property
    def outcome(self) -> Outcome:
        """Which run is better by an amount worth having."""
        if self.value > self.smallest and self.low > 0:
            return Outcome.BETTER
        if self.value < -self.smallest and self.high < 0:
            return Outcome.WORSE
        is_small = -self.smallest <= self.low and self.high <= self.smallest
        return Outcome.ALIKE if is_small else Outcome.CANNOT_TELL

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is significant, however small."""
        return self.low > 0 or self.high < 0


def parse_smallest_gain(text: str) -> SmallestGain:
    """Read ``accuracy=0.02 nll=0.01``; the default is :data:`DEFAULT_SMALLEST_GAIN`.

    Raises:
        UserError: If a measure is unknown or named twice, or a number is not one in [0, 1].
    """
    given = read_measures(text, "smallest_gain", DEFAULT_SMALLEST_GAIN)
    return DEFAULT_SMALLEST_GAIN | given


def compare(
    items: AllItems,
    one: Setting,
    other: Setting,
    smallest: SmallestGain,
    level: float = LEVEL,
    floors: Floors = UNMEASURED,
) -> dict[str, Difference]:
    """Paired differences of two settings on the test items of their domain, by measure.

    Positive if the first is better. Seeds are paired with seeds; θ0, which has none, is paired with
    each. Empty if a run is not evaluated.

    Args:
        items: Per-item scores of each setting, one entry per seed.
        one: The first setting.
        other: The second setting, of the same model and domain.
        smallest: Smallest difference worth having, by measure.
        level: Coverage of the intervals.
        floors: Numerical noise of the model's scores, added to both sides of the intervals.
    """
    found = {}
    for measure in (ACCURACY, NLL):
        key = (one[1], measure)
        floor = floor_of(floors, key)
        difference = paired(items, one, other, key, smallest[measure], level, floor)
        if difference:
            found[measure] = difference
    return found


def paired(
    items: AllItems,
    one: Setting,
    other: Setting,
    key: tuple[str, str],
    smallest: float = 0.0,
    level: float = LEVEL,
    floor: float = math.nan,
) -> Difference | None:
    """Paired difference in one (benchmark, metric); None if a run is not evaluated."""
    ours, theirs = items.get(one, ()), items.get(other, ())
    if other[-1] is None:
        theirs = [*theirs] * len(ours)
    if not ours or len(ours) != len(theirs):
        return None
    first = ours[0][key]
    pairs = ((a[key]["value"], b[key]["value"]) for a, b in zip(ours, theirs, strict=True))
    differences = [a.loc[first.index] - b.loc[first.index] for a, b in pairs]
    cluster = first.get("cluster", first.index)
    estimate = crossed_estimate(differences, first["size"], cluster)
    lower_is_better = key[1] in (NLL, CODE_LENGTH)
    if lower_is_better:
        estimate = estimate._replace(value=-estimate.value)
    bound = 0.0 if lower_is_better else least_half_width(estimate, len(set(cluster)), level)
    return _difference(estimate, smallest, level, bound, known(floor))


def _difference(
    estimate: Estimate, smallest: float, level: float, bound: float, floor: float
) -> Difference:
    """Compare an estimate with the smallest gain; ``bound`` is 0 for continuous scores."""
    value, noise, discrete = estimate.value, half_width(estimate, level), bound > 0
    if not discrete and is_degenerate(value, noise):
        noise = math.nan
    half = max(noise, bound) + floor
    # The interval has to exclude 0, or to become narrower than the smallest difference.
    distance = (abs(value) if abs(value) > smallest else smallest - abs(value)) - floor
    needed = items_needed(estimate.n, noise, bound, distance)
    low, high = within(value - half, value + half, *(DIFFERENCE if discrete else UNBOUNDED))
    return Difference(value, low, high, smallest, estimate.n, needed)
