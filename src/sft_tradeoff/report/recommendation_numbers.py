"""How the page of the recommendation writes numbers."""

from __future__ import annotations

import math

from sft_tradeoff.analysis.comparison import NLL, Difference
from sft_tradeoff.analysis.recommendation import Candidate
from sft_tradeoff.analysis.tables import CODE_LENGTH
from sft_tradeoff.analysis.tolerance import ACCURACY, Loss
from sft_tradeoff.report.tables import cell
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.study.names import format_learning_rate

UNITS = {CODE_LENGTH: "bits per byte", ACCURACY: "general accuracy", NLL: "nats per token"}
DECIMALS = {CODE_LENGTH: 4, ACCURACY: 3, NLL: 3}


def run_name(candidate: Candidate) -> str:
    """Method and learning rate of a run."""
    return f"{candidate.label} at learning rate {rate_text(candidate.learning_rate)}"


def rate_text(value: float | None) -> str:
    """A learning rate, or ``none``."""
    return "none" if value is None else format_learning_rate(value)


def number_text(value: float, measure: str) -> str:
    """A value, rounded as is usual for its measure."""
    return cell(value, math.nan, DECIMALS[measure])


def interval_text(found: Loss | Difference | Interval, measure: str) -> str:
    """A value with its interval: ``0.005 [0.003, 0.007]``."""
    value, low, high = (number_text(x, measure) for x in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def loss_text(loss: Loss, measure: str) -> str:
    """A general loss with interval and unit."""
    return f"{interval_text(loss, measure)} {UNITS[measure]}"


def difference_text(difference: Difference, measure: str) -> str:
    """A difference with sign and interval."""
    text = interval_text(difference, measure)
    return text if difference.value < 0 or text.startswith(("−", "–")) else f"+{text}"


def more_items(n: int, needed: int | None, what: str) -> str:
    """How many items could decide, to two significant digits; empty if that is unknown."""
    if needed is None:
        return ""
    digits = 10 ** max(0, len(str(needed)) - 2)
    return f" (about {math.ceil(needed / digits) * digits:,} {what} instead of {n:,} could tell)"


def duration(seconds: float) -> str:
    """A time in a readable unit."""
    if math.isnan(seconds):
        return "an unknown time"
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def memory_text(size: float) -> str:
    """A size in GB."""
    return "unknown memory" if math.isnan(size) else f"{size / 1e9:.1f} GB"
