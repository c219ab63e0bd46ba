"""How much general ability a run may lose, and what the 95 % interval of its loss says about it.

A loss is *within* the tolerance if its whole interval is, *exceeds* it if the whole interval is
beyond, and otherwise these items *cannot tell*; then it is stated how many could.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from sft_tradeoff.analysis.scores import Row
from sft_tradeoff.analysis.tradeoff import CODE_LENGTH, LEVEL
from sft_tradeoff.study.names import parse_measures
from sft_tradeoff.system.console import UserError

ACCURACY = "accuracy"
# General measure -> its column in the table, and the sign that makes a change a loss.
GENERAL = {
    CODE_LENGTH: ("general_bits_per_byte_difference", 1),
    ACCURACY: ("general_score_difference", -1),
}
DEFAULT_ALLOWED = 0.01
MOST_ITEMS = 1_000_000
ROUNDING = 1e-9  # a standard error below this share of the value is rounding
Tolerance = dict[str, float]  # measure -> largest loss allowed


class Verdict(StrEnum):
    """What the interval of a general loss says about the tolerance."""

    WITHIN = "within"
    EXCEEDS = "exceeds"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Loss:
    """General loss of one run in one measure, positive where θ0 was better.

    Args:
        value: The loss: bits per byte gained, or accuracy (a fraction) lost.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        allowed: The tolerance; infinite for a measure that is no part of it.
        verdict: What the interval says.
        n_items: Items behind it.
        n_items_needed: With about so many the interval would clear the tolerance, if the loss
            stayed what it is; None where it does already, or no number of items would do.
    """

    value: float
    low: float
    high: float
    allowed: float
    verdict: Verdict
    n_items: int
    n_items_needed: int | None


def parse_tolerance(text: str) -> Tolerance:
    """Read ``bits_per_byte=0.01 accuracy=0.02``: the largest general loss allowed, by measure.

    Raises:
        UserError: If a measure is unknown or named twice, or a number is not one in [0, 1].
    """
    return read_measures(text, "tolerance", GENERAL)


def read_measures(text: str, key: str, known: Collection[str]) -> dict[str, float]:
    """Read ``measure=number ...``, see :func:`parse_measures`; errors name the setting ``key``.

    Raises:
        UserError: If a measure is unknown or given twice, or its number is not in [0, 1].
    """
    try:
        return parse_measures(text, known)
    except ValueError as error:
        raise UserError(f"{key}: {error}") from None


def complete_tolerance(tolerance: Tolerance, table: pd.DataFrame) -> Tolerance:
    """Fill in the default: 0.01 bits per byte, or 0.01 of accuracy without any code length.

    Code length comes first because the accuracies of a small suite cannot decide at one point.
    Empty where the study measured nothing general.

    Raises:
        UserError: If a measure is asked for that the study's suite does not have.
    """
    measured = [name for name, (column, _) in GENERAL.items() if table[column].notna().any()]
    for name in tolerance:
        if name not in measured:
            raise UserError(
                f"tolerance: {name} is not measured by this study's general suite (measured: "
                f"{', '.join(measured) or 'nothing'}); leave it out, or add a task to "
                "evaluation.tasks"
            )
    return tolerance or dict.fromkeys(measured[:1], DEFAULT_ALLOWED)


def judge(low: float, high: float, allowed: float) -> Verdict:
    """Compare the interval of a loss with the loss allowed; NaN bounds tell nothing."""
    if high <= allowed:
        return Verdict.WITHIN
    return Verdict.EXCEEDS if low > allowed else Verdict.CANNOT_TELL


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """One measure beyond its tolerance is enough to exceed; to be within, all have to be."""
    if Verdict.EXCEEDS in verdicts:
        return Verdict.EXCEEDS
    all_within = bool(verdicts) and set(verdicts) == {Verdict.WITHIN}
    return Verdict.WITHIN if all_within else Verdict.CANNOT_TELL


def no_change_bound(n: int, level: float) -> float:
    """Largest share of changed items when none of n changed: −ln(α/2) / n, the "rule of three".

    Without it an accuracy that did not change on 24 items would count as known exactly, because
    its standard error is zero.
    """
    return -math.log((1 - level) / 2) / n if n else math.inf


def is_degenerate(value: float, noise: float) -> bool:
    """Whether all items gave the same, other than 0: copies of one item, which show no spread.

    A continuous score that no item changed is another matter: then it is the same model.
    """
    return noise <= ROUNDING * abs(value) and value != 0


def items_needed(n: int, noise: float, bound: float, distance: float) -> int | None:
    """Items at which an interval would be no wider than a distance d on each side.

    Noise h shrinks with √n, so it takes n (h/d)²; the bound b of :func:`no_change_bound` with n, so
    n b/d.

    Args:
        n: Items behind the interval.
        noise: Its half width by the standard error.
        bound: Its half width at least; 0 where scores are not discrete.
        distance: From the estimate to what it is compared with, ≥ 0.

    Returns:
        The number; None where the interval is that narrow already, or no number of items that
        anybody has (:data:`MOST_ITEMS`) would do.
    """
    if not 0 < distance < max(noise, bound) < MOST_ITEMS * distance:
        return None
    needed = n * max((noise / distance) ** 2, bound / distance)
    return math.ceil(needed) if needed <= MOST_ITEMS else None


def loss_of(row: Row, measure: str, allowed: float, sizes: Sequence[int]) -> Loss:
    """Judge one general measure of one run.

    Args:
        row: The run's row of the trade-off.
        measure: A key of :data:`GENERAL`.
        allowed: Largest loss allowed, ≥ 0.
        sizes: Number of items of each benchmark behind the measure, at least one.
    """
    column, sign = GENERAL[measure]
    value, noise = sign * row[column], (row[f"{column}_high"] - row[f"{column}_low"]) / 2
    # The smallest benchmark counts as much as the largest in the mean of accuracies.
    smallest = len(sizes) * min(sizes)
    bound = no_change_bound(smallest, LEVEL) if measure == ACCURACY else 0.0
    if measure != ACCURACY and is_degenerate(value, noise):
        noise = math.nan
    low, high = value - max(noise, bound), value + max(noise, bound)
    n, distance = sum(sizes), abs(allowed - value)
    needed = items_needed(n, noise, bound, distance)
    return Loss(value, low, high, allowed, judge(low, high, allowed), n, needed)
