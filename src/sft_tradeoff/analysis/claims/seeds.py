"""Claims about training seeds: R3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

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
from sft_tradeoff.analysis.claims.pairs import Setting, at_chance
from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.statistic import Effect
from sft_tradeoff.analysis.tables import LEVEL
from sft_tradeoff.stats.bootstrap import cluster_sums
from sft_tradeoff.stats.intervals import Interval
from sft_tradeoff.stats.variance import variance_components

OF_SPREAD = "share of the spread between seeds"


class SeedOptions(QuantityOptions):
    """Parameters of :data:`SEEDS_MATTER`."""

    metric: Literal["accuracy", "nll"] = Field("nll", description="domain score that varies")


def _seeds_matter(results: Results, options: SeedOptions, margin: float) -> Sequence[Finding]:
    """Share of the variance between seeds' mean scores that is not noise of the items.

    With mean squares M of seeds and of the rest (items by seeds, two-way random effects), the
    share is 1 − E M_rest / E M_seeds. M_seeds / M_rest, divided by the ratio of what is expected of
    them, follows Fisher's F, which gives interval and p values exactly for normal scores.
    """
    found = []
    for arm in results.arms:
        for rate in arm.rates:
            setting = Setting(arm, rate)

            def parts(setting: Setting = setting) -> tuple[Part, ...]:
                return (_part(results, setting, options.metric, margin),)

            found.append(finding(parts, arm.place, f"{setting}, {options.metric}"))
    return found


def _part(results: Results, setting: Setting, metric: str, margin: float) -> Part:
    from scipy.stats import f as fisher

    scores = results.clustered(*setting, (setting.arm.domain, metric))
    value, size = cluster_sums(scores)
    table = value / size.mean()  # (S, C), whose mean over clusters is the score
    n_seeds, n = table.shape
    if n_seeds < 2:
        raise Untested("one seed does not show how much seeds differ; train at least 2")
    components = variance_components(table)
    of_seeds = n * float(table.mean(1).var(ddof=1))
    if not components.interaction > 0:
        raise Untested("the seeds have the same scores on all items, or differ alike on all")
    ratio, df = of_seeds / components.interaction, (n_seeds - 1, (n_seeds - 1) * (n - 1))
    tails = (1 - LEVEL) / 2
    low, high = (1 - fisher.ppf(q, *df) / ratio if ratio else -math.inf for q in (1 - tails, tails))
    least = ratio * (1 - margin)
    above, below = float(fisher.sf(least, *df)), float(fisher.cdf(least, *df))
    share = 1 - 1 / ratio if ratio else -math.inf
    share, low, high = np.clip([share, low, high], 0, 1).tolist()
    return Part(
        name=f"σ²(seeds) / (σ²(seeds) + σ²(seeds × items) / {n})",
        effect=Effect(
            Interval(share, low, high, stderr=math.nan, df=float(df[0])),
            components,
            n_items=len(scores.size),
            n_clusters=n,
            n_seeds=n_seeds,
        ),
        kind=Kind.GREATER,
        margin=margin,
        unit=OF_SPREAD,
        blocked=_at_chance(results, setting) if metric == "accuracy" else "",
        p_values=(min(1.0, 2 * above), 1.0, below),
    )


def _at_chance(results: Results, setting: Setting) -> str:
    return at_chance([results.domain_score(*setting)], results.chance(setting.arm))


QUANTITIES = (Quantity("seeds_matter", OF_SPREAD, SeedOptions, _seeds_matter),)
