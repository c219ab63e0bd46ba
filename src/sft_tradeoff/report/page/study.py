"""Everything the page says about one study, read from its tables, runs and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sft_tradeoff.analysis.claims.table import read_claims_table
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.recommendation import Recommendation, recommend
from sft_tradeoff.analysis.tables import (
    BASE,
    SCORE_COLUMNS,
    SETTING,
    read_over_seeds,
    read_run_table,
    read_table,
)
from sft_tradeoff.report.page import origin
from sft_tradeoff.report.page.changes import fit, read_changes
from sft_tradeoff.report.page.looks import looks
from sft_tradeoff.report.page.points import Tables, points, quantities
from sft_tradeoff.report.page.quantities import DOMAIN, Quantity
from sft_tradeoff.report.page.rule import rule_tables
from sft_tradeoff.report.page.text import inline_html, to_html
from sft_tradeoff.report.page.verdicts import count_verdicts, verdict_rows
from sft_tradeoff.report.recommendation_page import headline
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.files import read_json
from sft_tradeoff.system.strict_yaml import read_yaml

AGGREGATED = "sft-tradeoff aggregate"


@dataclass(frozen=True)
class Sources:
    """Where a study's files are.

    Args:
        name: Of the study.
        tables: Folder with ``run_table.csv``, the tables of scores and ``runs``.
        reports: Folder with ``recommendation.md``, ``recommendation.json`` and ``claims.csv``.
        settings: The study file, for its description; it need not exist.
    """

    name: str
    tables: Path
    reports: Path
    settings: Path

    @property
    def files(self) -> list[Path]:
        """Files without which there is no page."""
        tables = ("run_table.csv", "scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv")
        reports = ("recommendation.md", "recommendation.json", "claims.csv")
        return [self.tables / n for n in tables] + [self.reports / n for n in reports]


@dataclass(frozen=True)
class StudyPage:
    """One study on the page.

    Args:
        name: Of the study.
        shown: What the template writes.
        data: What the explorer draws, as JSON.
    """

    name: str
    shown: Mapping[str, Any]
    data: Mapping[str, Any]


def read_study(sources: Sources) -> StudyPage:
    """Read a finished study.

    Raises:
        UserError: If a file is missing, was changed or is damaged.
    """
    tables, folder = _tables(sources.tables), sources.tables / "runs"
    record = read_json(sources.reports / "recommendation.json")
    tolerance, smallest = record["tolerance"], record["smallest_gain"]
    measured = read_measured(tables.runs, folder)
    found = recommend(tables.over_seeds, measured, tolerance, smallest)
    axes, labels = quantities(tables), _labels(tables)
    data = {
        "name": sources.name,
        "sections": rule_tables(found, measured),
        "points": points(tables, folder),
        "axes": [axis.record for axis in axes],
        "start": first_axes(axes, tolerance),
        "looks": looks(tables.over_seeds),
        "changes": fit(read_changes(tables.runs, folder)),
        "tolerance": tolerance,
        "units": {name: axis.unit for name, axis in limited(axes).items()},
    }
    claims = verdict_rows(read_claims_table(sources.reports / "claims.csv"), sources.name, labels)
    shown = {
        "description": _description(sources.settings),
        "facts": [*_facts(tables, labels), ("Tolerance", _tolerance_text(tolerance, axes))],
        "headlines": _headlines(found),
        "recommendation": _page(sources.reports / "recommendation.md"),
        "claims": claims,
        "verdicts": count_verdicts(claims),
        "methods": origin.methods(tables.runs, folder),
        "provenance": origin.provenance(tables.runs, folder, sources.tables),
        "cards": _cards(sources.tables),
        "looks": data["looks"],
    }
    return StudyPage(sources.name, shown, data)


def _tables(folder: Path) -> Tables:
    return Tables(
        runs=read_run_table(folder / "run_table.csv"),
        scores=read_table(folder / "scores.csv", SCORE_COLUMNS, AGGREGATED),
        tradeoff=read_table(folder / "tradeoff.csv", [*SETTING, "seed"], AGGREGATED),
        over_seeds=read_over_seeds(folder / "tradeoff_over_seeds.csv"),
    )


def limited(axes: Sequence[Quantity]) -> dict[str, Quantity]:
    """General measure -> the axis of the loss that its tolerance limits."""
    return {axis.measure: axis for axis in axes if axis.measure}


def first_axes(axes: Sequence[Quantity], tolerance: Mapping[str, float]) -> dict[str, str]:
    """The axes that the explorer begins with: the loss that the tolerance limits, and the domain.

    A study without a general suite begins with the learning rate.

    Args:
        axes: All axes of the study.
        tolerance: Of its recommendation.
    """
    keys = [axis.key for axis in axes]
    losses = (axis.key for name, axis in limited(axes).items() if name in tolerance)
    domain = [axis.key for axis in axes if axis.group == DOMAIN]
    return {"x": next(losses, "rate" if "rate" in keys else keys[0]), "y": (domain or keys)[0]}


def _labels(tables: Tables) -> list[str]:
    trained = tables.runs[tables.runs["method"] != BASE]
    return [str(label) for label in trained["label"].unique()]


def _description(settings: Path) -> str:
    return str(read_yaml(settings).get("description", "")) if settings.is_file() else ""


def _facts(tables: Tables, labels: Sequence[str]) -> list[tuple[str, str]]:
    runs = tables.runs[tables.runs["method"] != BASE]
    rates = sorted(runs["learning_rate"].unique())
    return [
        ("Model", ", ".join(map(str, runs["model"].unique()))),
        ("Domain", ", ".join(map(str, runs["domain"].unique()))),
        ("Methods", ", ".join(labels)),
        ("Learning rates", ", ".join(map(format_learning_rate, rates))),
        ("Seeds", str(runs["seed"].nunique())),
        ("Runs", f"{len(runs)} trained, and θ₀, the model before training"),
    ]


def _tolerance_text(tolerance: Mapping[str, float], axes: Sequence[Quantity]) -> str:
    losses = limited(axes)
    parts = [f"{allowed:g} {losses[name].unit}" for name, allowed in tolerance.items()]
    return " and ".join(parts) or "none"


def _headlines(found: Recommendation) -> list[dict[str, Any]]:
    return [
        {
            "title": f"{section.model}, {section.domain}",
            "text": inline_html(headline(section, found.tolerance)),
            "chosen": section.chosen is not None,
        }
        for section in found.sections
    ]


def _page(path: Path) -> Markup:
    return to_html(path.read_text(encoding="utf-8"), lower=1)


def _cards(tables: Path) -> list[dict[str, Any]]:
    """Data cards, which the results of a study have and its publication has not."""
    found = sorted(tables.glob("data/*/card.md"))
    return [
        {"domain": path.parent.name, "text": to_html(path.read_text(encoding="utf-8"), lower=2)}
        for path in found
    ]
