"""What the page of the recommendation says about rounding: of the weights, and of the scores."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sft_tradeoff.analysis.comparison import NLL
from sft_tradeoff.analysis.noise_floor import NoiseFloor
from sft_tradeoff.analysis.recommendation import Candidate, Section
from sft_tradeoff.analysis.shipped import Survival
from sft_tradeoff.analysis.tables import CODE_LENGTH
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.report.recommendation_numbers import (
    UNITS,
    interval_text,
    number_text,
    rate_text,
    run_name,
)
from sft_tradeoff.report.tables import DASH
from sft_tradeoff.system.text import listing

MOST_UNSEEN = 0.05  # how far from 1 the projection may be that evaluation sees
CANNOT_TELL = "cannot tell"
EXPLANATION = (
    "Scores are of the weights as trained. Most models are saved in bfloat16, which has one number "
    "per 0.4 to 0.8 % of a weight: what training changed by less than half of that is lost, or "
    "rounded up. *Survives* is the gain in bfloat16 divided by the gain as trained; it "
    "*cannot tell* where the gain itself may be 0. *Norm* and *projection* are those of the "
    "rounded change of the weights, in units of the true change: both are 1 if rounding loses "
    "nothing."
)


def shipped_text(candidate: Candidate) -> str:
    """How much of a run's gain survives saving in bfloat16, as a sentence; empty if unknown."""
    found = candidate.survival
    if found is None:
        return ""
    if not is_known(found):
        return (
            "How much of its gain in NLL survives saving in bfloat16 **cannot be told**: the gain "
            "itself may be 0."
        )
    return f"Saved in bfloat16, {share_text(found)} of its gain in NLL survives."


def is_known(survival: Survival) -> bool:
    """Whether the share that survives is a number."""
    return survival.share is not None and math.isfinite(survival.share.value)


def share_text(survival: Survival) -> str:
    """The share that survives with its interval: ``24 % [20, 29]``."""
    if survival.share is None or not math.isfinite(survival.share.value):
        return CANNOT_TELL
    value, low, high = (_percent(x) for x in survival.share[:3])
    return f"{value} % [{low}, {high}]"


def _percent(share: float) -> str:
    return DASH if math.isnan(share) else f"{round(100 * share) + 0:.0f}".replace("-", "−")


def shipped_table(section: Section) -> str:
    """What saving in bfloat16 costs each run; empty if no run was scored with rounded weights."""
    header = [
        *("Method", "Learning rate", "NLL gain as trained", "NLL gain in bfloat16", "Survives"),
        *("Norm", "Projection", "Weights changed"),
    ]
    candidates = [c for method in section.methods for c in method.candidates if c.survival]
    if not candidates:
        return ""
    rows = [list(_cells(candidate)) for candidate in candidates]
    table = markdown_table(header, rows)
    return "\n\n".join(("### Saved in bfloat16", EXPLANATION, table))


def unseen_text(section: Section) -> str:
    """Warn of runs whose scores are not of the weights as trained; empty if there are none."""
    seen = [(c, c.rounding.evaluated_projection) for m in section.methods for c in m.candidates]
    other = [f"{run_name(c)} ({_ratio(x)})" for c, x in seen if abs(x - 1) > MOST_UNSEEN]
    if not other:
        return ""
    return (
        "**These scores are not of the weights as trained**, because evaluation rounds them: "
        f"{listing(other)}. In brackets: the projection on the true change of the weights, which "
        "should be 0.95 to 1.05. Evaluate with `evaluation.dtype: float32`."
    )


def _cells(candidate: Candidate) -> Iterator[str]:
    found, update = candidate.survival, candidate.rounding
    assert found is not None
    yield from (candidate.label, rate_text(candidate.learning_rate))
    yield from (interval_text(gain, NLL) for gain in (found.trained, found.shipped))
    yield share_text(found)
    yield from (_ratio(x) for x in (update.norm_ratio, update.projection))
    yield DASH if math.isnan(update.changed_share) else f"{100 * update.changed_share:.2g} %"


def _ratio(x: float) -> str:
    return DASH if math.isnan(x) else f"{x:.2f}".replace("-", "−")


# --- the noise floor of scores --------------------------------------------------------------------


def noise_text(section: Section) -> str:
    """How large the numerical noise of the scores is, and where it comes from."""
    floors = {"domain NLL": (section.nll_floor, NLL)} if section.nll_floor else {}
    floors |= {name: (floor, CODE_LENGTH) for name, floor in section.code_floors.items()}
    found = [_floor_text(name, *of) for name, of in floors.items()]
    if not found:
        return (
            "The numerical noise of the scores was not measured: intervals do not include what "
            "other batches or another type would change."
        )
    names = dict.fromkeys(name for floor, _ in floors.values() for name in floor.variants)
    others = listing(names, separator=" or ")
    return (
        f"Numerical noise: computed again with {others}, θ₀'s scores change by up to "
        f"{'; '.join(found)}. All intervals of NLL and code length include this."
    )


def _floor_text(name: str, floor: NoiseFloor, measure: str) -> str:
    if math.isnan(floor.floor):
        return f"an unknown amount (a score of {name} is not finite)"
    cause = max(floor.variants, key=lambda variant: floor.variants[variant])
    return f"{number_text(floor.floor, measure)} {UNITS[measure]} ({name}; {cause})"
