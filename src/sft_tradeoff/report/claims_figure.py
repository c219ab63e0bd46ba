"""Effects of all tested claims against the margin, colored by verdict: a forest plot."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from sft_tradeoff.analysis.claims.table import DETAIL, OVERALL
from sft_tradeoff.analysis.claims.verdict import Verdict
from sft_tradeoff.analysis.tables import Row, rows_of
from sft_tradeoff.report.figures.style import new_panels, outside_legend

if TYPE_CHECKING:
    import pandas as pd

COLORS = {
    Verdict.SUPPORTED: "#009E73",
    Verdict.CONTRADICTED: "#D55E00",
    Verdict.EQUIVALENT: "#0072B2",
    Verdict.CANNOT_TELL: "0.5",
}
MOST = 30.0  # margins; what lies beyond is drawn at the edge
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)
ROW = 0.16  # inches
LONGEST = 75  # characters of a label
NAME = 20  # of a model, domain or method in it
WIDTH = 80  # characters of a line below the axes


def draw(table: pd.DataFrame) -> Figure:
    """Draw the table of :func:`~sft_tradeoff.analysis.claims.table.claims_table`.

    Effects are in units of their margin, so that one axis serves accuracies and code lengths; it is
    linear within the margins and logarithmic beyond.
    """
    rows = [row for row in rows_of(table) if row["kind"] != OVERALL and not np.isnan(row["effect"])]
    n_models = len({row["model"] for row in rows} - {""})
    figure, grid = new_panels(1, 1, 0.5 + ROW * max(len(rows), 3))
    figure.set_figwidth(7.5)
    axes = grid[0, 0]
    axes.axvspan(-1, 1, color="0.93", zorder=0)
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    for y, row in enumerate(rows):
        _draw_row(axes, y, row)
        if y == 0 or rows[y - 1]["claim"] != row["claim"]:
            axes.axhline(y - 0.5, color="0.85", linewidth=0.6, zorder=0)
            axes.text(MOST * 1.3, y, row["claim"], fontsize=7, fontweight="bold", va="center")
    axes.set_yticks(range(len(rows)), [_label(row, n_models) for row in rows], fontsize=6)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(-MOST * 1.1, MOST * 1.1)
    axes.set_xlabel(_caption(table))
    if not rows:
        axes.text(0, 0, "no claim is tested", ha="center", va="center")
    outside_legend(figure, _legend(), "upper")
    return figure


def _draw_row(axes: Axes, y: float, row: Row) -> None:
    color = COLORS[Verdict(row["verdict"])]
    low, value, high = (row[name] / row["margin"] for name in ("low", "effect", "high"))
    if not np.isnan(low):
        axes.plot(np.clip([low, high], -MOST, MOST), [y, y], color=color, linewidth=1.0)
    face = "white" if row["kind"] == DETAIL else color
    beyond = "<" if value < -MOST else ">" if value > MOST else "o"
    look: dict[str, Any] = {
        "color": color,
        "markerfacecolor": face,
        "markersize": 3.5,
        "linestyle": "",
    }
    axes.plot(np.clip(value, -MOST, MOST), y, beyond, clip_on=False, **look)


def _label(row: Row, n_models: int) -> str:
    """What a row compares, in one line: long names are cut before the comparison is."""
    comparison = str(row["comparison"]).partition(" (best of")[0]
    keys = ["model"] * (n_models > 1) + ["domain"]
    keys += ["method"] * (not comparison.startswith(f"{row['method']} at"))
    where = ", ".join(_cut(str(row[key]), NAME) for key in keys if row[key])
    return _cut(": ".join(filter(None, [where, comparison])), LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _caption(table: pd.DataFrame) -> str:
    overall = table[table["kind"] == OVERALL]
    untested = overall.loc[overall["verdict"] == Verdict.NOT_TESTED, "claim"]
    text = "Main effect in units of the claim's margin (gray: within ± 1); details are hollow"
    told = textwrap.wrap(f"Not tested: {', '.join(untested)}", WIDTH) if len(untested) else []
    return "\n".join([text, *told])


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=color, marker="o", markersize=3.5, label=str(verdict))
        for verdict, color in COLORS.items()
    ]
