"""The recommendation as a page of Markdown: what to do, the numbers behind it, and notes."""

from __future__ import annotations

from collections.abc import Mapping

from sft_tradeoff.analysis.comparison import NLL, Outcome, SmallestGain
from sft_tradeoff.analysis.recommendation import Candidate, MethodResult, Recommendation, Section
from sft_tradeoff.analysis.tables import CODE_LENGTH
from sft_tradeoff.analysis.tolerance import ACCURACY, Tolerance, Verdict
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.report.recommendation_notes import DOMAIN, notes
from sft_tradeoff.report.recommendation_numbers import (
    UNITS,
    difference_text,
    duration,
    loss_text,
    memory_text,
    number_text,
    rate_text,
    run_name,
)
from sft_tradeoff.report.recommendation_shipped import (
    noise_text,
    shipped_table,
    shipped_text,
    unseen_text,
)

DEFINITIONS = (
    "θ₀ is the model before training. NLL is the mean loss of the correct answers, in nats per "
    "token. Bits per byte is how long a text is when the model compresses it. Lower is better for "
    "both. Intervals are 95 % intervals; that of an accuracy extends at least −ln(0.025) / n to "
    "each side, up to ±1: a change that n unchanged items cannot rule out."
)
MEANING = {
    CODE_LENGTH: "code length grows by at most {} bits per byte",
    ACCURACY: "accuracy falls by at most {} (a fraction)",
}
NOTHING_LEARNED = (
    "**But its gain over θ₀ on the domain does not count**: train longer, train on more examples, "
    "or allow a larger general loss."
)


def to_markdown(
    found: Recommendation, grading: Mapping[str, str] | None = None, warning: str = ""
) -> str:
    """Render the page, with one section per model and domain.

    Args:
        found: What is recommended.
        grading: Domain -> note on how its answers are graded.
        warning: Paragraph about the data, shown first.
    """
    parts = [
        "# Recommendation",
        warning,
        DEFINITIONS,
        _tolerance_text(found.tolerance),
        _smallest_gain_text(found.smallest_gain),
        _seeds_text(found.n_seeds),
    ]
    for section in found.sections:
        parts += [
            f"## {section.model}, {section.domain}",
            headline(section, found.tolerance),
            (grading or {}).get(section.domain, ""),
            _method_table(section),
            *([_rate_table(section, found.tolerance)] if found.tolerance else []),
            "\n".join(f"- {note}" for note in notes(section, found.tolerance)),
            noise_text(section),
            shipped_table(section),
            unseen_text(section),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _tolerance_text(tolerance: Tolerance) -> str:
    if not tolerance:
        return (
            "This study measures no general ability, so no tolerance can be checked: add tasks to "
            "`evaluation.tasks`."
        )
    limits = " and ".join(MEANING[name].format(f"{x:g}") for name, x in tolerance.items())
    return (
        f"Tolerance: on the general suite, {limits}, compared with θ₀ on the same items. A run is "
        "*within* the tolerance if the whole interval of its loss is, and *exceeds* it if the "
        "whole interval lies above it; otherwise these items *cannot tell*. Learning rates are "
        "judged from the smallest upwards, and the first that is not within ends the search."
    )


def _smallest_gain_text(smallest: SmallestGain) -> str:
    return (
        "A gain on the domain counts if it is worth having (more than "
        f"{smallest[ACCURACY]:g} in accuracy, as a fraction, or {smallest[NLL]:g} nats per token "
        "in NLL) and its whole interval lies above 0."
    )


def _seeds_text(n_seeds: int) -> str:
    if n_seeds > 1:
        return f"Means over {n_seeds} seeds; the intervals include the spread between seeds."
    return (
        "One seed: the intervals cover the noise of the test items, not the variation between "
        "training runs."
    )


# --- headline -------------------------------------------------------------------------------------


def headline(section: Section, tolerance: Tolerance) -> str:
    """Say what to do, or why there is no recommendation."""
    best = section.chosen
    if best is None:
        return _no_recommendation(section, tolerance)
    losses = "; ".join(loss_text(best.losses[name], name) for name in tolerance)
    time, memory = duration(best.cost.time_s), memory_text(best.cost.peak_memory_bytes)
    parts = (
        f"**Train with {run_name(best)}.** General loss: {losses}.",
        _on_domain(section, best),
        shipped_text(best),
        f"One run took {time} and {memory}.",
    )
    text = " ".join(filter(None, parts))
    counts = best.gains[section.measure].outcome is Outcome.BETTER
    return text if counts else f"{text} {NOTHING_LEARNED}"


def _on_domain(section: Section, best: Candidate) -> str:
    """Domain scores, starting with the measure that decides."""
    score, base_score = (number_text(x, ACCURACY) for x in (best.domain_score, section.base_score))
    nll = f"NLL {number_text(best.domain_nll, NLL)} (θ₀: {number_text(section.base_nll, NLL)})"
    if section.measure == ACCURACY:
        return f"Domain accuracy {score} (θ₀: {base_score}), {nll}."
    n_items = best.gains[ACCURACY].n_items
    return (
        f"Domain {nll}. **Its accuracy, {score} (θ₀: {base_score}), cannot be distinguished from "
        f"that of θ₀ on {n_items} test items**: only the form of the answers may have been learned."
    )


def _no_recommendation(section: Section, tolerance: Tolerance) -> str:
    candidates = [c for m in section.methods for c in m.candidates]
    if not tolerance:
        return "**No recommendation**: there is no general score."
    if all(c.verdict is Verdict.EXCEEDS for c in candidates):
        return (
            "**No run stays within the tolerance**, not even at the smallest learning rate. Add "
            "smaller learning rates, or raise the tolerance."
        )
    if any(c.verdict is Verdict.WITHIN for c in candidates):
        return (
            "**No recommendation**: there are runs within the tolerance, but none that counts; the "
            "notes below say why."
        )
    return (
        "**No recommendation at this sample size**: no run is certain to be within the tolerance, "
        "and not all of them exceed it. The notes below say how many items could tell."
    )


# --- tables ---------------------------------------------------------------------------------------


def _method_table(section: Section) -> str:
    header = [
        "Method",
        "Largest rate within",
        "Best rate within",
        "Domain accuracy",
        "Domain NLL",
        *(f"Gain over {section.sft}: {name}" for name in DOMAIN.values() if section.sft),
        "Time",
        "Peak memory",
    ]
    rows = []
    for method in section.methods:
        best = method.best
        shown = _best_cells(best, method, bool(section.sft)) if best else []
        rows.append([method.label, rate_text(method.largest), *shown])
    return markdown_table(header, rows)


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
    rows = []
    for method in section.methods:
        at = {c.learning_rate: c for c in method.candidates}
        cells = (_verdict_cell(at[rate], tolerance) if rate in at else "" for rate in rates)
        rows.append([method.label, *cells])
    return markdown_table([heading, *map(rate_text, rates)], rows)


def _verdict_cell(candidate: Candidate, tolerance: Tolerance) -> str:
    losses = [number_text(candidate.losses[n].value, n) for n in tolerance if n in candidate.losses]
    return f"{candidate.verdict}: {', '.join(losses)}" if losses else str(candidate.verdict)
