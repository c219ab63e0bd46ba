"""Claims about the trade-off of whole methods: F3, N2 and N5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    BITS,
    DOMAIN_MARGIN,
    GENERAL_MARGIN,
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.pairs import (
    Candidate,
    Setting,
    at_chance,
    choose,
    domain_part,
    general_part,
)
from sft_tradeoff.analysis.claims.results import Arm, Half, Results
from sft_tradeoff.analysis.claims.statistic import combined, effect_of
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.stats.frontier import hypervolume_difference
from sft_tradeoff.study.names import format_learning_rate

AREA = "share of the area"


class FrontierOptions(QuantityOptions):
    """Parameters of :data:`FRONTIER_GAIN`."""

    method: str | None = Field(
        "talr", description="method that is said to be better; null: adapters"
    )
    against: str | None = Field(None, description="baseline; null: every other method")
    worst_loss: float = Field(
        0.1, gt=0, description="general loss in bits per byte from which on a run counts nothing"
    )
    domain_margin: float = Field(DOMAIN_MARGIN, gt=0, description="accuracy, at the same rate")
    general_margin: float = Field(
        GENERAL_MARGIN, gt=0, description="bits per byte, at the same rate"
    )


def is_default(arm: Arm) -> bool:
    """Whether a method's options are its defaults, as far as they are recorded."""
    defaults = METHODS[arm.method].options().model_dump(mode="json")
    return all(arm.options.get(name, value) == value for name, value in defaults.items())


def _is_adapter(arm: Arm) -> bool:
    return METHODS[arm.method].parameterization == "adapter"


def _frontier_gain(results: Results, options: FrontierOptions, margin: float) -> Sequence[Finding]:
    """Hypervolume of one method minus that of another, and both at the same rate as details.

    One point per learning rate, (accuracy, general loss), against the reference (chance,
    ``worst_loss``); in units of the area up to accuracy 1 and loss 0. Both methods need as many
    rates, because the best of more noisy points is too good.
    """
    found: list[Finding] = []
    for _, _, arms in results.cells():
        ours = [arm for arm in arms if _is_ours(arm, options)]
        baselines = [arm for arm in arms if options.against in (None, arm.method)]
        for one in ours:
            for other in baselines:
                if other.method != one.method:
                    found += _against(results, one, other, options, margin)
    if not found:
        ours_name = options.method or "with adapters"
        raise Untested(
            f"no model and domain has both method {ours_name!r} and "
            f"{repr(options.against) if options.against else 'another one'}"
        )
    return found


def _is_ours(arm: Arm, options: FrontierOptions) -> bool:
    if options.method is None:
        return _is_adapter(arm)
    return arm.method == options.method and is_default(arm)


def _against(
    results: Results, one: Arm, other: Arm, options: FrontierOptions, margin: float
) -> list[Finding]:

    def area() -> tuple[Part, ...]:
        return (_area_part(results, one, other, options.worst_loss, margin),)

    found = [finding(area, one.place, f"frontier against {other.label}")]
    same = [rate for rate in one.rates if rate in other.rates]
    for rate in same if _is_adapter(one) == _is_adapter(other) else []:
        pair = Setting(one, rate), Setting(other, rate)

        def both(pair: tuple[Setting, Setting] = pair) -> tuple[Part, ...]:
            return (
                general_part(results, *pair, None, Kind.GREATER, options.general_margin),
                domain_part(results, *pair, None, Kind.NOT_LESS, options.domain_margin),
            )

        at = f"at {format_learning_rate(rate)} against {other.label}"
        found.append(finding(both, one.place, at, detail=True))
    return found


def _area_part(results: Results, one: Arm, other: Arm, worst_loss: float, margin: float) -> Part:
    n, m = len(one.rates), len(other.rates)
    if n != m:
        raise Untested(
            f"{one.label} has {n} learning rates and {other.label} {m}; give both as many"
        )
    chance = results.chance(one)
    settings = [Setting(arm, rate) for arm in (one, other) for rate in arm.rates]
    scores = [results.domain_score(*setting) for setting in settings]
    losses = [results.general_loss(*setting) for setting in settings]

    def difference(*numbers: np.ndarray) -> np.ndarray:
        points = np.stack([np.stack(numbers[: 2 * n], -1), np.stack(numbers[2 * n :], -1)], -1)
        found = hypervolume_difference(points[..., :n, :], points[..., n:, :], (chance, worst_loss))
        return found / ((1 - chance) * worst_loss)

    area = combined(
        difference,
        *scores,
        *losses,
        name="area",
        floor=max(loss.floor for loss in losses) / worst_loss,
        linear=False,
    )
    blocked = at_chance(scores, chance)
    if not any(
        s.value > chance and g.value < worst_loss for s, g in zip(scores, losses, strict=True)
    ):
        blocked = blocked or f"no run is above chance and loses less than {worst_loss:g} {BITS}"
    return Part(
        name=f"HV({one.label}) − HV({other.label})",
        effect=effect_of(area),
        kind=Kind.GREATER,
        margin=margin,
        unit=AREA,
        blocked=blocked,
    )


class RewindOptions(QuantityOptions):
    """Parameters of :data:`REWIND_REACHES`."""

    domain_margin: float = Field(DOMAIN_MARGIN, gt=0, description="accuracy")


def _rewind_reaches(results: Results, options: RewindOptions, margin: float) -> Sequence[Finding]:
    """An average with θ0 that no rate of the averaged method reaches.

    For every rate, the average is either better in the domain, or loses less general ability; which
    of the two, and which average, is chosen on one half of the items.
    """
    found = []
    for _, _, arms in results.cells():
        trained = {arm.label: arm for arm in arms}
        for arm in arms:
            if METHODS[arm.method].merge is None:
                continue
            source = trained.get(str(arm.options.get("of", "sft")))
            if source is None:
                found.append(Finding(arm.place, missing="the method that it averages has no run"))
                continue
            found.append(_beyond(results, arm, source, options.domain_margin, margin))
    if not found:
        raise Untested("the study has no average of a run with θ₀ (method wise_ft)")
    return found


def _beyond(
    results: Results,
    arm: Arm,
    source: Arm,
    domain_margin: float,
    general_margin: float,
) -> Finding:
    def on(average: Setting, half: Half, better: Sequence[bool]) -> tuple[Part, ...]:
        return tuple(
            domain_part(results, average, Setting(source, rate), half, Kind.GREATER, domain_margin)
            if in_domain
            else general_part(
                results, average, Setting(source, rate), half, Kind.GREATER, general_margin
            )
            for rate, in_domain in zip(source.rates, better, strict=True)
        )

    def candidate(average: Setting) -> Candidate:
        def parts(half: Half) -> tuple[Part, ...]:
            in_domain = on(average, 0, [True] * len(source.rates))
            in_general = on(average, 0, [False] * len(source.rates))
            better = [
                d.effect.interval.value / d.margin > g.effect.interval.value / g.margin
                for d, g in zip(in_domain, in_general, strict=True)
            ]
            return on(average, 1 if half is None else half, better)

        return Candidate(f"{average} against every rate of {source.label}", parts)

    return choose([candidate(Setting(arm, rate)) for rate in arm.rates], arm.place)


FRONTIER_GAIN = Quantity("frontier_gain", AREA, FrontierOptions, _frontier_gain)
REWIND_REACHES = Quantity("rewind_reaches", BITS, RewindOptions, _rewind_reaches)
QUANTITIES = (FRONTIER_GAIN, REWIND_REACHES)
