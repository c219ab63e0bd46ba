"""Claims about the damage that hard tokens do: F4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    BITS,
    GENERAL_MARGIN,
    NATS,
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.frontiers import is_default
from sft_tradeoff.analysis.claims.pairs import Setting
from sft_tradeoff.analysis.claims.recorded import resampled, tokens_of
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import Statistic, combined, effect_of
from sft_tradeoff.analysis.token_change import EASY, is_easy
from sft_tradeoff.analysis.token_records import read_test_tokens

UNIT = "share of what SFT does"


class HardTokensOptions(QuantityOptions):
    """Parameters of ``hard_token_damage``."""

    easy_margin: float = Field(0.1, gt=0, lt=0.5, description="by which easy tokens exceed half")
    general_margin: float = Field(GENERAL_MARGIN, gt=0, description="least damage, bits per byte")
    domain_margin: float = Field(0.05, gt=0, description="least gain, nats per token")


def _hard_token_damage(
    results: Results, options: HardTokensOptions, margin: float
) -> Sequence[Finding]:
    """[G(hard only) − G(easy only)] / G(SFT) > margin, and most tokens are easy for θ0.

    As a detail the same of the gain N(θ0) − N: which half the domain's loss needs.
    """
    found = []
    for _, _, arms in results.cells():
        for sft, easy, hard in _triples(arms):
            for rate in sft.rates:
                if rate in easy.rates and rate in hard.rates:
                    three = Setting(sft, rate), Setting(easy, rate), Setting(hard, rate)
                    found += [
                        _damage(results, *three, options, margin),
                        _gain(results, *three, options, margin),
                    ]
    if not found:
        raise Untested(
            "no standard SFT and token_subset with 'keep: easy' and 'keep: hard', of one "
            "threshold, share a learning rate"
        )
    return found


def _triples(arms: Sequence[Arm]) -> list[tuple[Arm, Arm, Arm]]:
    """SFT, easy tokens only, and hard tokens only, divided where the share is."""
    plain = [arm for arm in arms if arm.method == "sft" and is_default(arm)]
    subsets = [arm for arm in arms if arm.method == "token_subset"]
    easy = [arm for arm in subsets if arm.options.get("keep") == "easy"]
    hard = [arm for arm in subsets if arm.options.get("keep") == "hard"]
    return [
        (s, e, h)
        for s, e, h in product(plain, easy, hard)
        if e.options.get("threshold") == h.options.get("threshold") == EASY
    ]


def _damage(
    results: Results,
    sft: Setting,
    easy: Setting,
    hard: Setting,
    options: HardTokensOptions,
    margin: float,
) -> Finding:
    def parts() -> tuple[Part, ...]:
        whole, of_easy, of_hard = (results.general_loss(*s) for s in (sft, easy, hard))
        return (
            _share("G", whole, of_easy, of_hard, margin),
            _most_are_easy(results, sft.arm, options, len(sft.arm.rates[sft.rate])),
            Part(
                f"G({sft})",
                effect_of(whole),
                Kind.GREATER,
                options.general_margin,
                BITS,
                premise=True,
            ),
        )

    return finding(parts, hard.arm.place, f"{sft}: general loss, hard tokens against easy")


def _gain(
    results: Results,
    sft: Setting,
    easy: Setting,
    hard: Setting,
    options: HardTokensOptions,
    margin: float,
) -> Finding:
    def parts() -> tuple[Part, ...]:
        key = sft.arm.domain, "nll"
        base = results.base(sft.arm.model, key)
        whole, of_easy, of_hard = (base - results.score(*s, key) for s in (sft, easy, hard))
        gained = Part(
            f"N(θ₀) − N({sft})",
            effect_of(whole),
            Kind.GREATER,
            options.domain_margin,
            NATS,
            premise=True,
        )
        return _share("gain of N", whole, of_easy, of_hard, margin), gained

    about = f"{sft}: domain gain, hard tokens against easy"
    return finding(parts, hard.arm.place, about, detail=True)


def _share(
    what: str, whole: Statistic, of_easy: Statistic, of_hard: Statistic, margin: float
) -> Part:
    """How much more of SFT's effect hard tokens explain than easy ones do."""
    if whole.value == 0:
        raise Untested(f"standard SFT has no {what}")
    found = combined(
        lambda s, e, h: (h - e) / s,
        whole,
        of_easy,
        of_hard,
        name=f"share of {what}",
        floor=max(whole.floor, of_easy.floor, of_hard.floor) / abs(whole.value),
        linear=False,
    )
    name = f"[{what} of hard only − easy only] / {what} of SFT"
    return Part(name, effect_of(found), Kind.GREATER, margin, UNIT)


def _most_are_easy(results: Results, arm: Arm, options: HardTokensOptions, n_seeds: int) -> Part:
    """Share of the domain's tokens that are easy for θ0, minus one half."""
    base = tokens_of(results, results.base_run(arm.model), read_test_tokens).frame
    frame = base[base["domain"].astype(str) == arm.domain]
    if frame.empty:
        raise Untested(f"θ₀ has kept no tokens of {arm.domain}")

    def share(tokens: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
        easy = is_easy(tokens["nll"].to_numpy())
        found: np.ndarray = weights @ easy / weights.sum(-1) - 0.5
        return found

    effect = effect_of(resampled("θ₀", [frame], share, arm.domain, None))
    # θ0 is the same for all seeds, so it does not make this a finding of one run.
    median = math.exp(-float(frame["nll"].median()))
    name = f"share of tokens with p > {EASY:g} under θ₀ − 0.5 (median p {median:.3f})"
    return Part(
        name, effect._replace(n_seeds=n_seeds), Kind.GREATER, options.easy_margin, "share of tokens"
    )


QUANTITIES = (Quantity("hard_token_damage", UNIT, HardTokensOptions, _hard_token_damage),)
