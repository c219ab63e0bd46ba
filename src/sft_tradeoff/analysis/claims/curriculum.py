"""Claims about the order in which training tokens are learned: F5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.pairs import Setting
from sft_tradeoff.analysis.claims.recorded import HOW, has_tokens, training_tokens
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import Statistic, effect_of, score
from sft_tradeoff.analysis.token_curriculum import ALL, LEARNED, learned_by_epoch
from sft_tradeoff.analysis.token_records import read_training_tokens
from sft_tradeoff.stats.bootstrap import Clustered

UNIT = "share of training tokens"


class CurriculumOptions(QuantityOptions):
    """Parameters of ``token_curriculum``."""

    method: str = Field("talr", description="the method that the claim is about")
    against: str = Field("sft", description="the method shown beside it")


def _token_curriculum(
    results: Results, options: CurriculumOptions, margin: float
) -> Sequence[Finding]:
    """Share of training tokens with p > .2 in the last whole epoch minus that in the first.

    Details: the same of the other method, and by how much more the share of tokens that are hard
    for θ0 rises than with the other method at the same rate.
    """
    found = []
    for _, _, arms in results.cells():
        ours = [arm for arm in arms if arm.method == options.method]
        theirs = [arm for arm in arms if arm.method == options.against] if ours else []
        for arm in (*ours, *theirs):
            found += [_rise(results, s, margin, arm in theirs) for s in _recorded(results, arm)]
        for one in ours:
            found += [
                _beside(results, setting, Setting(other, setting.rate), margin)
                for other in theirs
                for setting in _recorded(results, one)
                if setting.rate in other.rates
            ]
    if all(row.detail for row in found):
        raise Untested(f"no run of {options.method} has kept its training tokens; {HOW}")
    return found


def _recorded(results: Results, arm: Arm) -> list[Setting]:
    settings = [Setting(arm, rate) for rate in arm.rates]
    return [s for s in settings if has_tokens(results, s, read_training_tokens)]


def _rise(results: Results, setting: Setting, margin: float, detail: bool) -> Finding:
    def parts() -> tuple[Part, ...]:
        effect = effect_of(_risen(results, setting, ALL))
        name = f"share with p > {LEARNED:g}, last epoch − first"
        return (Part(name, effect, Kind.GREATER, margin, UNIT),)

    return finding(parts, setting.arm.place, str(setting), detail=detail)


def _beside(results: Results, ours: Setting, theirs: Setting, margin: float) -> Finding:
    def parts() -> tuple[Part, ...]:
        more = _risen(results, ours, "hard") - _risen(results, theirs, "hard")
        name = f"rise of tokens hard for θ₀: {ours.arm.label} − {theirs.arm.label}"
        return (Part(name, effect_of(more), Kind.GREATER, margin, UNIT),)

    comparison = f"{ours} against {theirs.arm.label}, hard tokens"
    return finding(parts, ours.arm.place, comparison, detail=True)


def _risen(results: Results, setting: Setting, difficulty: str) -> Statistic:
    """How much the share of learned tokens rises from the first to the last whole epoch."""
    values, sizes = [], []
    for frame in training_tokens(results, setting):
        counts = learned_by_epoch(frame)
        counts = counts[counts["difficulty"] == difficulty]
        if counts.empty:
            raise Untested(f"{setting}: no training token is {difficulty} for θ₀")
        learned = counts.pivot(index="example", columns="epoch", values="learned").sort_index()
        if learned.shape[1] < 2:
            raise Untested(f"{setting}: one whole epoch shows no rise; train at least 2")
        values.append(learned.iloc[:, -1] - learned.iloc[:, 0])
        first = counts[counts["epoch"] == learned.columns[0]].set_index("example")
        sizes.append(first.loc[learned.index, ["cluster", "n_tokens"]])
    if any(not size.equals(sizes[0]) for size in sizes):
        raise Untested(f"{setting}: its seeds have kept different training tokens")
    size, cluster = sizes[0]["n_tokens"].to_numpy(), sizes[0]["cluster"]
    by_example = Clustered.of(np.stack(values), size, cluster)
    key = (f"{setting.arm.domain}, training", f"{difficulty} tokens")
    return score(str(setting), key, by_example, tuple(setting.arm.rates[setting.rate]))


QUANTITIES = (Quantity("token_curriculum", UNIT, CurriculumOptions, _token_curriculum),)
