"""Claims about how a run is scored: as shipped (N7), and on other domains (V3)."""

from __future__ import annotations

from collections.abc import Sequence

from sft_tradeoff.analysis.claims.base import (
    NATS,
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.pairs import Setting
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import combined, effect_of
from sft_tradeoff.study.names import format_learning_rate


class NoOptions(QuantityOptions):
    """A quantity without parameters."""


def _survives_rounding(results: Results, _: NoOptions, margin: float) -> Sequence[Finding]:
    """Gain of domain NLL as shipped minus the gain as trained, at the smallest rate.

    It presumes that there is a gain of more than the margin; without one, nothing can be lost.
    """
    found = []
    for arm in results.arms:
        small = Setting(arm, min(arm.rates))

        def parts(small: Setting = small) -> tuple[Part, ...]:
            return _rounding_parts(results, small, margin)

        at = f"smallest rate, {format_learning_rate(small.rate)}"
        found.append(finding(parts, arm.place, at))
    return found


def _rounding_parts(results: Results, small: Setting, margin: float) -> tuple[Part, ...]:
    arm, keys = small.arm, [(small.arm.domain, metric) for metric in ("nll", "nll_shipped")]
    base, base_shipped = (results.base(arm.model, key) for key in keys)
    trained, shipped = (results.score(*small, key) for key in keys)
    lost = combined(
        lambda b, t, b_shipped, s: (b_shipped - s) - (b - t),
        *(base, trained, base_shipped, shipped),
        name=f"{small} as shipped",
    )
    gain = base - trained
    return (
        Part("gain as shipped − gain as trained", effect_of(lost), Kind.WITHIN, margin, NATS),
        Part("gain as trained", effect_of(gain), Kind.GREATER, margin, NATS, premise=True),
    )


def _keeps_other_domains(results: Results, _: NoOptions, margin: float) -> Sequence[Finding]:
    """NLL(θ0) − NLL(run) of the gold answers of every other domain of the study."""
    found = []
    for arm in results.arms:
        for other in results.all_domains(arm.model):
            if other != arm.domain and _is_scored(results, arm, other):
                found += [_on(results, Setting(arm, rate), other, margin) for rate in arm.rates]
    if not found:
        raise Untested("no run is scored on a domain other than its own")
    return found


def _is_scored(results: Results, arm: Arm, domain: str) -> bool:
    runs = (run for seeds in arm.rates.values() for run in seeds.values())
    return any((domain, "nll") in results.items.get(run, {}) for run in runs)


def _on(results: Results, setting: Setting, other: str, margin: float) -> Finding:
    arm = setting.arm

    def parts() -> tuple[Part, ...]:
        change = results.base(arm.model, (other, "nll")) - results.score(*setting, (other, "nll"))
        name = f"NLL of {other}: θ₀ − {setting}"
        return (Part(name, effect_of(change), Kind.NOT_LESS, margin, NATS),)

    at = f"{setting}, scored on {other}"
    return finding(parts, arm.place, at)


QUANTITIES = (
    Quantity("survives_rounding", NATS, NoOptions, _survives_rounding),
    Quantity("keeps_other_domains", NATS, NoOptions, _keeps_other_domains),
)
