"""Claims about the divergence from θ0: T1 and N3."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from pydantic import Field

from sft_tradeoff.analysis.claims.base import (
    BITS,
    Finding,
    Kind,
    Part,
    Place,
    Quantity,
    QuantityOptions,
    Untested,
    finding,
)
from sft_tradeoff.analysis.claims.pairs import Setting
from sft_tradeoff.analysis.claims.results import Arm, Results
from sft_tradeoff.analysis.claims.statistic import Effect, effect_of
from sft_tradeoff.analysis.tables import KL, LEVEL, TEXT_CHANGE, TEXT_KL
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.stats.correlation import fit_line, rank_correlation, resampled_runs
from sft_tradeoff.stats.estimates import quantile_of_level
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.variance import Components
from sft_tradeoff.study.names import SAMPLED_TEXTS

RANK = "rank correlation"
FEWEST_SETTINGS = 6  # fewer say little about a correlation, and resamples hardly vary
SEED = 0


# --- T1: code length and KL on texts sampled from θ0 ----------------------------------------------


class IdentityOptions(QuantityOptions):
    """Parameters of ``code_length_identity``."""

    narrow: float = Field(
        0.5, gt=0, description="largest half width of the interval, in units of the KL"
    )


def _code_length_identity(
    results: Results, options: IdentityOptions, margin: float
) -> Sequence[Finding]:
    """Mean change of code length minus mean exact KL, on texts sampled from θ0.

    Each text's difference has expectation 0, whatever θ is. Of every arm the largest rate counts:
    the smaller the KL, the more texts it takes to see it at all.
    """
    settings = [Setting(arm, max(arm.rates)) for arm in results.arms]
    models = {arm.model for arm, _ in settings}
    if not any(
        (SAMPLED_TEXTS, TEXT_KL) in results.items.get(results.base_run(m), {}) for m in models
    ):
        raise Untested("no texts were sampled from θ₀; set 'evaluation.sampled_texts'")

    def parts(setting: Setting) -> tuple[Part, ...]:
        change, kl = (
            results.score(*setting, (SAMPLED_TEXTS, metric)) for metric in (TEXT_CHANGE, TEXT_KL)
        )
        effect = effect_of(change - kl)
        half = (effect.interval.high - effect.interval.low) / 2
        wide = f"± {half:.2g} around a KL of {kl.value:.2g} bits per byte is too wide to show it"
        return (
            Part(
                name="Δ code length − KL(θ₀‖θ), on texts of θ₀",
                effect=effect,
                kind=Kind.WITHIN,
                margin=margin,
                unit=BITS,
                blocked="" if half <= options.narrow * kl.value else f"{wide}; sample more texts",
            ),
        )

    return [finding(partial(parts, s), s.arm.place, str(s)) for s in settings]


# --- N3: KL on domain prompts and general loss ----------------------------------------------------


class PredictOptions(QuantityOptions):
    """Parameters of ``kl_predicts_loss``."""

    least: float = Field(0.5, ge=0, lt=1, description="rank correlation of KL and loss, at least")


class Runs(NamedTuple):
    """Runs of one model, sorted by setting: [S · K] each.

    Args:
        kl: KL(θ0‖θ) on the prompts of their domain, nats per token.
        rate: Log of the learning rate, relative to the smallest of its kind (whole weights, or
            adapters).
        loss: Change of general code length, bits per byte.
        n_settings: S: domain, method and learning rate.
        n_seeds: K.
    """

    kl: np.ndarray
    rate: np.ndarray
    loss: np.ndarray
    n_settings: int
    n_seeds: int


def _kl_predicts_loss(
    results: Results, options: PredictOptions, margin: float
) -> Sequence[Finding]:
    """ρ(KL, G) − ρ(rate, G) over all runs of a model, with Spearman's ρ.

    That KL follows the loss is not enough: so does the learning rate, which is known beforehand.
    KL has to rank runs of different methods and domains better than the rate does, by more than the
    margin, and to rank them well (``least``). Intervals resample settings, and seeds within.
    """
    found = []
    for model in dict.fromkeys(arm.model for arm in results.arms):
        arms = [arm for arm in results.arms if arm.model == model]
        try:
            runs = _runs(results, arms)
            parts = _parts(runs, options.least, margin)
            found.append(Finding(Place(model), _summary(runs), parts))
        except Untested as reason:
            found.append(Finding(Place(model), missing=str(reason)))
    return found


def _runs(results: Results, arms: Sequence[Arm]) -> Runs:
    settings = [Setting(arm, rate) for arm in arms for rate in arm.rates]
    common = Counter(len(arm.rates[rate]) for arm, rate in settings).most_common(1)
    started = {start.domain for starts in results.starts.values() for start in starts}
    # A run that another model starts from has one seed, and may be alone on its domain.
    settings = [
        setting
        for setting in settings
        if setting.arm.domain not in started or len(setting.arm.rates[setting.rate]) == common[0][0]
    ]
    if len(settings) < FEWEST_SETTINGS:
        raise Untested(
            f"{len(settings)} settings (domain, method and rate) are too few for a correlation; "
            f"run at least {FEWEST_SETTINGS}"
        )
    n_seeds = {len(arm.rates[rate]) for arm, rate in settings}
    if len(n_seeds) > 1:
        raise Untested("the settings have different numbers of seeds; run the same for all")
    smallest: dict[bool, float] = {}
    for arm, rate in settings:
        smallest[_is_adapter(arm)] = min(rate, smallest.get(_is_adapter(arm), math.inf))
    relative = [math.log(rate / smallest[_is_adapter(arm)]) for arm, rate in settings]
    kl = [results.score(arm, rate, (arm.domain, KL)).over_seeds for arm, rate in settings]
    loss = [results.general_loss(arm, rate).over_seeds for arm, rate in settings]
    k = n_seeds.pop()
    return Runs(np.concatenate(kl), np.repeat(relative, k), np.concatenate(loss), len(settings), k)


def _is_adapter(arm: Arm) -> bool:
    return arm.method in METHODS and METHODS[arm.method].adapter is not None


def _parts(runs: Runs, least: float, margin: float) -> tuple[Part, ...]:
    of_kl, of_rate = (rank_correlation(x, runs.loss) for x in (runs.kl, runs.rate))
    drawn = _drawn(runs)
    loss = runs.loss[drawn]
    all_kl, all_rate = (rank_correlation(x[drawn], loss) for x in (runs.kl, runs.rate))
    if np.isnan(of_kl) or np.isnan(of_rate):
        raise Untested("all runs have the same KL, learning rate or general loss")
    gain = _effect(runs, float(of_kl - of_rate), all_kl - all_rate)
    return (
        Part("ρ(KL, G) − ρ(rate, G)", gain, Kind.GREATER, margin, RANK),
        Part("ρ(KL, G)", _effect(runs, float(of_kl), all_kl), Kind.GREATER, least, RANK),
    )


def _drawn(runs: Runs) -> np.ndarray:
    return resampled_runs(runs.n_settings, runs.n_seeds, np.random.default_rng(SEED))


def _effect(runs: Runs, value: float, resamples: np.ndarray) -> Effect:
    """Student's interval; resamples in which all runs are equal have no correlation."""
    stderr, df = float(np.nanstd(resamples, ddof=1)), runs.n_settings - 1
    half = quantile_of_level(LEVEL, df) * stderr
    return Effect(
        Interval(value, value - half, value + half, stderr, df),
        Components(seeds=math.nan, items=math.nan, interaction=math.nan),
        n_items=len(runs.kl),
        n_clusters=runs.n_settings,
        n_seeds=runs.n_seeds,
    )


def _summary(runs: Runs) -> str:
    """Both predictors in words: rank correlation, and the line through the runs."""
    line, drawn = fit_line(runs.kl, runs.loss), _drawn(runs)
    slopes = fit_line(runs.kl[drawn], runs.loss[drawn]).slope
    low, high = np.nanquantile(slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    of_rate = fit_line(runs.rate, runs.loss).r_squared
    text = (
        f"{len(runs.kl)} runs of {runs.n_settings} settings: G = {line.intercept:.3g} + "
        f"{line.slope:.3g} · KL (slope {low:.3g} to {high:.3g}), R² = {line.r_squared:.2f}, of log "
        f"rate {of_rate:.2f}; ρ = {rank_correlation(runs.kl, runs.loss):.2f}, of the rate "
        f"{rank_correlation(runs.rate, runs.loss):.2f}"
    )
    return text.replace("-", "−")


QUANTITIES = (
    Quantity("code_length_identity", BITS, IdentityOptions, _code_length_identity),
    Quantity("kl_predicts_loss", RANK, PredictOptions, _kl_predicts_loss),
)
