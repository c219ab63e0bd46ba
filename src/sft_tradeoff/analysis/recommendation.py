"""Which learning rate and method keep the general loss within a tolerance, and what they cost.

A run is *within* the tolerance if the whole 95 % interval of its general loss is, *exceeds* it if
the whole interval is beyond, and otherwise these items *cannot tell*. Among the runs within, those
that learn the domain best are compared item by item (:mod:`sft_tradeoff.analysis.comparison`).
Decisions are pure functions of tables and per-item scores;
:mod:`sft_tradeoff.report.recommendation_page` words them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

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
from sft_tradeoff.analysis.tables import BASE, LEVEL, Row, rows_of
from sft_tradeoff.analysis.tolerance import (
    ACCURACY,
    GENERAL,
    Loss,
    Tolerance,
    Verdict,
    combined,
    loss_of,
)


@dataclass(frozen=True)
class Candidate:
    """One method at one learning rate.

    Args:
        model: As in the table, like the next four.
        domain: Domain.
        label: Method label.
        method: Method.
        learning_rate: Learning rate.
        verdict: On all measures of the tolerance at once.
        losses: By measure of the general suite, those outside the tolerance included.
        parts: By measure and benchmark, what the loss is the mean of: differences from θ0.
        domain_score: Accuracy.
        domain_nll: Loss, nats per token.
        gains: By domain measure, against θ0 on the same items.
        cost: Training.
        reason: What is wrong with its scores; empty if nothing is.
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

    @property
    def setting(self) -> Setting:
        """Key of its items."""
        return self.model, self.domain, self.label, self.learning_rate


@dataclass(frozen=True)
class MethodResult:
    """One method over its learning rates, in increasing order.

    Args:
        largest: Largest learning rate within the tolerance.
        best: The run within the tolerance that learns the domain best.
        against_sft: ``best`` against that of standard SFT, by measure; intervals hold for all
            methods of the section at once (Bonferroni).
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
        measure: The domain measure that decides: accuracy, or the loss where accuracy cannot tell
            any run from θ0.
        chosen: The run to take; None where no run is within the tolerance.
        sft: Label of standard SFT, None if the study has none.
    """

    model: str
    domain: str
    measure: str
    base_score: float
    base_nll: float
    methods: tuple[MethodResult, ...]
    chosen: Candidate | None
    sft: str | None


@dataclass(frozen=True)
class Recommendation:
    """All sections of a study, under one tolerance and one smallest gain worth having."""

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
        measured: Items and costs behind it.
        tolerance: Largest general loss allowed, by measure; see :func:`complete_tolerance`.
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
    best = {label: _best(own, measured.items, measure, smallest) for label, own in of_label.items()}
    sft = next((c.label for c in candidates if c.method == "sft"), None)
    against = _against(best, sft, measured.items, smallest)
    methods = [
        MethodResult(
            label=label,
            candidates=tuple(own),
            largest=max((c.learning_rate for c in _within(own)), default=None),
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
    )


def _candidate(
    row: Row, measured: Measured, tolerance: Tolerance, smallest: SmallestGain
) -> Candidate:
    setting = row["model"], row["domain"], row["label"], row["learning_rate"]
    base = (*setting[:2], BASE, None)
    suite = {name: found for name in GENERAL if (found := measured.suite.get((row["model"], name)))}
    losses = {
        name: loss_of(row, name, tolerance.get(name, math.inf), [*sizes.values()])
        for name, sizes in suite.items()
    }
    return Candidate(
        model=row["model"],
        domain=row["domain"],
        label=row["label"],
        method=row["method"],
        learning_rate=row["learning_rate"],
        verdict=combined([loss.verdict for name, loss in losses.items() if name in tolerance]),
        losses=losses,
        parts={name: _parts(measured.items, setting, base, name, suite[name]) for name in suite},
        domain_score=row["domain_score"],
        domain_nll=row["domain_nll"],
        gains=compare(measured.items, setting, base, smallest),
        cost=measured.costs.get(setting, Cost()),
        reason=row["reason"],
    )


def _parts(
    items: AllItems, one: Setting, other: Setting, measure: str, benchmarks: Iterable[str]
) -> dict[str, Difference]:
    """Differences in each benchmark of a general measure that all runs have scores of."""
    runs = (*items.get(one, ()), *items.get(other, ()))
    keys = [(benchmark, str(metric_of(benchmark, measure))) for benchmark in benchmarks]
    found = {key[0]: paired(items, one, other, key) for key in keys if all(key in r for r in runs)}
    return {benchmark: part for benchmark, part in found.items() if part}


def _within(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.verdict is Verdict.WITHIN]


def _best(
    candidates: Sequence[Candidate], items: AllItems, measure: str, smallest: SmallestGain
) -> Candidate | None:
    """The run within the tolerance that gains most.

    Where accuracy decides, noise decides between runs that it cannot tell apart: of those, the
    one with the smallest loss.
    """
    able = [
        c for c in _within(candidates)
        if c.gains and not any(math.isnan(gain.value) for gain in c.gains.values())
    ]  # fmt: skip
    if not able:
        return None
    best = max(able, key=lambda c: (c.gains[measure].value, -c.domain_nll, -c.learning_rate))
    if measure == NLL:
        return best
    against = ((c, compare(items, c.setting, best.setting, smallest)[ACCURACY]) for c in able)
    equals = [c for c, difference in against if difference.outcome is not Outcome.WORSE]
    return min(equals, key=lambda c: (c.domain_nll, c.learning_rate))


def _against(
    best: Mapping[str, Candidate | None],
    sft: str | None,
    items: AllItems,
    smallest: SmallestGain,
) -> dict[str, dict[str, Difference]]:
    """Each method's best run against that of SFT, with intervals that hold for all at once."""
    reference = best[sft] if sft is not None else None
    if reference is None:
        return {}
    others = {label: c for label, c in best.items() if c is not None and label != sft}
    level = 1 - (1 - LEVEL) / max(1, len(others))
    return {
        label: compare(items, c.setting, reference.setting, smallest, level)
        for label, c in others.items()
    }


def _chosen(methods: Sequence[MethodResult], sft: str | None, measure: str) -> Candidate | None:
    """SFT, unless another method is better by an amount worth having.

    Without SFT it is the method that gains most.
    """
    able = [(m, m.best) for m in methods if m.best is not None]
    plain = next((best for m, best in able if m.label == sft), None)
    if plain is None:
        gain = {best.label: best.gains[measure].value for _, best in able}
        return max((best for _, best in able), key=lambda best: gain[best.label], default=None)
    better = [
        (m.against_sft[measure].value, best)
        for m, best in able
        if m.against_sft and m.against_sft[measure].outcome is Outcome.BETTER
    ]
    return max(better, key=lambda pair: pair[0])[1] if better else plain
