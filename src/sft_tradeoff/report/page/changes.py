"""What every run gained and lost against θ0, item by item, with both answers.

A large study has far more answers than a page should hold. So each run shows the first items of
each benchmark, cut off at some length; both limits shrink in steps until all of it fits, and the
page says how many items there are and how many it shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_tradeoff.analysis.answers import changed_answers, read_answers
from sft_tradeoff.analysis.tables import BASE, rows_of
from sft_tradeoff.system.text import escaped, shortened

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 2_000_000


class Limits(NamedTuple):
    """How much is shown: items per run, benchmark and direction, and characters of an answer."""

    items: int
    characters: int


STEPS = (
    Limits(1000, 1500),
    Limits(40, 1000),
    Limits(20, 600),
    Limits(10, 400),
    Limits(5, 300),
    Limits(2, 200),
    Limits(0, 0),
)


Changes = Mapping[tuple[str, str], "pd.DataFrame"]  # (model, run) -> items


def read_changes(runs: pd.DataFrame, folder: Path) -> Changes:
    """The items that a run or its θ0 answers right, but not both.

    See :func:`~sft_tradeoff.analysis.answers.changed_answers`. Runs without answers, as in some
    publications, are left out.

    Args:
        runs: The run table.
        folder: Holds ``<run>/answers.parquet``.
    """
    found = {}
    for model, group in runs.groupby("model", sort=False):
        bases = (read_answers(folder / name) for name in group.loc[group["method"] == BASE, "run"])
        base = next((answers for answers in bases if answers is not None), None)
        if base is None:
            continue
        for row in rows_of(group[group["method"] != BASE]):
            if (answers := read_answers(folder / row["run"])) is not None:
                found[str(model), row["run"]] = changed_answers(base, answers)
    return found


def fit(changes: Changes, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Show as much as fits.

    Args:
        changes: Of :func:`read_changes`.
        max_bytes: Most bytes of JSON.

    Returns:
        ``limits`` (``items``, ``characters``), ``base``: model/benchmark -> item -> θ0's answer,
        once for all runs, and ``runs``: run -> benchmark -> ``gained`` and ``lost``, each the
        number of items and those shown, with the run's answer. An answer is ``text`` and ``parsed``
        for a generation, ``chosen``, ``gold`` and ``nats`` of the options for a choice.
    """
    for limits in STEPS:
        found = _limited(changes, limits)
        if len(json.dumps(found, ensure_ascii=False).encode()) <= max_bytes:
            break
    return found


def _limited(changes: Changes, limits: Limits) -> dict[str, Any]:
    base: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Any]] = {}
    for (model, run), frame in changes.items():
        of_run = runs.setdefault(run, {})
        for (benchmark, change), group in frame.groupby(["benchmark", "change"], sort=False):
            rows = rows_of(group.head(limits.items))
            shown = of_run.setdefault(str(benchmark), {"gained": _none(), "lost": _none()})
            shown[change] = {"n": len(group), "items": dict(_answers(rows, "other", limits))}
            base.setdefault(f"{model}/{benchmark}", {}).update(_answers(rows, "one", limits))
    return {"limits": limits._asdict(), "base": base, "runs": runs}


def _none() -> dict[str, Any]:
    return {"n": 0, "items": {}}


def _answers(
    rows: Iterable[Mapping[str, Any]], run: str, limits: Limits
) -> Iterable[tuple[str, dict[str, Any]]]:
    for row in rows:
        text, parsed = row[f"text_{run}"], row[f"parsed_{run}"]
        if row["kind"] == "multiple_choice":
            nats = [round(float(x), 2) for x in row[f"log_likelihood_{run}"]]
            chosen = None if parsed is None else int(parsed)
            yield row["item"], {"chosen": chosen, "gold": int(row["gold"]), "nats": nats}
        else:
            yield row["item"], {"text": _cut(text, limits), "parsed": _cut(parsed, limits)}


def _cut(text: str | None, limits: Limits) -> str | None:
    return None if text is None else escaped(shortened(text, limits.characters))
