"""The table of verdicts: claim, paper, others, ours with interval, what would settle it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sft_tradeoff.analysis.claims.base import Verdict
from sft_tradeoff.analysis.claims.table import DETAIL, OVERALL
from sft_tradeoff.analysis.tables import Row, rows_of
from sft_tradeoff.report.claims_page import (
    claimed_text,
    effect_text,
    settling_text,
    sizes_text,
    verdict_text,
    where_text,
)

if TYPE_CHECKING:
    import pandas as pd


def verdict_rows(table: pd.DataFrame, study: str, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per claim, the tested ones first; ``rows`` are what it rests on.

    Args:
        table: ``claims.csv``.
        study: Name of the study, for the links.
        labels: Method labels of the study.
    """
    found = [
        _claim(rows_of(group), study, labels) for _, group in table.groupby("claim", sort=False)
    ]
    return sorted(found, key=lambda claim: not claim["rows"])


def _claim(rows: Sequence[Row], study: str, labels: Sequence[str]) -> dict[str, Any]:
    claim = next(row for row in rows if row["kind"] == OVERALL)
    tested = [r for r in rows if r["kind"] != OVERALL and r["verdict"] != Verdict.NOT_TESTED]
    return {
        "id": claim["claim"],
        "statement": claim["statement"],
        "source": claim["source"],
        "paper": claim["paper"],
        "others": claim["others"],
        "verdict": str(claim["verdict"]),
        "one_run": bool(claim["this_run_only"]),
        "kind": str(claim["verdict"]).replace(" ", "-"),
        "note": claim["note"],
        "rows": [_row(row, study, labels) for row in tested],
        "settling": _settling(claim, tested),
    }


def _settling(claim: Row, tested: Sequence[Row]) -> str:
    """What would settle a claim; why it cannot tell, if that is not a number of items and seeds."""
    if claim["verdict"] != Verdict.CANNOT_TELL:
        return "settled"
    needed = next(filter(None, map(settling_text, tested)), "")
    reasons = (_reason(row["note"]) for row in tested if row["kind"] != DETAIL)
    return needed or next(filter(None, reasons), "") or claim["note"]


def _reason(note: str) -> str:
    """A row's note without its further parts, which are shown with the comparison."""
    return "; ".join(part for part in note.split("; ") if not part.startswith("and "))


def _row(row: Row, study: str, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "where": where_text(row),
        "comparison": row["comparison"],
        "effect": effect_text(row),
        "claimed": claimed_text(row),
        "sizes": sizes_text(row),
        "settling": settling_text(row),
        "verdict": verdict_text(row),
        "kind": str(row["verdict"]).replace(" ", "-"),
        "detail": row["kind"] == DETAIL,
        "note": row["note"],
        "link": runs_link(row, study, labels) if row["model"] else "",
    }


def runs_link(row: Row, study: str, labels: Sequence[str]) -> str:
    """Address of the explorer that shows the runs a row is about.

    Args:
        row: A row of the table of claims.
        study: Name of the study.
        labels: Method labels of the study; those that the row names are shown, or all.
    """
    named = set(re.findall(r"[\w.-]+", f"{row['method']} {row['comparison']}"))
    shown = [label for label in labels if label in named]
    state = {"study": study, "model": row["model"], "domain": row["domain"]}
    return "#" + urlencode(state | ({"methods": ",".join(shown)} if shown else {}))


def count_verdicts(claims: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Number of claims with each verdict, in the order of :class:`Verdict`."""
    found = [claim["kind"] for claim in claims]
    names = [verdict.value.replace(" ", "-") for verdict in Verdict]
    return {name.replace("-", " "): found.count(name) for name in names if name in found}
