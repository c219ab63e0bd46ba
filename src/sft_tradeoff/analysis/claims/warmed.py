"""Claims about a θ0 that already knows the domain: N4."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from sft_tradeoff.analysis.base_probability import base_probability
from sft_tradeoff.analysis.claims.base import (
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
from sft_tradeoff.analysis.claims.pairs import Setting, at_chance
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import combined, effect_of


class WarmedOptions(QuantityOptions):
    """Parameters of the quantity."""

    warmed: dict[str, str] = Field(
        default_factory=dict,
        description="model -> the same model trained on other examples of the domain before; "
        "those that start from a run of this study need not be named",
    )
    methods: tuple[str, ...] = Field(("talr", "dft"), description="methods that trust the model")


def _trust_gain(results: Results, options: WarmedOptions, margin: float) -> Sequence[Finding]:
    """[D(method) − D(sft)] from the warmed θ0 minus the same from the plain one, per rate.

    Methods count with their default options.
    """
    arms = {(arm.model, arm.domain, arm.method): arm for arm in results.arms if is_default(arm)}
    found = []
    for (model, domain, method), arm in arms.items():
        if method not in options.methods:
            continue
        named = [options.warmed[model]] if model in options.warmed else []
        for warm in dict.fromkeys([*named, *results.warmed_up(model, domain)]):
            names = [(m, domain, name) for m in (warm, model) for name in (method, "sft")]
            if all(n in arms for n in names):
                four = [arms[name] for name in names]
                common = [rate for rate in arm.rates if all(rate in other.rates for other in four)]
                found += [_interaction(results, four, rate, margin) for rate in common]
    if not found:
        raise Untested("no model was trained from θ₀ and from a θ₀ warmed up on the domain")
    return found


def _interaction(results: Results, four: list[Arm], rate: float, margin: float) -> Finding:
    def parts() -> tuple[Part, ...]:
        scores = [results.domain_score(arm, rate) for arm in four]
        gain = combined(lambda a, b, c, d: (a - b) - (c - d), *scores, name="gain from warming up")
        name = f"[D({four[0].label}) − D(sft)] {four[0].model} − {four[2].model}"
        blocked = at_chance(scores, results.chance(four[2]))
        return (Part(name, effect_of(gain), Kind.GREATER, margin, SHARE, blocked=blocked),)

    comparison = f"{Setting(four[2], rate)}{_known_before(results, four[0], four[2])}"
    return finding(parts, four[2].place, comparison)


def _known_before(results: Results, warm: Arm, plain: Arm) -> str:
    """How well both θ0 knew the training data; empty if that was not measured."""
    if results.folder is None:
        return ""
    p = [base_probability(results.folder, arm.model, arm.domain) for arm in (warm, plain)]
    if any(map(math.isnan, p)):
        return ""
    return f"; mean p of the training tokens under θ₀: {p[0]:.2f} against {p[1]:.2f}"


QUANTITIES = (Quantity("trust_gain", SHARE, WarmedOptions, _trust_gain),)
