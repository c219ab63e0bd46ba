"""Claims about epochs: R1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.claims.base import (
    SHARE,
    Finding,
    Kind,
    Part,
    Quantity,
    QuantityOptions,
    Untested,
)
from sft_tradeoff.analysis.claims.pairs import Candidate, Setting, at_chance, choose
from sft_tradeoff.analysis.claims.results import Half, Results, clustered
from sft_tradeoff.analysis.claims.statistic import Statistic, effect_of, score
from sft_tradeoff.analysis.epochs import ITEMS_NAME
from sft_tradeoff.analysis.run_records import read_item_table

if TYPE_CHECKING:
    import pandas as pd


class OvertrainingOptions(QuantityOptions):
    """Parameters of :data:`OVERTRAINING`."""


def _overtraining(results: Results, _: OvertrainingOptions, margin: float) -> Sequence[Finding]:
    """D(best earlier epoch) − D(last epoch) on the validation split."""
    found = [
        _of_setting(results, Setting(arm, rate), margin)
        for arm in results.arms
        for rate in arm.rates
    ]
    if all(row is None for row in found):
        raise Untested(
            "no run scored its epochs; set 'training.select: best_domain' and train more than one"
        )
    return [row for row in found if row is not None]


def _of_setting(results: Results, setting: Setting, margin: float) -> Finding | None:
    """None if no seed has scored its epochs."""
    arm = setting.arm
    runs = arm.rates[setting.rate]
    tables = {seed: _read(results, run) for seed, run in runs.items()}
    if all(table is None for table in tables.values()):
        return None
    lacking = [run for seed, run in runs.items() if tables[seed] is None]
    if lacking:
        return Finding(arm.place, missing=f"run {lacking[0]} has no scores of its epochs")
    found = {seed: table for seed, table in tables.items() if table is not None}
    epochs = [sorted(table["epoch"].unique()) for table in found.values()]
    if any(other != epochs[0] for other in epochs) or len(epochs[0]) < 2:
        return Finding(arm.place, missing=f"{setting}: its seeds do not share two epochs or more")

    def candidate(epoch: float) -> Candidate:
        def parts(half: Half) -> tuple[Part, ...]:
            early, last = (_score(found, arm.domain, e, half) for e in (epoch, epochs[0][-1]))
            name = f"D(epoch {epoch:g}) − D(epoch {epochs[0][-1]:g})"
            blocked = at_chance([early, last], results.chance(arm))
            return (
                Part(name, effect_of(early - last), Kind.GREATER, margin, SHARE, blocked=blocked),
            )

        return Candidate(f"{setting}, epoch {epoch:g} against the last", parts)

    return choose([candidate(epoch) for epoch in epochs[0][:-1]], arm.place)


def _score(tables: dict[int, pd.DataFrame], domain: str, epoch: float, half: Half) -> Statistic:
    frames = []
    for seed, table in tables.items():
        rows = table[(table["epoch"] == epoch) & (table["metric"] == "accuracy")]
        if rows.empty or rows["value"].isna().any():
            raise Untested(f"seed {seed}: the accuracy of epoch {epoch:g} is missing or NaN")
        frames.append(rows.set_index("item").sort_index())
    if any(not frame.index.equals(frames[0].index) for frame in frames):
        raise Untested(f"epoch {epoch:g}: the seeds were scored on different items")
    key = (f"{domain}, validation", "accuracy")
    return score(f"epoch {epoch:g}", key, clustered(frames, half), tuple(tables))


def _read(results: Results, run: str) -> pd.DataFrame | None:
    """Scores of every epoch of a run; None if they were not kept."""
    path = results.folder / run / ITEMS_NAME if results.folder else None
    return read_item_table(path, "epoch") if path and path.is_file() else None


OVERTRAINING = Quantity("overtraining", SHARE, OvertrainingOptions, _overtraining)
QUANTITIES = (OVERTRAINING,)
