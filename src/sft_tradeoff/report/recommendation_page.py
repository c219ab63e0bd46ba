"""The recommendation as one page of Markdown: what to do, what it rests on, what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from sft_tradeoff.analysis.comparison import NLL, Difference, Outcome, SmallestGain
from sft_tradeoff.analysis.recommendation import Candidate, MethodResult, Recommendation, Section
from sft_tradeoff.analysis.tables import CODE_LENGTH
from sft_tradeoff.analysis.tolerance import ACCURACY, Tolerance, Verdict
from sft_tradeoff.report.recommendation_numbers import (
    UNITS,
    difference_text,
    duration,
    interval_text,
    loss_text,
    memory_text,
    more_items,
    number_text,
    rate_text,
    run_name,
)

DOMAIN = {ACCURACY: "accuracy", NLL: "NLL"}
MEANING = {
    CODE_LENGTH: "code length grows by at most {} bits per byte",
    ACCURACY: "accuracy falls by at most {} (a fraction)",
}
STEP = 3.0  # to the next learning rate, where a single one was tried
WORDS = (
    "θ₀ is the model before training; NLL the mean loss of the right answers in nats per token; "
    "bits per byte how long a text is when the model codes it: less is better in both. Intervals "
    "are 95 %; those of accuracies are never narrower than n unchanged items allow, −ln(0.025) / n."
)


def to_markdown(
    found: Recommendation, grading: Mapping[str, str] | None = None, warning: str = ""
) -> str:
    """Render the page: a part for each model and domain.

    Args:
        found: What is recommended.
        grading: What to say about how a domain is graded, by its label.
        warning: About the data, first of all.
    """
    parts = [
        "# Recommendation",
        warning,
        _terms(found.tolerance),
        _worth_having(found.smallest_gain),
        WORDS,
        _seeds(found.n_seeds),
    ]
    for section in found.sections:
        parts += [
            f"## {section.model}, {section.domain}",
            headline(section, found.tolerance),
            (grading or {}).get(section.domain, ""),
            _method_table(section),
            *([_rate_table(section, found.tolerance)] if found.tolerance else []),
            "\n".join(f"- {note}" for note in notes(section, found.tolerance)),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _terms(tolerance: Tolerance) -> str:
    if not tolerance:
        return (
            "The study measures no general ability, so no tolerance can be checked: add tasks to "
            "`evaluation.tasks`."
        )
    limits = " and ".join(MEANING[name].format(f"{x:g}") for name, x in tolerance.items())
    return (
        f"Tolerance: on the general suite, {limits}, against θ₀ on the same items. A run is "
        "*within* it if its whole 95 % interval is, *exceeds* it if the whole interval is beyond; "
        "otherwise these items *cannot tell*."
    )


def _worth_having(smallest: SmallestGain) -> str:
    return (
        "A gain on the domain counts if it is worth having, that is more than "
        f"{smallest[ACCURACY]:g} of accuracy (a fraction) or {smallest[NLL]:g} nats per token of "
        "NLL, and its whole interval lies above 0."
    )


def _seeds(n_seeds: int) -> str:
    if n_seeds > 1:
        return f"Means over {n_seeds} seeds, whose spread is part of the intervals."
    return "One seed: the intervals hold the noise of the items, not that of training again."


def headline(section: Section, tolerance: Tolerance) -> str:
    """Say what to do, or why nothing can be recommended."""
    best = section.chosen
    if best is None:
        return _no_headline(section, tolerance)
    losses = "; ".join(loss_text(best.losses[name], name) for name in tolerance)
    text = (
        f"**Train with {run_name(best)}.** General loss: {losses}. {_domain(section, best)} One "
        f"run took {duration(best.cost.time_s)} and {memory_text(best.cost.peak_memory_bytes)}."
    )
    return text if _is_better(best.gains[section.measure]) else f"{text} {_NOTHING_LEARNED}"


def _is_better(gain: Difference) -> bool:
    return gain.outcome is Outcome.BETTER


def _domain(section: Section, best: Candidate) -> str:
    """The measure that decides comes first; an accuracy that says nothing is said to."""
    score, base_score = (number_text(x, ACCURACY) for x in (best.domain_score, section.base_score))
    nll = f"NLL {number_text(best.domain_nll, NLL)} (θ₀: {number_text(section.base_nll, NLL)})"
    if section.measure == ACCURACY:
        return f"Domain accuracy {score} (θ₀: {base_score}), {nll}."
    n_items = best.gains[ACCURACY].n_items
    return (
        f"Domain {nll}. **Its accuracy, {score} (θ₀: {base_score}), cannot be told from θ₀'s on "
        f"{n_items} test items**: what was learned may be the form of the answers alone."
    )


_NOTHING_LEARNED = (
    "**But it is not better than θ₀ on the domain by a gain that counts**: train longer, on more "
    "examples, or allow more."
)


def _no_headline(section: Section, tolerance: Tolerance) -> str:
    candidates = [c for m in section.methods for c in m.candidates]
    if not tolerance:
        return "**Nothing can be recommended**: no general score."
    if all(c.verdict is Verdict.EXCEEDS for c in candidates):
        return (
            "**No run stays within the tolerance**, not even at the smallest learning rate. Add "
            "smaller ones, or allow more."
        )
    return (
        "**Nothing can be recommended at this sample size**: no run is surely within the "
        "tolerance, and not all exceed it. See below for how many items could tell."
    )


# --- tables ---------------------------------------------------------------------------------------


def _method_table(section: Section) -> str:
    rows = [
        [
            "Method", "Largest rate within", "Best within", "Domain accuracy", "Domain NLL",
            *(f"Gain over {section.sft}: {name}" for name in DOMAIN.values() if section.sft),
            "Time", "Peak memory",
        ]
    ]  # fmt: skip
    for method in section.methods:
        best = method.best
        shown = _best_cells(best, method, bool(section.sft)) if best else []
        rows.append([method.label, rate_text(method.largest), *shown])
    return _table(rows)


def _best_cells(best: Candidate, method: MethodResult, has_sft: bool) -> list[str]:
    differences = [
        difference_text(method.against_sft[m], m) if m in method.against_sft else "" for m in DOMAIN
    ]
    return [
        rate_text(best.learning_rate),
        number_text(best.domain_score, ACCURACY),
        number_text(best.domain_nll, NLL),
        *(differences if has_sft else []),
        duration(best.cost.time_s),
        memory_text(best.cost.peak_memory_bytes),
    ]


def _rate_table(section: Section, tolerance: Tolerance) -> str:
    rates = sorted({c.learning_rate for m in section.methods for c in m.candidates})
    heading = f"Loss in {', '.join(UNITS[name] for name in tolerance)} at"
    rows = [[heading, *map(rate_text, rates)]]
    for method in section.methods:
        at = {c.learning_rate: c for c in method.candidates}
        cells = (_verdict_cell(at[rate], tolerance) if rate in at else "" for rate in rates)
        rows.append([method.label, *cells])
    return _table(rows)


def _verdict_cell(candidate: Candidate, tolerance: Tolerance) -> str:
    losses = [number_text(candidate.losses[n].value, n) for n in tolerance if n in candidate.losses]
    return f"{candidate.verdict}: {', '.join(losses)}" if losses else str(candidate.verdict)


def _table(rows: Sequence[Sequence[str]]) -> str:
    width = len(rows[0])
    lines = [rows[0], ["---"] * width, *([*row, *[""] * (width - len(row))] for row in rows[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- notes ----------------------------------------------------------------------------------------


def notes(section: Section, tolerance: Tolerance) -> list[str]:
    """What the choice rests on, what else could be known, and how the grid should grow."""
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


def _on_the_parts(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """What the general loss is the mean of, which may hide one part behind another."""
    if (chosen := section.chosen) is None:
        return
    for name, allowed in tolerance.items():
        parts = [
            f"{benchmark} {interval_text(_as_loss(part), name)} ({part.n_items} items)"
            + (", by itself above the tolerance" if -part.value > allowed else "")
            for benchmark, part in chosen.parts.get(name, {}).items()
        ]
        if parts:
            yield f"General loss of {run_name(chosen)}, {UNITS[name]}: mean of {'; '.join(parts)}."


def _as_loss(gain: Difference) -> Difference:
    return replace(gain, value=-gain.value, low=-gain.high, high=-gain.low)


def _on_the_measure(section: Section) -> Iterator[str]:
    if section.measure == NLL and any(c.gains for m in section.methods for c in m.candidates):
        yield (
            "Domain accuracy cannot tell any run from θ₀, so NLL decides, which favors standard "
            "fine-tuning: methods that weigh hard tokens less minimize another loss."
        )
    if section.base_score == 0:
        yield (
            "No answer of θ₀ counts as right. If it answers in another form, or is cut off at "
            "`max_new_tokens`, a gain in accuracy is partly one of form."
        )


def _on_no_comparison(section: Section) -> Iterator[str]:
    if section.chosen and any(m.label == section.sft and m.best is None for m in section.methods):
        yield (
            f"No run of {section.sft} is surely within the tolerance and has all domain scores, so "
            "nothing is compared with it: the choice does not say that another method is better."
        )


def _on_a_method(method: MethodResult, section: Section) -> str:
    difference, what = method.against_sft[section.measure], DOMAIN[section.measure]
    found = f"gain {difference_text(difference, section.measure)} in domain {what}"
    match difference.outcome:
        case Outcome.BETTER:
            return f"{method.label} buys more than {section.sft} within the tolerance: {found}."
        case Outcome.WORSE:
            return f"{method.label} buys less than {section.sft} within the tolerance: {found}."
        case Outcome.ALIKE:
            return (
                f"{method.label} buys about as much as {section.sft} within the tolerance: "
                f"{found}; more than {difference.smallest:g} would be worth having."
            )
    return (
        f"{method.label} cannot be told from {section.sft} within the tolerance: {found}"
        f"{more_items(difference.n_items, difference.n_items_needed, 'test items')}."
    )


def _on_other_losses(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """What the tolerance does not ask about, and fell all the same."""
    if (chosen := section.chosen) is None:
        return
    for name, loss in chosen.losses.items():
        if name not in tolerance and loss.low > 0:
            yield (
                f"Outside the tolerance, but measurable: {run_name(chosen)} loses "
                f"{loss_text(loss, name)}; set a tolerance for it too."
            )


def _on_edges(section: Section) -> Iterator[str]:
    """Where the grid of learning rates ends before the answer does."""
    yield from _grouped(
        section,
        lambda m: _beyond(m, -1) if m.largest == m.candidates[-1].learning_rate else None,
        "The largest learning rate tried is within the tolerance: the limit is not known; try {}.",
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
        "The limit lies between two learning rates tried, and the one above learned more; try {}.",
    )
    for method in section.methods:
        if below := [c for c in method.candidates if _exceeds_below(c, method)]:
            yield (
                f"{run_name(below[-1])} exceeds the tolerance although "
                f"{rate_text(method.largest)} is within: noise, or unstable training; look at its "
                "loss curve before trusting it."
            )


def _is_best_at_its_smallest(method: MethodResult) -> bool:
    best, smallest = method.best, method.candidates[0].learning_rate
    return best is not None and best.learning_rate == smallest != method.largest


def _between(method: MethodResult, measure: str) -> float | None:
    """The middle of the gap above the largest rate within, if the next exceeds and is far.

    And if it pays: the rate above must have gained more than the best one within, by an amount
    worth having.
    """
    above = [c for c in method.candidates if method.largest and c.learning_rate > method.largest]
    if not above or above[0].verdict is not Verdict.EXCEEDS:
        return None
    gains = [c.gains[measure] for c in (method.best, above[0]) if c and c.gains]
    if len(gains) == 2 and gains[1].value - gains[0].value <= gains[0].smallest:
        return None
    low, high = method.largest or math.nan, above[0].learning_rate
    return float(f"{math.sqrt(low * high):.1e}") if high > STEP * low else None


def _exceeds_below(candidate: Candidate, method: MethodResult) -> bool:
    is_below = method.largest is not None and candidate.learning_rate < method.largest
    return is_below and candidate.verdict is Verdict.EXCEEDS


def _grouped(
    section: Section, suggest: Callable[[MethodResult], float | None], text: str
) -> Iterator[str]:
    """One note for all methods that share it."""
    found = [(m.label, rate) for m in section.methods if (rate := suggest(m)) is not None]
    if found:
        yield text.format(", ".join(f"{label} at {rate_text(rate)}" for label, rate in found))


def _beyond(method: MethodResult, end: int) -> float | None:
    """The next learning rate past one end of a grid (0 or -1), a step like the last one away."""
    rates = [c.learning_rate for c in method.candidates]
    inner = rates[1 if end == 0 else -2] if len(rates) > 1 else None
    factor = rates[end] / inner if inner else (STEP if end else 1 / STEP)
    rate = float(f"{rates[end] * factor:.1e}")
    return rate if 0 < rate < 1 else None


def _on_undecided(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """The runs that could raise the largest rate within, and what would decide about them."""
    for method in section.methods:
        undecided = [
            c for c in method.candidates
            if c.verdict is Verdict.CANNOT_TELL and not c.reason
            and (method.largest is None or c.learning_rate > method.largest)
        ]  # fmt: skip
        for candidate in undecided[:1]:
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
        yield f"Not known about {', '.join(names)}: {reason}."
