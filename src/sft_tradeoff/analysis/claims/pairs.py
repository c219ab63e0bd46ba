"""Comparisons of two settings, and choosing what to report on other items than it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sft_tradeoff.analysis.claims.base import BITS, SHARE, Finding, Kind, Part, Place, Untested
from sft_tradeoff.analysis.claims.results import Arm, Half, Results
from sft_tradeoff.analysis.claims.statistic import Statistic, effect_of
from sft_tradeoff.study.names import format_learning_rate


class Setting(NamedTuple):
    """One method at one learning rate."""

    arm: Arm
    rate: float

    def __str__(self) -> str:
        """Label and rate, for tables."""
        return f"{self.arm.label} at {format_learning_rate(self.rate)}"


class Candidate(NamedTuple):
    """One comparison of several that may be reported.

    Args:
        comparison: In words.
        parts: Its effects on a half of the items, or on all.
    """

    comparison: str
    parts: Callable[[Half], tuple[Part, ...]]


def rate_pairs(arm: Arm, ratio: float) -> Iterator[tuple[Setting, Setting]]:
    """Pairs of a small and a large rate, at least this ratio apart."""
    for small in arm.rates:
        for large in arm.rates:
            if large >= small * ratio * (1 - 1e-9):
                yield Setting(arm, small), Setting(arm, large)


def domain_part(
    results: Results,
    ours: Setting,
    theirs: Setting,
    half: Half,
    kind: Kind,
    margin: float,
) -> Part:
    """Difference in domain accuracy, D(ours) − D(theirs), with the items lost and gained.

    If neither score is above chance, the difference decides nothing.
    """
    scores = [results.domain_score(*setting, half) for setting in (ours, theirs)]
    key = ours.arm.domain, "accuracy"
    one, other = (
        results.clustered(*setting, key, half).value.mean(0) for setting in (ours, theirs)
    )
    return Part(
        name=f"D({ours}) − D({theirs})",
        effect=effect_of(scores[0] - scores[1]),
        kind=kind,
        margin=margin,
        unit=SHARE,
        blocked=at_chance(scores, results.chance(ours.arm)),
        lost=int(np.sum(one < other)),
        gained=int(np.sum(one > other)),
    )


def at_chance(scores: Sequence[Statistic], chance: float) -> str:
    """Why scores decide nothing; empty if one of them is above chance.

    Args:
        scores: Accuracies.
        chance: What guessing gives.
    """
    found = [effect_of(score).interval for score in scores]
    if any(i.low > chance for i in found):
        return ""
    told = " and ".join(f"{s.name} {i.value:.3f}" for s, i in zip(scores, found, strict=True))
    return f"no score is above chance ({chance:.3f}): {told}"


def general_part(
    results: Results,
    ours: Setting,
    theirs: Setting,
    half: Half,
    kind: Kind,
    margin: float,
) -> Part:
    """Difference in general code length, G(theirs) − G(ours): positive if ours keeps more."""
    ours_loss, their_loss = (results.general_loss(*s, half) for s in (ours, theirs))
    return Part(
        name=f"G({theirs}) − G({ours})",
        effect=effect_of(their_loss - ours_loss),
        kind=kind,
        margin=margin,
        unit=BITS,
    )


def choose(candidates: Sequence[Candidate], place: Place) -> Finding:
    """Report the best of several comparisons, chosen on other items than it is reported on.

    The best is the one whose parts exceed their bounds most, in units of their margins, on one half
    of the independent units of items; it is reported on the other half. Both halves share the
    training seeds, so the verdict takes the number of candidates into account as well. A single
    candidate needs no choice and is reported on all items.

    Args:
        candidates: At least one.
        place: Model, domain and method of the finding.
    """
    try:
        if len(candidates) == 1:
            return Finding(place, candidates[0].comparison, candidates[0].parts(None))
        best = max(candidates, key=lambda candidate: _slack(candidate.parts(0)))
        comparison = f"{best.comparison} (best of {len(candidates)}, chosen on other items)"
        return Finding(place, comparison, best.parts(1), chosen_of=len(candidates))
    except Untested as reason:
        return Finding(place, missing=str(reason))


def _slack(parts: Sequence[Part]) -> float:
    """How far the parts are beyond their bounds; of several, the smallest counts."""
    return min(
        part.effect.interval.value / part.margin + (1 if part.kind is Kind.NOT_LESS else -1)
        for part in parts
    )
