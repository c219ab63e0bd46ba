"""The page of verdicts, from the table of claims: every number is rounded here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sft_tradeoff.analysis.claims.table import DETAIL
from sft_tradeoff.analysis.claims.verdict import Verdict
from sft_tradeoff.analysis.tables import Row, rows_of
from sft_tradeoff.report.markdown import markdown_table
from sft_tradeoff.report.tables import DASH

if TYPE_CHECKING:
    import pandas as pd

INTRO = """# Claims

Every claim was written down with its estimand, margin *m* and level before the study was run
(`config/claims.yaml`). **Supported**: the effect is what the claim says, beyond its margin;
**contradicted**: the opposite, beyond the margin; **equivalent**: the effect lies within ± *m*;
**cannot tell**: none of these at the claim's level. One seed speaks of *this run only* and decides
nothing about training. Effects have 95 % intervals over seeds and independent units of items, with
the numerical noise floor; p values are Holm's, over all rows of this page. The best of several
comparisons is chosen on one half of the units and reported on the other; the halves share the
training runs, so it is supported only if p times their number is below the level. What would have
been visible, and what would settle a row, is for its share of the level. Lost and gained: items
with fewer or more right answers, over all seeds. A claim with several rows is contradicted if one
row is, and supported or equivalent if all tested rows are. Rows in *italics* are details that do
not count. Rows without items are exact: theory, the same for every study.
G: change of general code length against θ₀, bits per byte (less is better). D: domain accuracy."""
NO_NOISE = """The numerical noise floor of the scores of this study is 0 or was not measured: no
interval is wider for it."""
SIZES = ("items", "clusters", "seeds")
HEADER = (
    "",
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
    overview = [(row["claim"], row["statement"], verdict_text(row)) for row, *_ in groups]
    summary = markdown_table(("Claim", "Statement", "Verdict"), overview)
    noise = "" if (table["floor"] > 0).any() else NO_NOISE
    return "\n\n".join(filter(None, [INTRO, noise, summary, *map(_section, groups)])) + "\n"


def _section(rows: list[Row]) -> str:
    claim, rest = rows[0], rows[1:]
    tested = [row for row in rest if row["verdict"] != Verdict.NOT_TESTED]
    untested = [row for row in rest if row["verdict"] == Verdict.NOT_TESTED]
    parts = [f"## {claim['claim']}: {verdict_text(claim)}", *_head(claim)]
    if tested:
        numbered = list(enumerate(tested, 1))
        parts.append(markdown_table(HEADER, [_cells(number, row) for number, row in numbered]))
        parts.append(_grouped({str(number): row["note"] for number, row in numbered}))
    if tested and untested:
        parts.append("Not tested:\n\n" + _grouped({_name(row): row["note"] for row in untested}))
    return "\n\n".join(filter(None, parts))


def _head(claim: Row) -> Iterator[str]:
    yield f"{claim['statement']} Source: {claim['source']}."
    if claim["verdict"] == Verdict.NOT_TESTED:
        yield f"Missing: {claim['note']}."
    if claim["paper"]:
        yield f"The paper: {claim['paper']}."
    if claim["others"]:
        yield f"Others: {claim['others']}."


def where_text(row: Row) -> str:
    """Model, domain and method that a row is about."""
    return ", ".join(str(row[key]) for key in ("model", "domain", "method") if row[key])


def _name(row: Row) -> str:
    return ": ".join(filter(None, [where_text(row), str(row["comparison"])]))


def _cells(number: int, row: Row) -> tuple[str, ...]:
    mark = "*" if row["kind"] == DETAIL else "**"
    return (
        str(number),
        where_text(row),
        str(row["comparison"]),
        effect_text(row),
        claimed_text(row),
        _p(row["p_holm"]),
        sizes_text(row),
        _changed(row),
        _number(row["visible"]),
        settling_text(row),
        f"{mark}{verdict_text(row)}{mark}",
    )


def effect_text(row: Row) -> str:
    """The effect with its interval."""
    return _number(row["effect"]) + _interval(row)


def claimed_text(row: Row) -> str:
    """What the claim says about the effect, with the margin in its unit."""
    return f"{row['says'].replace('m', format(row['margin'], 'g'))} {row['unit']}"


def verdict_text(row: Row) -> str:
    """The verdict, and whether it speaks of one run only."""
    return f"{row['verdict']} (this run only)" if row["this_run_only"] else str(row["verdict"])


def _interval(row: Row) -> str:
    if math.isnan(row["low"]):
        return ""
    return f" [{_number(row['low'])}, {_number(row['high'])}]"


def sizes_text(row: Row) -> str:
    """Items, units and seeds; an exact number has none."""
    return " / ".join(str(row[f"n_{what}"]) for what in SIZES) if row["n_items"] else DASH


def _changed(row: Row) -> str:
    if not _is_known(row["lost"]):
        return ""
    return f"{row['lost']} / {row['gained']} ({_p(row['p_mcnemar'])})"


def settling_text(row: Row) -> str:
    """Units and seeds that would settle a row; empty if it is settled or that is unknown."""
    if not _is_known(row["clusters_needed"]):
        return ""
    if not row["clusters_needed"]:
        return "more than a million units"
    return f"{row['clusters_needed']} units, {row['seeds_needed']} seeds"


def _is_known(count: object) -> bool:
    return isinstance(count, int)


def _grouped(notes: Mapping[str, str]) -> str:
    """One line per note, with the rows that share it."""
    rows: dict[str, list[str]] = {}
    for name, note in notes.items():
        if note:
            rows.setdefault(note, []).append(name)
    return "\n".join(f"- {'; '.join(names)}: {note}." for note, names in rows.items())


def _number(value: float) -> str:
    if math.isnan(value):
        return DASH
    return f"{value + 0.0:.4f}".replace("-", "−").replace("inf", "∞")


def _p(value: float) -> str:
    if math.isnan(value):
        return DASH
    return "< .0001" if value < 1e-4 else f"{value:.4f}"
