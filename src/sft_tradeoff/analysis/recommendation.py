"""Choose the learning rate and method that learn most within a tolerance of general loss.

Each run gets a verdict on its general loss (:mod:`sft_tradeoff.analysis.tolerance`). The learning
rates of a method are tested in fixed sequence, from the smallest up to the first that is not within
the tolerance; larger ones do not count, whatever their verdict. Of the runs that count, the best of
each method is compared with that of standard SFT, item by item
(:mod:`sft_tradeoff.analysis.comparison`). These are pure functions of tables and per-item scores;
:mod:`sft_tradeoff.report.recommendation_page` puts the result into words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.comparison import (
    NLL,
    AllItems,
    Difference,
    Outcome,
    SmallestGain,
    compare,
    paired,
)
from sft_tradeoff.analysis.evidence import Cost, Measured, Setting, metric_of
from sft_tradeoff.analysis.noise_floor import UNMEASURED, Floors, NoiseFloor, floor_of
from sft_tradeoff.analysis.run_records import Rounding
from sft_tradeoff.analysis.shipped import Survival, survival
from sft_tradeoff.analysis.tables import BASE, CODE_LENGTH, LEVEL, Row, rows_of
from sft_tradeoff.analysis.tolerance import (
    ACCURACY,
    GENERAL,
    Loss,
    Tolerance,
    Verdict,
    combined,
    loss_of,
    n_within,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Candidate:
    """One method at one learning rate.

    Args:
        model: As in the table, like the next four.
        domain: Domain.
        label: Method label.
        method: Method.
        learning_rate: Learning rate.
        verdict: On all measures of the tolerance together.
        losses: General losses by measure, including measures without a tolerance.
        parts: Differences from θ0 by measure and benchmark; the loss is minus their mean.
        domain_score: Accuracy, a fraction.
        domain_nll: NLL in nats per token.
        gains: Gains over θ0 on the same items, by domain measure.
        cost: Cost of training.
        reason: Why scores are missing; empty if none are.
        survival: Gain in NLL as trained and as shipped; None if it was not measured.
        rounding: What saving in bfloat16 does to the update.
    """

    model: str
    domain: str
    label: str
    method: str
    learning_rate: float
    verdict: Verdict
    losses: dict[str, Loss]
    parts: dict[str, dict[str, Difference]]
    domain_score: float
    domain_nll: float
    gains: dict[str, Difference]
    cost: Cost
    reason: str
    survival: Survival | None
    rounding: Rounding

    @property
    def setting(self) -> Setting:
        """Key of its per-item scores."""
        return self.model, self.domain, self.label, self.learning_rate


@dataclass(frozen=True)
class MethodResult:
    """One method over its learning rates, in increasing order.

    Args:
        largest: Largest learning rate that is within the tolerance together with all smaller ones.
        best: The run up to this rate that learns the domain best.
        against_sft: Difference between ``best`` and the best run of standard SFT, by measure; the
            intervals hold for all methods of the section together (Bonferroni).
    """

    label: str
    candidates: tuple[Candidate, ...]
    largest: float | None
    best: Candidate | None
    against_sft: dict[str, Difference]


@dataclass(frozen=True)
class Section:
    """The recommendation for one model and domain.

    Args:
        measure: The domain measure that decides: accuracy, or NLL if accuracy distinguishes no run
            from θ0.
        base_score: Domain accuracy of θ0.
        base_nll: Domain NLL of θ0.
        chosen: The recommended run; None if no run is within the tolerance.
        sft: Label of standard SFT; None if the study does not have it.
        nll_floor: Numerical noise of θ0's domain NLL; None if it was not measured.
        code_floors: Benchmark -> numerical noise of θ0's code length, where it was measured.
    """

    model: str
    domain: str
    measure: str
    base_score: float
    base_nll: float
    methods: tuple[MethodResult, ...]
    chosen: Candidate | None
    sft: str | None
    nll_floor: NoiseFloor | None
    code_floors: dict[str, NoiseFloor]


@dataclass(frozen=True)
class Recommendation:
    """The sections of a study, under one tolerance and one smallest gain worth having."""

    tolerance: Tolerance
    smallest_gain: SmallestGain
    n_seeds: int
    sections: tuple[Section, ...]


# --- decisions ------------------------------------------------------------------------------------


def recommend(
    table: pd.DataFrame, measured: Measured, tolerance: Tolerance, smallest: SmallestGain
) -> Recommendation:
    """Choose learning rate and method for every model and domain of a study.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.
        measured: Per-item scores and costs.
        tolerance: Largest general loss allowed, by measure; see
            :func:`~sft_tradeoff.analysis.tolerance.complete_tolerance`.
        smallest: Smallest gain worth having, by domain measure.
    """
    sections = [
        _section(str(model), str(domain), rows, measured, tolerance, smallest)
        for (model, domain), rows in table.groupby(["model", "domain"], sort=False)
    ]
    return Recommendation(tolerance, smallest, int(table["n_seeds"].max()), tuple(sections))


def _section(
    model: str,
    domain: str,
    rows: pd.DataFrame,
    measured: Measured,
    tolerance: Tolerance,
    smallest: SmallestGain,
) -> Section:
    base, trained = (
        rows_of(rows[(rows["method"] == BASE) == is_base]) for is_base in (True, False)
    )
    candidates = [_candidate(row, measured, tolerance, smallest) for row in trained]
    candidates.sort(key=lambda c: c.learning_rate)
    seen = [c.gains[ACCURACY] for c in candidates if c.gains]
    measure = ACCURACY if any(gain.excludes_zero for gain in seen) else NLL
    of_label = {row["label"]: [c for c in candidates if c.label == row["label"]] for row in trained}
    floors = measured.floors.get(model, UNMEASURED)
    within = {label: _within(own) for label, own in of_label.items()}
    best = {label: _best(own, measured.items, measure, smallest) for label, own in within.items()}
    sft = next((c.label for c in candidates if c.method == "sft"), None)
    against = _against(best, sft, measured.items, smallest, floors)
    methods = [
        MethodResult(
            label=label,
            candidates=tuple(own),
            largest=max((c.learning_rate for c in within[label]), default=None),
            best=best[label],
            against_sft=against.get(label, {}),
        )
        for label, own in of_label.items()
    ]
    return Section(
        model=model,
        domain=domain,
        measure=measure,
        base_score=base[0]["domain_score"],
        base_nll=base[0]["domain_nll"],
        methods=tuple(methods),
        chosen=_chosen(methods, sft, measure),
        sft=sft,
        nll_floor=floors.get((domain, NLL)),
        code_floors={b: found for (b, metric), found in floors.items() if metric == CODE_LENGTH},
    )


def _candidate(
    row: Row, measured: Measured, tolerance: Tolerance, smallest: SmallestGain
) -> Candidate:
    setting = row["model"], row["domain"], row["label"], row["learning_rate"]
    base = (*setting[:2], BASE, None)
    floors = measured.floors.get(row["model"], UNMEASURED)
    suite = {name: found for name in GENERAL if (found := measured.suite.get((row["model"], name)))}
    losses = {}
    for name, sizes in suite.items():
        clusters = measured.clusters.get((row["model"], name), sizes)
        counts = [*sizes.values()], [*clusters.values()]
        losses[name] = loss_of(row, name, tolerance.get(name, math.inf), *counts)
    return Candidate(
        model=row["model"],
        domain=row["domain"],
        label=row["label"],
        method=row["method"],
        learning_rate=row["learning_rate"],
        verdict=combined([loss.verdict for name, loss in losses.items() if name in tolerance]),
        losses=losses,
        parts={
            name: _parts(measured.items, setting, base, name, suite[name], floors) for name in suite
        },
        domain_score=row["domain_score"],
        domain_nll=row["domain_nll"],
        gains=compare(measured.items, setting, base, smallest, floors=floors),
        cost=measured.costs.get(setting, Cost()),
        reason=row["reason"],
        survival=_survival(measured.items, setting, base, floors),
        rounding=measured.rounding.get(setting, Rounding()),
    )


def _survival(items: AllItems, one: Setting, base: Setting, floors: Floors) -> Survival | None:
    of_base = items.get(base, ())
    return survival(items.get(one, ()), of_base[0], one[1], floors) if of_base else None


def _parts(
    items: AllItems,
    one: Setting,
    other: Setting,
    measure: str,
    benchmarks: Iterable[str],
    floors: Floors,
) -> dict[str, Difference]:
    """Difference in each benchmark of a general measure that all runs were scored on."""
    runs = (*items.get(one, ()), *items.get(other, ()))
    keys = [(benchmark, str(metric_of(benchmark, measure))) for benchmark in benchmarks]
    found = {
        key[0]: paired(items, one, other, key, floor=floor_of(floors, key))
        for key in keys
        if all(key in run for run in runs)
    }
    return {benchmark: part for benchmark, part in found.items() if part}


def _within(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The runs before the first that is not within the tolerance, or has no score.

    Args:
        candidates: Of one method, in increasing order of the learning rate.
    """
    return candidates[: n_within(c.verdict for c in candidates)]


def _best(
    candidates: Sequence[Candidate], items: AllItems, measure: str, smallest: SmallestGain
) -> Candidate | None:
    """The run that gains most, of those within the tolerance.

    If accuracy decides, several runs may not be measurably worse than the one with the highest
    accuracy; of those, the one with the smallest NLL is taken.
    """
    complete = [c for c in candidates if c.gains and not _has_nan(c.gains.values())]
    if not complete:
        return None
    best = max(complete, key=lambda c: (c.gains[measure].value, -c.domain_nll, -c.learning_rate))
    if measure == NLL:
        return best
    against = ((c, compare(items, c.setting, best.setting, smallest)[ACCURACY]) for c in complete)
    equals = [c for c, difference in against if difference.outcome is not Outcome.WORSE]
    return min(equals, key=lambda c: (c.domain_nll, c.learning_rate))


def _has_nan(gains: Iterable[Difference]) -> bool:
    return any(math.isnan(gain.value) for gain in gains)


def _against(
    best: Mapping[str, Candidate | None],
    sft: str | None,
    items: AllItems,
    smallest: SmallestGain,
    floors: Floors,
) -> dict[str, dict[str, Difference]]:
    """Compare each method's best run with SFT's; the intervals hold for all methods together."""
    reference = best[sft] if sft is not None else None
    if reference is None:
        return {}
    others = {label: c for label, c in best.items() if c is not None and label != sft}
    level = 1 - (1 - LEVEL) / max(1, len(others))
    return {
        label: compare(items, c.setting, reference.setting, smallest, level, floors)
        for label, c in others.items()
    }


def _chosen(methods: Sequence[MethodResult], sft: str | None, measure: str) -> Candidate | None:
    """SFT, unless another method is better by an amount worth having.

    If SFT has no run within the tolerance, the method that gains most.
    """
    found = [(m, m.best) for m in methods if m.best is not None]
    plain = next((best for m, best in found if m.label == sft), None)
    if plain is None:
        return max(
            (best for _, best in found), key=lambda best: best.gains[measure].value, default=None
        )
    better = [
        (m.against_sft[measure].value, best)
        for m, best in found
        if m.against_sft and m.against_sft[measure].outcome is Outcome.BETTER
    ]
    return max(better, key=lambda pair: pair[0])[1] if better else plain
