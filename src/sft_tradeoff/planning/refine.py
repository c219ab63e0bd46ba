"""Add learning rates between the largest within the tolerance and the first that exceeds it.

Each round looks at the results of every method that trains and halves, on a log axis, the bracket
around its break-point (:mod:`sft_tradeoff.analysis.breakpoints`). If no rate is within, or none
exceeds, the grid is extended by a factor of √10. So a study may begin with a single rate in the
middle of what is plausible: a bracket of √10 then takes two or three trainings per method, where a
grid takes one per rate. Every method looks for itself; those of one round are trained side by side.

Averages of weights (``wise_ft``) ask for no rates, but are run at all rates of the method that they
average, from the same training.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sft_tradeoff.analysis.breakpoints import BreakPoint, break_points
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.tables import read_over_seeds
from sft_tradeoff.analysis.tolerance import Tolerance, complete_tolerance, parse_tolerance
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.report.publish_checks import check_finished
from sft_tradeoff.report.recommend import add_tolerance_argument
from sft_tradeoff.study.added_rates import (
    RESULTS,
    PlannedRate,
    planned_study,
    read_planned,
    write_planned,
)
from sft_tradeoff.study.config import STUDIES, Study
from sft_tradeoff.study.names import format_learning_rate, measures_text
from sft_tradeoff.study.runs import run_table
from sft_tradeoff.study.spec import SMALLEST_RATE
from sft_tradeoff.system.console import UserError, run_main
from sft_tradeoff.system.text import listing

logger = logging.getLogger(__name__)

STEP = math.sqrt(10)  # factor beyond the grid
REACH = 100  # largest factor beyond the rates of the study file
LARGEST_RATE = 0.5


class Further(NamedTuple):
    """What one method needs next.

    Args:
        rates: Rates to add; none if it is done.
        reason: Why these, or why none.
    """

    rates: tuple[float, ...]
    reason: str


def further_rates(point: BreakPoint, ratio: float, grid: Sequence[float]) -> Further:
    """Choose the next rates of one method.

    Rates between the largest within and the first that exceeds, of which the items cannot tell,
    leave two gaps beside them that are narrowed instead of the bracket.

    Args:
        point: What is known about its break-point.
        ratio: Gaps up to this ratio are not narrowed.
        grid: Rates of the study file; rates outside :data:`REACH` times its range are not tried.
    """
    low, high = point.bracket
    known = sorted({*(judged.rate for judged in point.rates), *point.missing})
    between = [rate for rate in known if low < rate < high]
    if not point.rates:
        return Further((), "no rate has a score")
    ends = [low, *between, high]
    gaps = [(a, b) for a, b in {(ends[0], ends[1]), (ends[-2], ends[-1])} if _is_wide(a, b, ratio)]
    found = {rate for a, b in gaps if (rate := _next(a, b, known, grid)) is not None}
    rates = tuple(sorted(found - set(known)))
    return Further(rates, _reason(point, between, bool(gaps) and not rates))


def _is_wide(low: float, high: float, ratio: float) -> bool:
    return low == 0 or high / low > ratio


def _next(low: float, high: float, known: Sequence[float], grid: Sequence[float]) -> float | None:
    """The rate that narrows a gap; None if it would be too far from the grid."""
    if low == 0:
        rate = _rounded(known[0] / STEP)
        return rate if rate >= max(min(grid) / REACH, SMALLEST_RATE) else None
    if high == math.inf:
        rate = _rounded(known[-1] * STEP)
        return rate if rate <= min(max(grid) * REACH, LARGEST_RATE) else None
    return _rounded(math.sqrt(low * high))


def _rounded(rate: float) -> float:
    """To two digits, which keep names short."""
    return float(f"{rate:.1e}")


def _reason(point: BreakPoint, between: Sequence[float], is_far: bool) -> str:
    low, high = point.bracket
    known = [
        f"{format_learning_rate(low)} is within" if low else "no rate is within",
        "no rate exceeds" if high == math.inf else f"{format_learning_rate(high)} exceeds",
    ]
    if between:
        known.append(f"the items cannot tell at {_listed(between)}")
    if is_far:
        known.append(f"further rates would be more than {REACH} times beyond the study's")
    return ", ".join(known)


def _listed(rates: Sequence[float]) -> str:
    return listing([format_learning_rate(rate) for rate in rates])


def refine(study_file: Path, tolerance: str = "") -> int:
    """Plan one more round of learning rates for a finished study.

    Args:
        study_file: The study.
        tolerance: Replaces the study's own; empty: does not.

    Returns:
        Number of rates added to ``results/<study>/added_rates.yaml``.

    Raises:
        UserError: If the study is not finished, or does not say how to refine.
    """
    study = planned_study(study_file)
    if study.refine is None:
        raise UserError(
            f"{study_file}: refine: not set; add e.g. 'refine: {{rounds: 3, ratio: 2}}'"
        )
    results = RESULTS / study.study
    check_finished(study, results, then="refine")
    table = read_over_seeds(results / "tradeoff_over_seeds.csv")
    text = tolerance if tolerance.strip() else measures_text(study.tolerance)
    allowed = complete_tolerance(parse_tolerance(text), table)
    measured = read_measured(run_table(study), results / "runs")
    planned = read_planned(results)
    if not allowed:
        logger.info("the study has no general suite, so there is no tolerance to refine for")
    new = _round(study, break_points(measured, allowed), planned, allowed) if allowed else []
    if new:
        write_planned(results, [*planned, *new])
    return len(new)


def _round(
    study: Study,
    points: Sequence[BreakPoint],
    planned: Sequence[PlannedRate],
    tolerance: Tolerance,
) -> list[PlannedRate]:
    """Rates of the next round, and a line of the log for every method."""
    assert study.refine is not None
    text = measures_text(tolerance)
    done = max((rate.round for rate in planned if rate.tolerance == text), default=0)
    new = []
    for point in points:
        method = next(m for m in study.methods if m.label == point.label)
        if METHODS[method.name].merge is not None or point.domain in study.start_only:
            continue
        grid = getattr(study.learning_rates, METHODS[method.name].parameterization)
        rates, reason = further_rates(point, study.refine.ratio, grid)
        where = f"{point.model}, {point.domain}, {point.label}: {reason}"
        if rates and done >= study.refine.rounds:
            logger.info("%s; all %d rounds are used up", where, study.refine.rounds)
        else:
            logger.info("%s; %s", where, f"adding {_listed(rates)}" if rates else "done")
            new += [
                PlannedRate(
                    model=point.model,
                    domain=point.domain,
                    method=point.label,
                    learning_rate=rate,
                    round=done + 1,
                    tolerance=text,
                )
                for rate in rates
            ]
    return new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff refine``."""
    parser.add_argument("study", help="name of a file in config/studies, without .yaml")
    add_tolerance_argument(parser, default="the study file's")


def main(args: argparse.Namespace) -> None:
    """Plan one more round, and say how to run it."""
    with run_main("refine"):
        if n := refine(STUDIES / f"{args.study}.yaml", args.tolerance):
            print(f"{n} learning rates added; run the study again")
        else:
            print("no learning rates added")
