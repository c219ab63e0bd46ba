"""How often verdicts on simulated studies are wrong, and how often studies see what they should."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import ClassVar

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.calibration.case import Case, Measurement
from sft_tradeoff.analysis.claims.base import Kind, Part
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.analysis.claims.verdict import p_values
from sft_tradeoff.analysis.comparison import Difference, paired
from sft_tradeoff.analysis.evidence import Setting
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.tables import BASE, CODE_LENGTH
from sft_tradeoff.analysis.tolerance import ACCURACY, GENERAL, Verdict, loss_of
from sft_tradeoff.stats.estimates import (
    confidence_interval,
    crossed_estimate,
    mean_over_seeds,
    quantile_of_level,
    ratio_estimate,
)
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.power import needed, smallest_detectable
from sft_tradeoff.stats.simulation import Scores, Truth, draw
from sft_tradeoff.stats.tests import holm, mcnemar_exact, superiority
from sft_tradeoff.stats.variance import Components

LEVEL = 0.95
ONE_SIDED = (1 - LEVEL) / 2
POWER = 0.8


def _effect(scores: Scores) -> Interval:
    """The difference from θ0, as the tests take it."""
    value, stderr, _, df = crossed_estimate(
        scores.trained - scores.base, scores.size, scores.cluster
    )
    half = quantile_of_level(LEVEL, df) * stderr
    return Interval(value, value - half, value + half, stderr, df)


def _difference(scores: Scores) -> Difference:
    """The gain over θ0 in accuracy, as the recommendation compares."""
    index = pd.Index(range(len(scores.size)))

    def items(value: np.ndarray) -> Items:
        columns = {"value": value, "size": scores.size, "cluster": scores.cluster}
        return {("d", ACCURACY): pd.DataFrame(columns, index)}

    one: Setting = ("m", "d", "x", 1e-5)
    base: Setting = ("m", "d", BASE, None)
    runs = {one: [items(value) for value in scores.trained], base: [items(scores.base)]}
    found = paired(runs, one, base, ("d", ACCURACY), smallest=0.01, level=LEVEL)
    assert found is not None
    return found


@dataclass(frozen=True)
class Counted(Case):
    """Verdicts that should be rare, or as frequent as stated; ``rules`` are those counted.

    Args:
        truth: What studies are drawn from.
        expected: Share of each verdict: an upper bound for errors.
    """

    rules: ClassVar[tuple[str, ...]]
    truth: Truth
    expected: float

    def measure(self, n_studies: int, rng: np.random.Generator) -> Iterator[Measurement]:
        """Count the verdicts."""
        counts: Counter[str] = Counter()
        for _ in range(n_studies):
            counts.update(self.verdicts(rng))
        for rule in self.rules:
            yield self.measurement(rule, counts[rule] / n_studies, n_studies, self.expected)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Draw one study and list its verdicts."""
        raise NotImplementedError


def _decisions(effect: Interval, margin: float) -> tuple[bool, bool, bool]:
    """Whether a claim that the effect exceeds the margin is supported, contradicted, equivalent."""
    unknown = Components(math.nan, math.nan, math.nan)
    part = Part("", Effect(effect, unknown, 0, 0, 0), Kind.GREATER, margin, "")
    supported, contradicted, equivalent = (p <= 1 - LEVEL for p in p_values(part))
    return supported, contradicted, equivalent


class AtTheMargin(Counted):
    """The effect is the margin, or minus the margin: it is no larger."""

    rules = ("supported", "contradicted")

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Verdicts of a claim that it exceeds the margin."""
        effect, margin = _effect(draw(self.truth, rng)), self.truth.effect
        if _decisions(effect, margin)[0]:
            yield "supported"
        if _decisions(effect._replace(value=effect.value - 2 * margin), margin)[1]:
            yield "contradicted"


class Equivalent(Counted):
    """The effect is the margin: it is no smaller."""

    rules = ("equivalent",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Verdicts of a claim that it exceeds the margin."""
        if _decisions(_effect(draw(self.truth, rng)), self.truth.effect)[2]:
            yield "equivalent"


def _verdict(scores: Scores, allowed: float) -> Verdict:
    """The tolerance's verdict on a loss in bits per byte, from the bounds in the tables."""
    differences = scores.trained - scores.base
    found = mean_over_seeds([ratio_estimate(y, scores.size, scores.cluster) for y in differences])
    column, _ = GENERAL[CODE_LENGTH]
    low, high = confidence_interval(found, LEVEL)
    row = {column: found.value, f"{column}_low": low, f"{column}_high": high}
    return loss_of(row, CODE_LENGTH, allowed, [found.n]).verdict


class AtTolerance(Counted):
    """The loss is exactly the one allowed."""

    rules = (str(Verdict.WITHIN), str(Verdict.EXCEEDS))

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """The verdict of the tolerance."""
        yield str(_verdict(draw(self.truth, rng), self.truth.effect))


class FixedSequence(Counted):
    """Four rates that lose nothing, half of the tolerance, all of it, and twice as much."""

    rules = ("a rate beyond the tolerance is called within",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Rates are judged from the smallest up to the first that is not within."""
        allowed = self.truth.effect
        losses = (share * allowed for share in (0.0, 0.5, 1.0, 2.0))
        found = [_verdict(draw(replace(self.truth, effect=loss), rng), allowed) for loss in losses]
        if len(list(takewhile(lambda verdict: verdict is Verdict.WITHIN, found))) > 2:
            yield from self.rules


class Gain(Counted):
    """The models are equally good."""

    rules = ("better or worse",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """The comparison of the recommendation, with a significant difference."""
        if _difference(draw(self.truth, rng)).excludes_zero:
            yield from self.rules


class LostAndGained(Counted):
    """One run that is as good as θ0, on independent items."""

    rules = ("more items lost than gained, or fewer",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """McNemar's exact test at 5 %."""
        scores = draw(self.truth, rng)
        change = scores.trained[0] - scores.base
        if mcnemar_exact(int((change < 0).sum()), int((change > 0).sum())) <= 1 - LEVEL:
            yield from self.rules


class Many(Counted):
    """Ten claims, none of which is true."""

    rules = ("any claim supported or contradicted",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Two-sided tests, corrected by Holm."""
        effects = [_effect(draw(self.truth, rng)) for _ in range(10)]
        sides = [(superiority(e), superiority(e._replace(value=-e.value))) for e in effects]
        if min(holm([2 * min(pair) for pair in sides])) <= 1 - LEVEL:
            yield from self.rules


class Seen(Counted):
    """The effect is the smallest that should be seen, or the study as large as should be needed."""

    rules = ("the interval lies above 0",)

    def verdicts(self, rng: np.random.Generator) -> Iterable[str]:
        """Significance."""
        estimate = _effect(draw(self.truth, rng))
        if estimate.low > 0:
            yield from self.rules


# --- cases ----------------------------------------------------------------------------------------


def _with_smallest_effect(truth: Truth, df: float) -> Truth:
    """Set the effect to the smallest detectable one, from the true components."""
    seeds, items, interaction = truth.components
    variance = items / truth.clusters + seeds / truth.seeds
    variance += interaction / (truth.clusters * truth.seeds)
    return replace(truth, effect=smallest_detectable(variance**0.5, df, LEVEL, POWER))


def _as_large_as_needed(truth: Truth, *, both: bool) -> Truth:
    """Set the number of clusters, or clusters and seeds, to what the effect needs."""
    found = needed(truth.effect, truth.components, truth.clusters, truth.seeds, LEVEL, POWER)
    if both:
        assert found.both is not None
        return replace(truth, clusters=found.both[0], seeds=found.both[1])
    assert found.clusters is not None
    return replace(truth, clusters=found.clusters)


MARGIN = 0.3
_STUDIES = {
    "1 seed, 48 items": Truth(48, effect=MARGIN, sd_item=1, unequal=True),
    "1 seed, 8 clusters": Truth(8, 6, effect=MARGIN, sd_cluster=1, sd_item=1),
    "2 seeds": Truth(50, seeds=2, effect=MARGIN, sd_item=1, sd_seed=0.2),
    "3 seeds": Truth(75, seeds=3, effect=MARGIN, sd_item=1, sd_seed=0.2),
    "5 seeds, all vary": Truth(
        24, 4, 5, MARGIN, sd_cluster=0.5, sd_item=1, sd_seed=0.2, sd_both=0.5, sd_noise=0.5
    ),
}
_ACCURACIES = {
    "1 seed, accuracy 0.5": Truth(100, accuracy=0.5, sd_item=1, sd_noise=0.7),
    "1 seed, accuracy 0.95": Truth(100, accuracy=0.95, sd_item=1, sd_noise=0.7),
    "3 seeds, accuracy 0.5": Truth(
        100, seeds=3, accuracy=0.5, sd_item=1, sd_noise=0.7, sd_seed=0.1
    ),
}
_NOTHING = {name: replace(truth, effect=0.0) for name, truth in _STUDIES.items()}

ERRORS: tuple[Case, ...] = (
    *(AtTheMargin("claims", name, truth, ONE_SIDED) for name, truth in _STUDIES.items()),
    *(Equivalent("claims", name, truth, 1 - LEVEL) for name, truth in _STUDIES.items()),
    *(AtTolerance("tolerance", name, truth, ONE_SIDED) for name, truth in _STUDIES.items()),
    FixedSequence("fixed sequence", "3 seeds", replace(_STUDIES["3 seeds"], effect=2.0), ONE_SIDED),
    Many("ten claims, Holm", "3 seeds", _NOTHING["3 seeds"], 1 - LEVEL),
    *(Gain("gain", name, truth, 1 - LEVEL) for name, truth in _ACCURACIES.items()),
    *(
        LostAndGained("McNemar", name, truth, 1 - LEVEL)
        for name, truth in _ACCURACIES.items()
        if truth.seeds == 1
    ),
)
POWERS: tuple[Case, ...] = (
    Seen(
        "smallest effect",
        "8 clusters",
        _with_smallest_effect(_NOTHING["1 seed, 8 clusters"], 7),
        POWER,
    ),
    Seen("smallest effect", "100 items", _with_smallest_effect(Truth(100, sd_item=1), 99), POWER),
    Seen(
        "smallest effect",
        "4 seeds vary",
        _with_smallest_effect(Truth(400, seeds=4, sd_noise=0.1, sd_seed=1), 3),
        POWER,
    ),
    Seen(
        "clusters needed",
        "1 seed",
        _as_large_as_needed(Truth(20, 4, 1, 0.4, sd_cluster=1, sd_item=1), both=False),
        POWER,
    ),
    Seen(
        "clusters needed",
        "5 seeds",
        _as_large_as_needed(Truth(20, 4, 5, 0.4, sd_cluster=1, sd_seed=0.1), both=False),
        POWER,
    ),
    Seen(
        "clusters and seeds needed",
        "from 3 seeds",
        _as_large_as_needed(Truth(20, 4, 3, 0.4, sd_cluster=1, sd_seed=0.3), both=True),
        POWER,
    ),
)
