"""The tolerance: how much general ability a run may lose, and verdicts on the loss measured.

A loss is *within* the tolerance if its whole 95 % interval is, and *exceeds* it if the whole
interval lies above. Otherwise the items *cannot tell*; then the number of items that could is
estimated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.noise_floor import known
from sft_tradeoff.analysis.tables import CODE_LENGTH, FLOOR, LEVEL, RANGES, UNBOUNDED, Row
from sft_tradeoff.stats.estimates import no_change_bound, within
from sft_tradeoff.study.names import parse_measures
from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = "accuracy"
# General measure -> its column in the table, and the sign that turns a change into a loss.
GENERAL = {
    CODE_LENGTH: ("general_bits_per_byte_difference", 1),
    ACCURACY: ("general_score_difference", -1),
}
DEFAULT_ALLOWED = 0.01
MOST_ITEMS = 1_000_000
ROUNDING = 1e-9  # a standard error below this fraction of the value is rounding
Tolerance = dict[str, float]  # measure -> largest loss allowed


class Verdict(StrEnum):
    """What the interval of a general loss says about the tolerance."""

    WITHIN = "within"
    EXCEEDS = "exceeds"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Loss:
    """General loss of one run in one measure, positive if θ0 was better.

    Args:
        value: The loss: increase in bits per byte, or decrease in accuracy (a fraction).
        low: Lower bound of its 95 % interval; that of an accuracy lies within [−1, 1].
        high: Upper bound.
        allowed: The tolerance; infinite for a measure that has none.
        verdict: What the interval says.
        n_items: Number of items.
        n_items_needed: About how many items could tell, if the loss stayed the same; None if these
            can, or no feasible number could.
        noise_floor: Part of the half width of the interval that no number of items reduces: the
            numerical noise. NaN if it was not measured.
    """

    value: float
    low: float
    high: float
    allowed: float
    verdict: Verdict
    n_items: int
    n_items_needed: int | None
    noise_floor: float = math.nan


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
    """Fill in the default: 0.01 bits per byte, or 0.01 in accuracy if no code length is measured.

    Code length comes first because the accuracies of a small suite cannot resolve one percentage
    point. Empty if the study has no general suite.

    Raises:
        UserError: If the study's general suite does not measure what the tolerance names.
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
    """Compare the interval of a loss with the tolerance; NaN bounds cannot tell."""
    if high <= allowed:
        return Verdict.WITHIN
    return Verdict.EXCEEDS if low > allowed else Verdict.CANNOT_TELL


def n_within(verdicts: Iterable[Verdict]) -> int:
    """Number of rates within the tolerance, tested in fixed sequence from the smallest upwards.

    The test stops at the first that is not within, so it needs no correction for many rates.

    Args:
        verdicts: Of rates in increasing order.
    """
    return sum(1 for _ in takewhile(lambda verdict: verdict is Verdict.WITHIN, verdicts))


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """A run exceeds if one measure does; it is within only if all measures are."""
    if Verdict.EXCEEDS in verdicts:
        return Verdict.EXCEEDS
    all_within = bool(verdicts) and set(verdicts) == {Verdict.WITHIN}
    return Verdict.WITHIN if all_within else Verdict.CANNOT_TELL


def is_degenerate(value: float, noise: float) -> bool:
    """Whether all items gave the same value other than 0, so that they show no spread.

    They may be copies of one item. If all values are 0, in a continuous score, the models are the
    same.
    """
    return noise <= ROUNDING * abs(value) and value != 0


def items_needed(n: int, noise: float, bound: float, distance: float) -> int | None:
    """Number of items for which the half width of an interval is at most d.

    The noise h shrinks with √n, so it takes n (h/d)² items; the bound b of
    :func:`~sft_tradeoff.stats.estimates.no_change_bound` shrinks with n, so it takes n b/d.

    Args:
        n: Items behind the interval.
        noise: Half width h from the standard error.
        bound: Minimum b of the half width; 0 if scores are not discrete.
        distance: Distance d from the estimate to the value it is compared with, ≥ 0.

    Returns:
        The number; None if the interval is narrow enough already, or more than :data:`MOST_ITEMS`
        would be needed.
    """
    if not 0 < distance < max(noise, bound) < MOST_ITEMS * distance:
        return None
    needed = n * max((noise / distance) ** 2, bound / distance)
    return math.ceil(needed) if needed <= MOST_ITEMS else None


def loss_of(
    row: Row,
    measure: str,
    allowed: float,
    sizes: Sequence[int],
    clusters: Sequence[int] | None = None,
) -> Loss:
    """Judge one general measure of one run.

    Args:
        row: The run's row of the trade-off.
        measure: A key of :data:`GENERAL`.
        allowed: Tolerance, ≥ 0.
        sizes: Number of items of each benchmark in the measure, not empty.
        clusters: Number of independent units of each; None: every item is one.
    """
    column, sign = GENERAL[measure]
    value = sign * row[column]
    floor = row.get(f"{column}{FLOOR}", math.nan)
    # The table's bounds lie within the range of the measure, but seldom are both cut off.
    half = max(row[column] - row[f"{column}_low"], row[f"{column}_high"] - row[column])
    noise = half - known(floor)
    # In the mean of accuracies the smallest benchmark weighs as much as the largest.
    smallest = len(sizes) * min(sizes if noise > 0 else clusters or sizes)
    bound = no_change_bound(smallest, LEVEL) if measure == ACCURACY else 0.0
    if measure != ACCURACY and is_degenerate(value, noise):
        noise = math.nan
    half = max(noise, bound) + known(floor)
    low, high = within(value - half, value + half, *RANGES.get(column, UNBOUNDED))
    n, distance = sum(sizes), abs(allowed - value) - known(floor)
    needed = items_needed(n, noise, bound, distance)
    return Loss(value, low, high, allowed, judge(low, high, allowed), n, needed, floor)
