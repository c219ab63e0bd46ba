"""Verdicts: where the interval of an effect lies, against the margin of a claim.

A claim that an effect exceeds its margin m is *supported* if the interval lies above m,
*contradicted* if it lies below −m, *equivalent* if the effect lies within ± m (two one-sided
tests), and otherwise the study *cannot tell*. Each is a test; the smallest of the three p values
is the level at which the study starts to tell. Whatever the true effect, at most one of the wrong
verdicts is likelier than half the level, and they exclude each other, so the probability of a
wrong verdict is at most the level. Holm's correction extends this to all findings of a study.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sft_tradeoff.analysis.claims.base import Finding, Kind, Part, Verdict
from sft_tradeoff.analysis.claims.spec import Claim
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.stats.power import Needed, needed, smallest_detectable
from sft_tradeoff.stats.tests import (
    holm,
    mcnemar_exact,
    superiority,
)


@dataclass(frozen=True)
class Judged:
    """A finding with its verdict.

    Args:
        finding: What was measured.
        verdict: The verdict.
        p: Smallest level at which this finding alone would tell; NaN if it may not.
        p_holm: The same with all findings of the study; decides.
        p_mcnemar: Exact, of items lost and gained; NaN without right and wrong answers.
        visible: Smallest effect that would have been supported with a probability of 80 %, beside
            as many other findings (Bonferroni).
        needed: Clusters and seeds that would settle it likewise; None if it is settled.
        note: Why the verdict is not another one, in words.
        one_run: Whether it speaks of one training run only, and so decides nothing.
    """

    finding: Finding
    verdict: Verdict
    p: float
    p_holm: float
    p_mcnemar: float
    visible: float
    needed: Needed | None
    note: str
    one_run: bool = False


# --- tests of one part ----------------------------------------------------------------------------


def p_values(part: Part) -> tuple[float, float, float]:
    """P values of what the claim says, of the opposite, and of an effect within ± m.

    Supported and contradicted are two-sided, so that they belong to the 95 % interval. NaN counts
    as 1: what has no standard error supports nothing.
    """
    if part.p_values is not None:
        return part.p_values
    above, not_below = _above(part.effect, part.margin), _above(part.effect, -part.margin)
    mirrored = _mirrored(part.effect)
    below, not_above = _above(mirrored, part.margin), _above(mirrored, -part.margin)
    inside = max(not_below, not_above)
    match part.kind:
        case Kind.GREATER:
            return _two_sided(above), _two_sided(below), inside
        case Kind.NOT_LESS:
            return _two_sided(not_below), _two_sided(below), 1.0
        case Kind.WITHIN:
            return inside, _two_sided(min(above, below)), 1.0


def _above(effect: Effect, bound: float) -> float:
    """One-sided p value of "the effect is at most the bound"."""
    p = superiority(effect.interval, bound)
    return 1.0 if math.isnan(p) else p


def _mirrored(effect: Effect) -> Effect:
    return effect._replace(interval=effect.interval._replace(value=-effect.interval.value))


def _two_sided(p: float) -> float:
    return min(1.0, 2 * p)


# --- a finding ------------------------------------------------------------------------------------


def decisions(parts: Sequence[Part], chosen_of: int = 1) -> dict[Verdict, float]:
    """P value of each verdict on a claim that needs all of its parts.

    Supported if all parts are (the largest p value counts); contradicted if one is that the claim
    does not only presume (Bonferroni); equivalent if the main part is and the others hold.

    Args:
        parts: The parts.
        chosen_of: Number of comparisons of which this one is the best. It was chosen on other
            items, but of the same runs: a lucky seed is lucky there, too. So the p value of
            *supported* is multiplied by it (Bonferroni); the choice makes the others rarer.
    """
    found = [p_values(part) for part in parts]
    against = [p[1] for p, part in zip(found, parts, strict=True) if not part.premise]
    return {
        Verdict.SUPPORTED: min(1.0, chosen_of * max(p[0] for p in found)),
        Verdict.CONTRADICTED: min(1.0, len(against) * min(against)),
        Verdict.EQUIVALENT: max(found[0][2], *(p[0] for p in found[1:]), 0.0),
    }


def judge(claims: Sequence[Claim], findings: Sequence[Finding]) -> list[Judged]:
    """Judge all findings of a study together.

    Args:
        claims: The claim of each finding.
        findings: The findings.
    """
    barred = [_barred(claim, row) for claim, row in zip(claims, findings, strict=True)]
    tests = [
        decisions(row.parts, row.chosen_of) if row.parts and row.decided is None else {}
        for row in findings
    ]
    smallest = [min(test.values(), default=math.nan) for test in tests]
    own = [math.nan if bar else p for bar, p in zip(barred, smallest, strict=True)]
    n_tests = [max(1, sum(not math.isnan(p) for p in own))] * len(own)
    of_each = zip(claims, findings, tests, smallest, holm(own), barred, n_tests, strict=True)
    return [_judged(*of_one) for of_one in of_each]


def _barred(claim: Claim, row: Finding) -> str:
    """Why a finding may not decide, whatever its p value; empty if it may."""
    if not row.parts:
        return row.missing
    blocked = "; ".join(dict.fromkeys(part.blocked for part in row.parts if part.blocked))
    one_seed = "this run only: one seed; train at least 2" if _of_one_run(claim, row) else ""
    return "; ".join(filter(None, [blocked, one_seed]))


def _of_one_run(claim: Claim, row: Finding) -> bool:
    return claim.about_training and any(part.effect.n_seeds < 2 for part in row.parts)


def _judged(
    claim: Claim,
    row: Finding,
    tests: dict[Verdict, float],
    p: float,
    corrected: float,
    barred: str,
    n_tests: int,
) -> Judged:
    if not row.parts:
        unknown = math.nan
        return Judged(
            row, Verdict.NOT_TESTED, unknown, unknown, unknown, unknown, None, row.missing
        )
    verdict = Verdict.CANNOT_TELL
    if row.decided is not None and not barred:
        verdict = row.decided
    elif corrected <= claim.level:
        verdict = min(tests, key=lambda name: tests[name])
    main, share = row.parts[0], claim.level / (n_tests * row.chosen_of)
    counted = next((part for part in row.parts if part.lost is not None), None)
    return Judged(
        finding=row,
        verdict=verdict,
        p=p,
        p_holm=corrected,
        p_mcnemar=mcnemar_exact(counted.lost or 0, counted.gained or 0) if counted else math.nan,
        visible=_visible(main, share),
        needed=_settling(claim, row, share)
        if verdict is Verdict.CANNOT_TELL and not barred
        else None,
        note=barred,
        one_run=_of_one_run(claim, row),
    )


def _bound(part: Part) -> float:
    """Value that the effect has to exceed for the claim to be supported."""
    return part.margin if part.kind is Kind.GREATER else -part.margin


def _visible(part: Part, level: float) -> float:
    """Smallest effect that would be supported with a probability of 80 %; NaN if unknown."""
    interval = part.effect.interval
    if part.kind is Kind.WITHIN or interval.stderr == 0:
        return math.nan
    detectable = smallest_detectable(interval.stderr, interval.df, 1 - level)
    return _bound(part) + detectable + interval.floor


def _settling(claim: Claim, row: Finding, level: float) -> Needed | None:
    """Clusters and seeds that would settle the part that is hardest to settle.

    If the effects measured are the true ones; the distance is that to the nearest bound. None if
    the variances of items and seeds are unknown. A claim about training needs two seeds, even if
    they do not differ.
    """
    wanted = [_needed(part, level) for part in row.parts]
    known = [n for n in wanted if n is not None]
    most = max(known, key=lambda n: math.prod(n.both or (math.inf,)), default=None)
    if most is None or most.both is None or not claim.about_training:
        return most
    clusters, seeds = most.both
    return most._replace(both=(clusters, max(seeds, 2)))


def _needed(part: Part, level: float) -> Needed | None:
    effect, value = part.effect, part.effect.interval.value
    if math.isnan(effect.components.items):
        return None
    bounds = [-part.margin] if part.kind is Kind.NOT_LESS else [-part.margin, part.margin]
    distance = min(abs(value - bound) for bound in bounds) - effect.interval.floor
    n_seeds = max(effect.n_seeds, 1)
    return needed(distance, effect.components, effect.n_clusters, n_seeds, 1 - level)
