"""Notes of the recommendation: what the choice rests on, what is unknown, what to try next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from sft_tradeoff.analysis.comparison import NLL, Difference, Outcome
from sft_tradeoff.analysis.recommendation import Candidate, MethodResult, Section
from sft_tradeoff.analysis.tolerance import ACCURACY, Tolerance, Verdict
from sft_tradeoff.report.recommendation_numbers import (
    UNITS,
    difference_text,
    interval_text,
    loss_text,
    more_items,
    rate_text,
    run_name,
)

DOMAIN = {ACCURACY: "accuracy", NLL: "NLL"}
STEP = 3.0  # factor to the next learning rate, if only one was tried


def notes(section: Section, tolerance: Tolerance) -> list[str]:
    """All notes on one model and domain."""
    return [
        *_on_the_parts(section, tolerance),
        *_on_the_measure(section),
        *_on_no_comparison(section),
        *(_on_a_method(method, section) for method in section.methods if method.against_sft),
        *_on_other_losses(section, tolerance),
        *_on_edges(section),
        *_on_undecided(section, tolerance),
        *_on_missing(section),
    ]


# --- the choice -----------------------------------------------------------------------------------


def _on_the_parts(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """The benchmarks behind the general loss: the mean may hide a large loss in one of them."""
    if (chosen := section.chosen) is None:
        return
    for name, allowed in tolerance.items():
        parts = [
            f"{benchmark} {interval_text(_as_loss(part), name)} ({part.n_items} items)"
            + (", which alone exceeds the tolerance" if -part.value > allowed else "")
            for benchmark, part in chosen.parts.get(name, {}).items()
        ]
        if parts:
            yield (
                f"The general loss of {run_name(chosen)} in {UNITS[name]} is the mean of: "
                f"{'; '.join(parts)}."
            )


def _as_loss(gain: Difference) -> Difference:
    return replace(gain, value=-gain.value, low=-gain.high, high=-gain.low)


def _on_the_measure(section: Section) -> Iterator[str]:
    if section.measure == NLL and any(c.gains for m in section.methods for c in m.candidates):
        yield (
            "Domain accuracy does not distinguish any run from θ₀, so NLL decides. This favors "
            "standard fine-tuning: methods that give hard tokens less weight minimize a different "
            "loss."
        )
    if section.base_score == 0:
        yield (
            "θ₀ has no correct answer. If it answers in another format, or its answers are "
            "truncated at `max_new_tokens`, part of a gain in accuracy is only a gain in format."
        )


def _on_no_comparison(section: Section) -> Iterator[str]:
    if section.chosen and any(m.label == section.sft and m.best is None for m in section.methods):
        yield (
            f"No run of {section.sft} both has all domain scores and is certain to be within the "
            "tolerance, so nothing is compared with it: this choice does not mean that another "
            "method is better."
        )


def _on_a_method(method: MethodResult, section: Section) -> str:
    difference, what = method.against_sft[section.measure], DOMAIN[section.measure]
    found = f"difference {difference_text(difference, section.measure)} in domain {what}"
    match difference.outcome:
        case Outcome.BETTER:
            return f"{method.label} gains more than {section.sft} within the tolerance: {found}."
        case Outcome.WORSE:
            return f"{method.label} gains less than {section.sft} within the tolerance: {found}."
        case Outcome.ALIKE:
            return (
                f"{method.label} gains about as much as {section.sft} within the tolerance: "
                f"{found}; it would have to exceed {difference.smallest:g} to be worth having."
            )
    return (
        f"{method.label} cannot be distinguished from {section.sft} within the tolerance: {found}"
        f"{more_items(difference.n_items, difference.n_items_needed, 'test items')}."
    )


def _on_other_losses(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """Significant losses in measures that the tolerance does not limit."""
    if (chosen := section.chosen) is None:
        return
    for name, loss in chosen.losses.items():
        if name not in tolerance and loss.low > 0:
            yield (
                f"Measurable, but not limited by the tolerance: {run_name(chosen)} loses "
                f"{loss_text(loss, name)}; consider a tolerance for it too."
            )


# --- the grid of learning rates -------------------------------------------------------------------


def _on_edges(section: Section) -> Iterator[str]:
    """Learning rates to add, where the grid is too short or too coarse."""
    yield from _grouped(
        section,
        lambda m: _beyond(m, -1) if m.largest == m.candidates[-1].learning_rate else None,
        "The largest learning rate tried is within the tolerance, so the limit is unknown; try {}.",
    )
    yield from _grouped(
        section,
        lambda m: _beyond(m, 0) if _is_best_at_its_smallest(m) else None,
        "The smallest learning rate tried is the best within the tolerance; try {} too.",
    )
    yield from _grouped(
        section,
        lambda m: _beyond(m, 0) if m.candidates[0].verdict is Verdict.EXCEEDS else None,
        "Even the smallest learning rate tried exceeds the tolerance; try {}.",
    )
    yield from _grouped(
        section,
        lambda m: _between(m, section.measure),
        "The limit lies between two learning rates tried, and the larger one learned more; try {}.",
    )
    for method in section.methods:
        stop = _stopped_by(method)
        beyond = [c for c in method.candidates if c.verdict is Verdict.WITHIN and _above(c, method)]
        if stop and beyond:
            judged = "exceeds it" if stop.verdict is Verdict.EXCEEDS else "cannot be judged"
            why = "it has no score" if stop.reason else "noise or unstable training"
            yield (
                f"{run_name(beyond[-1])} is within the tolerance, but does not count because "
                f"{rate_text(stop.learning_rate)} {judged}: {why}; look at the loss curves."
            )


def _is_best_at_its_smallest(method: MethodResult) -> bool:
    best, smallest = method.best, method.candidates[0].learning_rate
    return best is not None and best.learning_rate == smallest != method.largest


def _between(method: MethodResult, measure: str) -> float | None:
    """Geometric mean of the largest learning rate within the tolerance and the next larger one.

    None unless the next one exceeds the tolerance, is more than :data:`STEP` times as large, and
    gained more than the best run within the tolerance, by an amount worth having.
    """
    above = [c for c in method.candidates if method.largest and c.learning_rate > method.largest]
    if not above or above[0].verdict is not Verdict.EXCEEDS:
        return None
    gains = [c.gains[measure] for c in (method.best, above[0]) if c and c.gains]
    if len(gains) == 2 and gains[1].value - gains[0].value <= gains[0].smallest:
        return None
    low, high = method.largest or math.nan, above[0].learning_rate
    return float(f"{math.sqrt(low * high):.1e}") if high > STEP * low else None


def _above(candidate: Candidate, method: MethodResult) -> bool:
    return method.largest is None or candidate.learning_rate > method.largest


def _stopped_by(method: MethodResult) -> Candidate | None:
    """The first run that is not within the tolerance, with which the search ends."""
    return next((c for c in method.candidates if c.verdict is not Verdict.WITHIN), None)


def _grouped(
    section: Section, suggest: Callable[[MethodResult], float | None], text: str
) -> Iterator[str]:
    """One note for all methods that need it.

    Args:
        section: The section.
        suggest: Method -> learning rate to try; None if the note does not apply.
        text: The note, with a place for the suggestions.
    """
    found = [(m.label, rate) for m in section.methods if (rate := suggest(m)) is not None]
    if found:
        yield text.format(", ".join(f"{label} at {rate_text(rate)}" for label, rate in found))


def _beyond(method: MethodResult, end: int) -> float | None:
    """The learning rate one step beyond the first (0) or last (-1) of the grid.

    The step is the grid's own at that end. None if the result is not between 0 and 1.
    """
    rates = [c.learning_rate for c in method.candidates]
    inner = rates[1 if end == 0 else -2] if len(rates) > 1 else None
    factor = rates[end] / inner if inner else (STEP if end else 1 / STEP)
    rate = float(f"{rates[end] * factor:.1e}")
    return rate if 0 < rate < 1 else None


# --- what is unknown ------------------------------------------------------------------------------


def _on_undecided(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """For each method whose search ends with an undecided run, how many items could tell."""
    for candidate in map(_stopped_by, section.methods):
        if not candidate or candidate.verdict is not Verdict.CANNOT_TELL or candidate.reason:
            continue
        open_losses = [
            f"{loss_text(loss, name)}{more_items(loss.n_items, loss.n_items_needed, 'items')}"
            for name in tolerance
            if (loss := candidate.losses.get(name)) and loss.verdict is Verdict.CANNOT_TELL
        ]
        if open_losses:
            yield f"{run_name(candidate)} cannot be judged: {'; '.join(open_losses)}."


def _on_missing(section: Section) -> Iterator[str]:
    settings: dict[str, list[str]] = {}
    for candidate in (c for m in section.methods for c in m.candidates if c.reason):
        settings.setdefault(candidate.reason.replace("θ0", "θ₀"), []).append(run_name(candidate))
    for reason, names in settings.items():
        yield f"Scores are missing for {', '.join(names)}: {reason}."
