"""What a claim is about, and what a study says about it, before any verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_tradeoff.system.strict import Settings

if TYPE_CHECKING:
    from sft_tradeoff.analysis.claims.results import Results
    from sft_tradeoff.analysis.claims.statistic import Effect

NATS, BITS, SHARE = "nats per token", "bits per byte", "fraction correct"
DOMAIN_MARGIN, GENERAL_MARGIN = 0.03, 0.01  # in SHARE and in BITS


class Untested(Exception):
    """The study cannot test a claim; the message says what is missing."""


class Verdict(StrEnum):
    """What a study says about a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    EQUIVALENT = "equivalent"
    CANNOT_TELL = "cannot tell"
    NOT_TESTED = "not tested"


class Kind(StrEnum):
    """What a claim says about an effect, given its margin m > 0."""

    GREATER = "> m"
    NOT_LESS = "> −m"
    WITHIN = "within ± m"


@dataclass(frozen=True)
class Part:
    """One effect and what the claim says about it; all parts of a claim have to hold.

    Args:
        name: The effect in symbols, such as ``D(1e-5) − D(1e-4)``.
        effect: What was measured.
        kind: What the claim says about it.
        margin: m, in the effect's unit.
        unit: Of effect and margin.
        premise: Whether the claim only presumes this part: if the part is wrong, the claim is not.
        blocked: Why the effect decides nothing; empty if it may.
        lost: Items that the first run has wrong and the second right; None if not counted.
        gained: Items that the first run has right and the second wrong.
        p_values: Where the effect has no standard error: p values of what the claim says, of the
            opposite, and of an effect within ± m.
    """

    name: str
    effect: Effect
    kind: Kind
    margin: float
    unit: str
    premise: bool = False
    blocked: str = ""
    lost: int | None = None
    gained: int | None = None
    p_values: tuple[float, float, float] | None = None


class Place(NamedTuple):
    """What a finding is about; empty: several, or all."""

    model: str = ""
    domain: str = ""
    method: str = ""


@dataclass(frozen=True)
class Finding:
    """What one model, domain and method of a study say about a claim.

    Args:
        place: Model, domain and method label.
        comparison: What is compared, in words.
        parts: The effects, the main one first; empty if it is not tested.
        missing: Why it is not tested.
        detail: Whether it is shown, but does not count for the claim's overall verdict.
        decided: The verdict, where it needs no test; None where tests decide.
        chosen_of: Number of comparisons of which this one is the best, on other items.
    """

    place: Place
    comparison: str = ""
    parts: tuple[Part, ...] = ()
    missing: str = ""
    detail: bool = False
    decided: Verdict | None = None
    chosen_of: int = 1


class QuantityOptions(Settings):
    """Base of a quantity's parameters."""


@dataclass(frozen=True)
class Quantity:
    """A number that claims are about.

    Args:
        name: Name used in ``config/claims.yaml``.
        unit: Unit of the main effect and of the claim's margin.
        options: Its parameters.
        find: Measures it in a study: (results, options, margin) -> findings; raises
            :class:`Untested` if the study has none of the runs.
    """

    name: str
    unit: str
    options: type[QuantityOptions]
    find: Callable[[Results, Any, float], Sequence[Finding]]


def finding(
    build: Callable[[], tuple[Part, ...]], place: Place, comparison: str, detail: bool = False
) -> Finding:
    """Build a finding; what is missing becomes its reason."""
    try:
        return Finding(place, comparison, build(), detail=detail)
    except Untested as reason:
        return Finding(place, comparison, missing=str(reason), detail=detail)
