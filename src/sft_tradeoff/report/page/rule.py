"""What the tolerance slider needs to repeat the recommendation for another tolerance.

All statistics are done here. What remains for the page (``rule.js``) are comparisons of numbers: a
run is within a tolerance if the upper bound of its loss is, learning rates are tested in sequence,
and of two runs it is known which one is better. :mod:`sft_tradeoff.analysis.recommendation` is the
rule itself; a test compares both in a browser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sft_tradeoff.analysis.comparison import NLL, Outcome, SmallestGain, compare
from sft_tradeoff.analysis.evidence import Measured
from sft_tradeoff.analysis.noise_floor import UNMEASURED
from sft_tradeoff.analysis.recommendation import Candidate, Recommendation, Section
from sft_tradeoff.analysis.tables import LEVEL
from sft_tradeoff.analysis.tolerance import ACCURACY

Pair = tuple[float, int] | None


def rule_tables(found: Recommendation, measured: Measured) -> list[dict[str, Any]]:
    """One table per model and domain.

    Args:
        found: The recommendation, under any tolerance: only what does not depend on it is used.
        measured: What it was made from.

    Returns:
        Per section its ``methods`` in the recommendation's order. Each has its ``candidates`` by
        increasing rate, with ``losses`` (measure -> value, low, high), ``complete`` (whether it has
        all domain scores), ``gain`` and ``nll``; ``worse``: for each candidate, the candidates of
        the same method that are worse than it in accuracy (empty if NLL decides); and ``against``:
        for each candidate, per candidate of standard SFT, its gain over it and the largest number
        of methods compared at once for which this gain counts, or None if it never does.
    """
    return [_section(section, measured, found.smallest_gain) for section in found.sections]


def _section(section: Section, measured: Measured, smallest: SmallestGain) -> dict[str, Any]:
    sft = next((m.candidates for m in section.methods if m.label == section.sft), ())
    n_others = max(1, len(section.methods) - 1)
    return {
        "model": section.model,
        "domain": section.domain,
        "measure": section.measure,
        "sft": section.sft,
        "methods": [
            {
                "label": method.label,
                "candidates": [_candidate(c, section.measure) for c in method.candidates],
                "worse": _worse(method.candidates, measured, smallest, section.measure),
                "against": [
                    [_beats(c, other, section, measured, smallest, n_others) for other in sft]
                    for c in method.candidates
                    if method.label != section.sft
                ],
            }
            for method in section.methods
        ],
    }


def _candidate(found: Candidate, measure: str) -> dict[str, Any]:
    return {
        "rate": found.learning_rate,
        "losses": {n: [x.value, x.low, x.high] for n, x in found.losses.items()},
        "complete": _is_complete(found),
        "gain": found.gains[measure].value if measure in found.gains else None,
        "nll": found.domain_nll,
    }


def _is_complete(found: Candidate) -> bool:
    gains = found.gains.values()
    return bool(gains) and not any(math.isnan(gain.value) for gain in gains)


def _worse(
    candidates: Sequence[Candidate], measured: Measured, smallest: SmallestGain, measure: str
) -> list[list[int]]:
    """For each candidate as the best one: the positions of those that are worse in accuracy."""
    if measure == NLL:
        return [[] for _ in candidates]

    def is_worse(one: Candidate, best: Candidate) -> bool:
        if not (_is_complete(one) and _is_complete(best)):
            return False
        if one.gains[ACCURACY].value >= best.gains[ACCURACY].value:
            return False
        difference = compare(measured.items, one.setting, best.setting, smallest)[ACCURACY]
        return difference.outcome is Outcome.WORSE

    return [[i for i, one in enumerate(candidates) if is_worse(one, best)] for best in candidates]


def _beats(
    one: Candidate,
    sft: Candidate,
    section: Section,
    measured: Measured,
    smallest: SmallestGain,
    n_others: int,
) -> Pair:
    """Gain over a run of SFT, and the most methods beside which it is worth having and certain.

    The more methods are compared at once, the wider the interval (Bonferroni), so the number is
    found by bisection.
    """
    floors = measured.floors.get(section.model, UNMEASURED)

    def gain(n: int) -> float | None:
        """The gain, if it counts beside this number of methods."""
        level = 1 - (1 - LEVEL) / n
        found = compare(measured.items, one.setting, sft.setting, smallest, level, floors)
        difference = found.get(section.measure)
        is_better = difference is not None and difference.outcome is Outcome.BETTER
        return difference.value if difference is not None and is_better else None

    if not (_is_complete(one) and _is_complete(sft)) or (value := gain(1)) is None:
        return None
    low, high = 1, n_others
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if gain(middle) is not None else (low, middle - 1)
    return value, low
