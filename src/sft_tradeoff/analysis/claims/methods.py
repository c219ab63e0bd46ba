"""Claims about two methods at the same learning rate: F6, N1 and N6."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    BITS,
    GENERAL_MARGIN,
    SHARE,
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.frontiers import is_default
from sft_tradeoff.analysis.claims.pairs import Setting, domain_part, general_part
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import combined, effect_of
from sft_tradeoff.objectives.registry import METHODS


class FixedTauOptions(QuantityOptions):
    """Parameters of ``fixed_tau_cost``."""

    tau: float = Field(1.0, gt=0, description="the fixed temperature, in nats")


class PairOptions(QuantityOptions):
    """Two arms: the label of each, or a method with its default options."""

    method: str = Field("talr", description="the arm that the claim is about")
    against: str = Field("sft", description="the arm that it is compared with")


class KeepsLessOptions(PairOptions):
    """Parameters of ``keeps_less``."""

    general_margin: float = Field(GENERAL_MARGIN, gt=0, description="bits per byte")


def _same_rates(one: Arm, other: Arm) -> list[tuple[Setting, Setting]]:
    return [(Setting(one, r), Setting(other, r)) for r in one.rates if r in other.rates]


def _arms_called(arms: Sequence[Arm], name: str) -> list[Arm]:
    """The arm of that label, or all arms of that method; a method's options are its defaults."""
    found = [arm for arm in arms if name not in METHODS or is_default(arm)]
    labelled = [arm for arm in found if arm.label == name]
    return labelled or [arm for arm in found if arm.method == name]


def _comparison(ours: Setting, theirs: Setting) -> str:
    return f"{ours} against {theirs.arm.label}"


def _fixed_tau_cost(results: Results, options: FixedTauOptions, margin: float) -> Sequence[Finding]:
    """D(dynamic τ) − D(fixed τ), all other options and the learning rate equal."""
    found = []
    for _, _, arms in results.cells():
        talr = [arm for arm in arms if arm.method == "talr"]
        for dynamic, fixed in product(talr, talr):
            others = dict(dynamic.options) | {"tau": options.tau}
            if dynamic.options.get("tau") == "median" and dict(fixed.options) == others:
                found += [
                    _accuracy_gain(results, pair, margin) for pair in _same_rates(dynamic, fixed)
                ]
    if not found:
        raise Untested(
            f"no two TALR arms with dynamic τ and τ = {options.tau:g} share a learning rate and "
            "all other options"
        )
    return found


def _accuracy_gain(results: Results, pair: tuple[Setting, Setting], margin: float) -> Finding:
    def parts() -> tuple[Part, ...]:
        return (domain_part(results, *pair, None, Kind.GREATER, margin),)

    return finding(parts, pair[0].arm.place, _comparison(*pair))


def _keeps_less(results: Results, options: KeepsLessOptions, margin: float) -> Sequence[Finding]:
    """D(other) − D(method), where the method keeps no more general ability than the other."""
    return [
        _less_of_both(results, pair, options.general_margin, margin)
        for pair in _pairs_of(results, options)
    ]


def _pairs_of(results: Results, options: PairOptions) -> list[tuple[Setting, Setting]]:
    """All pairs of the two methods at the same rate, in every model and domain."""
    found = []
    for _, _, arms in results.cells():
        ours, theirs = (_arms_called(arms, name) for name in (options.method, options.against))
        found += [pair for arms in product(ours, theirs) for pair in _same_rates(*arms)]
    if not found:
        raise Untested(f"no {options.method} and {options.against} share a learning rate")
    return found


def _less_of_both(
    results: Results, pair: tuple[Setting, Setting], general_margin: float, margin: float
) -> Finding:
    ours, theirs = pair

    def parts() -> tuple[Part, ...]:
        return (
            domain_part(results, theirs, ours, None, Kind.GREATER, margin),
            general_part(results, theirs, ours, None, Kind.NOT_LESS, general_margin),
        )

    return finding(parts, pair[0].arm.place, _comparison(*pair))


def _removes_forgetting(results: Results, options: PairOptions, margin: float) -> Sequence[Finding]:
    """G(method) is not above the margin at rates where G(other) is."""
    return [_forgets_nothing(results, pair, margin) for pair in _pairs_of(results, options)]


def _forgets_nothing(results: Results, pair: tuple[Setting, Setting], margin: float) -> Finding:
    def parts() -> tuple[Part, ...]:
        ours, theirs = (results.general_loss(*setting) for setting in pair)
        kept = combined(lambda loss: -loss, ours, name=ours.name, floor=ours.floor)
        return (
            Part(f"−G({pair[0]})", effect_of(kept), Kind.NOT_LESS, margin, BITS),
            Part(f"G({pair[1]})", effect_of(theirs), Kind.GREATER, margin, BITS, premise=True),
        )

    return finding(parts, pair[0].arm.place, _comparison(*pair))


QUANTITIES = (
    Quantity("removes_forgetting", BITS, PairOptions, _removes_forgetting),
    Quantity("fixed_tau_cost", SHARE, FixedTauOptions, _fixed_tau_cost),
    Quantity("keeps_less", SHARE, KeepsLessOptions, _keeps_less),
)
