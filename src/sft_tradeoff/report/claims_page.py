"""The page of verdicts, from the table of claims: every number is rounded here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.claims.table import DETAIL
from sft_tradeoff.analysis.claims.verdict import Verdict
from sft_tradeoff.analysis.tables import Row, rows_of
from sft_tradeoff.report.markdown import markdown_table

if TYPE_CHECKING:
    import pandas as pd

INTRO = """# Claims

Every claim was written down with its estimand, margin *m* and level before the study was run
(`config/claims.yaml`). **Supported**: the effect is what the claim says, beyond its margin;
**contradicted**: the opposite, beyond the margin; **equivalent**: the effect lies within ± *m*;
**cannot tell**: none of these at the claim's level. Effects have 95 % intervals over seeds and
independent units of items, with the numerical noise floor; p values are Holm's, over all rows of
this page. A claim with several rows is contradicted if one row is, and supported or equivalent if
all tested rows are. Rows in *italics* are details that do not count.
G: change of general code length against θ₀, bits per byte (less is better). D: domain accuracy."""
HEADER = (
    "Where",
    "Comparison",
    "Effect [95 %]",
    "Claimed",
    "p (Holm)",
    "Items / units / seeds",
    "Lost / gained (McNemar p)",
    "Visible at 80 %",
    "Would settle it",
    "Verdict",
)


def to_markdown(table: pd.DataFrame) -> str:
    """Render the table of :func:`~sft_tradeoff.analysis.claims.table.claims_table`."""
    groups = [rows_of(group) for _, group in table.groupby("claim", sort=False)]
    overview = [
        (rows[0]["claim"], rows[0]["statement"], f"**{rows[0]['verdict']}**") for rows in groups
    ]
    summary = markdown_table(("Claim", "Statement", "Verdict"), overview)
    return "\n\n".join([INTRO, summary, *map(_section, groups)]) + "\n"


def _section(rows: list[Row]) -> str:
    claim, *tested = rows
    parts = [f"## {claim['claim']}: {claim['verdict']}", *_head(claim)]
    if tested:
        parts.append(markdown_table(HEADER, [_cells(row) for row in tested]))
        parts.append("\n".join(_notes(tested)))
    return "\n\n".join(filter(None, parts))


def _head(claim: Row) -> Iterator[str]:
    yield f"{claim['statement']} Source: {claim['source']}."
    if isinstance(claim["note"], str) and claim["note"]:
        reason = "Missing" if claim["verdict"] == Verdict.NOT_TESTED else "Rows"
        yield f"{reason}: {claim['note']}."
    if claim["paper"]:
        yield f"The paper: {claim['paper']}."
    if claim["others"]:
        yield f"Others: {claim['others']}."


def _cells(row: Row) -> tuple[str, ...]:
    where = ", ".join(str(row[key]) for key in ("model", "domain", "method") if row[key])
    verdict = f"*{row['verdict']}*" if row["kind"] == DETAIL else f"**{row['verdict']}**"
    if row["verdict"] == Verdict.NOT_TESTED:
        return where, str(row["comparison"]), *[""] * (len(HEADER) - 3), verdict
    return (
        where,
        str(row["comparison"]),
        f"{_number(row['effect'])} [{_number(row['low'])}, {_number(row['high'])}]",
        f"{row['says'].replace('m', format(row['margin'], 'g'))} {row['unit']}",
        _p(row["p_holm"]),
        f"{row['n_items']} / {row['n_clusters']} / {row['n_seeds']}",
        _changed(row),
        _number(row["visible"]),
        _settling(row),
        verdict,
    )


def _changed(row: Row) -> str:
    if row["lost"] is None or row["lost"] != row["lost"] or str(row["lost"]) == "<NA>":
        return ""
    return f"{row['lost']} / {row['gained']} ({_p(row['p_mcnemar'])})"


def _settling(row: Row) -> str:
    if str(row["clusters_needed"]) == "<NA>":
        return ""
    return f"{row['clusters_needed']} units, {row['seeds_needed']} seeds"


def _notes(rows: list[Row]) -> Iterator[str]:
    """One line per row that has a note."""
    for row in rows:
        if isinstance(row["note"], str) and row["note"]:
            yield f"- {row['comparison'] or row['claim']}: {row['note']}."


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value + 0.0:.4f}".replace("-", "−")


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< .0001" if value < 1e-4 else f"{value:.4f}"
