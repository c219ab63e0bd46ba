"""Claims about which tokens training moves: V2."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
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
from sft_tradeoff.analysis.claims.recorded import HOW, changed_tokens, has_tokens, resampled
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.statistic import effect_of
from sft_tradeoff.analysis.noise_floor import TOKEN_CHANGE
from sft_tradeoff.analysis.token_change import moved, top_shares
from sft_tradeoff.analysis.token_records import read_test_tokens

UNIT = "share of the change"


class MovedOptions(QuantityOptions):
    """Parameters of ``moved_tokens``."""

    top: float = Field(0.1, gt=0, lt=1, description="share of the tokens: those that moved most")
    most: float = Field(0.5, gt=0, lt=1, description="share of the change that counts as most")


def _moved_tokens(results: Results, options: MovedOptions, margin: float) -> Sequence[Finding]:
    """Share of Σ|Δ log p| that the tokens which moved most carry, minus one half.

    Rounding moves tokens as well, few of them far. What it adds to the mean change shifts the share
    by no more than its own part of that mean, which is the share's numerical noise.
    """
    settings = [Setting(arm, rate) for arm in results.arms for rate in arm.rates]
    found = [
        _of_setting(results, setting, options, margin)
        for setting in settings
        if has_tokens(results, setting, read_test_tokens)
    ]
    if not found:
        raise Untested(f"no run has kept the tokens of its test; {HOW}")
    return found


def _of_setting(
    results: Results, setting: Setting, options: MovedOptions, margin: float
) -> Finding:
    def carried(both: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
        change = moved(both)
        order = np.argsort(-change, kind="stable")
        return top_shares(change[order], weights[:, order], options.top) - options.most

    def parts() -> tuple[Part, ...]:
        frames, arm = changed_tokens(results, setting), setting.arm
        means = [float(moved(frame).mean()) for frame in frames]
        if min(means) == 0:
            raise Untested(f"{setting}: no token moved")
        noise = results.noise_floor(arm.model, (arm.domain, TOKEN_CHANGE)) / min(means)
        found = resampled(str(setting), frames, carried, arm.domain, tuple(arm.rates[setting.rate]))
        found = dataclasses.replace(found, floor=min(1.0, noise))
        name = f"change carried by the top {options.top:.0%} of tokens − {options.most:g}"
        return (Part(name, effect_of(found), Kind.GREATER, margin, UNIT),)

    return finding(parts, setting.arm.place, str(setting))


QUANTITIES = (Quantity("moved_tokens", UNIT, MovedOptions, _moved_tokens),)
