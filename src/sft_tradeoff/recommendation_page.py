"""The recommendation as one page of Markdown: what to do, what it rests on, what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sft_tradeoff.aggregate import CODE_LENGTH
from sft_tradeoff.config import format_learning_rate
from sft_tradeoff.recommend import (
    NLL,
    Candidate,
    Difference,
    MethodResult,
    Recommendation,
    Section,
)
from sft_tradeoff.tables import cell
from sft_tradeoff.tolerance import ACCURACY, Loss, Tolerance, Verdict

UNITS = {CODE_LENGTH: "bits per byte", ACCURACY: "general accuracy", NLL: "nats per token"}
DECIMALS = {CODE_LENGTH: 4, ACCURACY: 3, NLL: 3}
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


def to_markdown(found: Recommendation, warning: str = "") -> str:
    """Render the page: one part for each model and domain, after a warning about the data."""
    parts = ["# Recommendation", warning, _terms(found.tolerance), WORDS, _seeds(found.n_seeds)]
    for section in found.sections:
        parts += [
            f"## {section.model}, {section.domain}",
            headline(section, found.tolerance),
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


def _seeds(n_seeds: int) -> str:
    if n_seeds > 1:
        return f"Means over {n_seeds} seeds, whose spread is part of the intervals."
    return "One seed: the intervals hold the noise of the items, not that of training again."


def headline(section: Section, tolerance: Tolerance) -> str:
    """Say what to do, or why nothing can be recommended."""
    best = section.chosen
    if best is None:
        return _no_headline(section, tolerance)
    losses = "; ".join(_loss(best.losses[name], name) for name in tolerance)
    text = (
        f"**Train with {_name(best)}.** General loss: {losses}. {_domain(section, best)} One run "
        f"took {_duration(best.cost.time_s)} and {_memory(best.cost.peak_memory_bytes)}."
    )
    return text if best.gains[section.measure].is_better else f"{text} {_NOTHING_LEARNED}"


def _domain(section: Section, best: Candidate) -> str:
    """The measure that decides comes first; an accuracy that says nothing is said to."""
    score, base_score = (_number(x, ACCURACY) for x in (best.domain_score, section.base_score))
    nll = f"NLL {_number(best.domain_nll, NLL)} (θ₀: {_number(section.base_nll, NLL)})"
    if section.measure == ACCURACY:
        return f"Domain accuracy {score} (θ₀: {base_score}), {nll}."
    n_items = best.gains[ACCURACY].n_items
    return (
        f"Domain {nll}. **Its accuracy, {score} (θ₀: {base_score}), cannot be told from θ₀'s on "
        f"{n_items} test items**: what was learned may be the form of the answers alone."
    )


_NOTHING_LEARNED = (
    "**But no run within the tolerance is measurably better than θ₀ on the domain**: train longer, "
    "on more examples, or allow more."
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
        rows.append([method.label, _rate(method.largest), *shown])
    return _table(rows)


def _best_cells(best: Candidate, method: MethodResult, has_sft: bool) -> list[str]:
    differences = [
        _difference(method.against_sft[m], m) if m in method.against_sft else "" for m in DOMAIN
    ]
    return [
        _rate(best.learning_rate),
        _number(best.domain_score, ACCURACY),
        _number(best.domain_nll, NLL),
        *(differences if has_sft else []),
        _duration(best.cost.time_s),
        _memory(best.cost.peak_memory_bytes),
    ]


def _rate_table(section: Section, tolerance: Tolerance) -> str:
    rates = sorted({c.learning_rate for m in section.methods for c in m.candidates})
    heading = f"Loss in {', '.join(UNITS[name] for name in tolerance)} at"
    rows = [[heading, *map(_rate, rates)]]
    for method in section.methods:
        at = {c.learning_rate: c for c in method.candidates}
        cells = (_verdict_cell(at[rate], tolerance) if rate in at else "" for rate in rates)
        rows.append([method.label, *cells])
    return _table(rows)


def _verdict_cell(candidate: Candidate, tolerance: Tolerance) -> str:
    losses = [_number(candidate.losses[n].value, n) for n in tolerance if n in candidate.losses]
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
            f"{benchmark} {_interval(_as_loss(part), name)} ({part.n_items} items)"
            + (", by itself above the tolerance" if -part.value > allowed else "")
            for benchmark, part in chosen.parts.get(name, {}).items()
        ]
        if parts:
            yield f"General loss of {_name(chosen)}, {UNITS[name]}: mean of {'; '.join(parts)}."


def _as_loss(gain: Difference) -> Difference:
    return replace(gain, value=-gain.value, low=-gain.high, high=-gain.low)


def _on_the_measure(section: Section) -> Iterator[str]:
    if section.measure == NLL and any(c.gains for m in section.methods for c in m.candidates):
        yield (
            "Domain accuracy cannot tell any run from θ₀, so NLL decides, which favours standard "
            "fine-tuning: methods that weigh hard tokens less minimise another loss."
        )
    if section.base_score == 0:
        yield (
            "No answer of θ₀ counts as right. If it answers in another form, or is cut off at "
            "`max_new_tokens`, a gain in accuracy is partly one of form."
        )


def _on_no_comparison(section: Section) -> Iterator[str]:
    if section.chosen and any(m.label == section.sft and m.best is None for m in section.methods):
        yield (
            f"No run of {section.sft} is surely within the tolerance, so nothing is compared with "
            "it: the choice does not say that another method is better."
        )


def _on_a_method(method: MethodResult, section: Section) -> str:
    difference, what = method.against_sft[section.measure], DOMAIN[section.measure]
    found = f"gain {_difference(difference, section.measure)} in domain {what}"
    if difference.is_better or difference.is_worse:
        word = "buys more" if difference.is_better else "buys less"
        return f"{method.label} {word} than {section.sft} within the tolerance: {found}."
    return (
        f"{method.label} cannot be told from {section.sft} within the tolerance: {found}"
        f"{_more_items(difference.n_items, difference.n_items_needed, 'test items')}."
    )


def _on_other_losses(section: Section, tolerance: Tolerance) -> Iterator[str]:
    """What the tolerance does not ask about, and fell all the same."""
    if (chosen := section.chosen) is None:
        return
    for name, loss in chosen.losses.items():
        if name not in tolerance and loss.low > 0:
            yield (
                f"Outside the tolerance, but measurable: {_name(chosen)} loses "
                f"{_loss(loss, name)}; set a tolerance for it too."
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
                f"{_name(below[-1])} exceeds the tolerance although {_rate(method.largest)} is "
                "within: noise, or unstable training; look at its loss curve before trusting it."
            )


def _is_best_at_its_smallest(method: MethodResult) -> bool:
    best, smallest = method.best, method.candidates[0].learning_rate
    return best is not None and best.learning_rate == smallest != method.largest


def _between(method: MethodResult, measure: str) -> float | None:
    """The middle of the gap above the largest rate within, if the next exceeds and is far.

    And if it pays: the rate above must have gained more than the best one within.
    """
    above = [c for c in method.candidates if method.largest and c.learning_rate > method.largest]
    if not above or above[0].verdict is not Verdict.EXCEEDS:
        return None
    gains = [c.gains[measure].value for c in (method.best, above[0]) if c and c.gains]
    if len(gains) == 2 and gains[1] <= gains[0]:
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
        yield text.format(", ".join(f"{label} at {_rate(rate)}" for label, rate in found))


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
                f"{_loss(loss, name)}{_more_items(loss.n_items, loss.n_items_needed, 'items')}"
                for name in tolerance
                if (loss := candidate.losses.get(name)) and loss.verdict is Verdict.CANNOT_TELL
            ]
            if open_losses:
                yield f"{_name(candidate)} cannot be judged: {'; '.join(open_losses)}."


def _on_missing(section: Section) -> Iterator[str]:
    settings: dict[str, list[str]] = {}
    for candidate in (c for m in section.methods for c in m.candidates if c.reason):
        settings.setdefault(candidate.reason.replace("θ0", "θ₀"), []).append(_name(candidate))
    for reason, names in settings.items():
        yield f"Not known about {', '.join(names)}: {reason}."


# --- numbers --------------------------------------------------------------------------------------


def _name(candidate: Candidate) -> str:
    return f"{candidate.label} at learning rate {_rate(candidate.learning_rate)}"


def _rate(value: float | None) -> str:
    return "none" if value is None else format_learning_rate(value)


def _number(value: float, measure: str) -> str:
    return cell(value, math.nan, DECIMALS[measure])


def _interval(found: Loss | Difference, measure: str) -> str:
    value, low, high = (_number(x, measure) for x in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _loss(loss: Loss, measure: str) -> str:
    return f"{_interval(loss, measure)} {UNITS[measure]}"


def _difference(difference: Difference, measure: str) -> str:
    text = _interval(difference, measure)
    return text if difference.value < 0 or text.startswith(("−", "–")) else f"+{text}"


def _more_items(n: int, needed: int | None, what: str) -> str:
    if needed is None:
        return ""
    digits = 10 ** max(0, len(str(needed)) - 2)
    return f" (about {math.ceil(needed / digits) * digits:,} {what} could tell, instead of {n:,})"


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "an unknown time"
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def _memory(size: float) -> str:
    return "unknown memory" if math.isnan(size) else f"{size / 1e9:.1f} GB"
