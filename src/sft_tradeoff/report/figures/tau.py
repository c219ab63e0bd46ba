"""Options of TALR beside each other: what is learned on the domain, and what it costs in general.

One row of panels per model and domain: domain accuracy, and the change of general code length. One
line per choice of temperature, floor and rescaling, in the order of the study, below standard SFT;
one marker per learning rate. The dashed line is θ0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sft_tradeoff.analysis.tables import BASE, SETTING, rows_of
from sft_tradeoff.analysis.talr_options import OPTIONS, temperature_name
from sft_tradeoff.report.figures.style import (
    BASE_COLOR,
    BASE_LABEL,
    COLORS,
    MethodStyle,
    draw_intervals,
    method_handles,
    new_panels,
    note_if_empty,
    outside_legend,
    rate_markers,
)
from sft_tradeoff.study.names import format_learning_rate

X_LABELS = {
    "domain_score": "Domain accuracy\n(fraction correct)\nbetter →",
    "general_bits_per_byte_difference": "Δ general code length\n(bits per byte)\n← better",
}
DRAWN = [*SETTING, *OPTIONS, *(f"{q}{b}" for q in X_LABELS for b in ("", "_low", "_high"))]
LINE_HEIGHT = 0.17  # inches


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the options that a study compares.

    Args:
        table: One row per setting, see :mod:`sft_tradeoff.analysis.talr_options`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table[DRAWN]
    names = pd.Series([temperature_name(row) for row in rows_of(frame)], index=frame.index)
    trained = frame["method"] != BASE
    is_sft = (frame["method"] == "sft")[trained]
    arms = [*names[trained][is_sft].unique(), *names[trained][~is_sft].unique()]
    places = pd.Series(range(len(arms)), index=arms)
    rates = rate_markers(frame)
    panels = list(frame[["model", "domain"]].drop_duplicates().itertuples(index=False, name=None))
    height = 0.5 + LINE_HEIGHT * (len(arms) + 1)
    figure, grid = new_panels(len(panels), len(X_LABELS), height, sharey="all")
    several = frame["model"].nunique() > 1
    for (model, domain), line in zip(panels, grid, strict=True):
        here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
        for axes, x in zip(line, X_LABELS, strict=True):
            _draw_panel(axes, here.assign(place=names.map(places)), x, rates)
        line[0].set_title(f"{model}: {domain}" if several else domain, loc="left")
    grid[0, 0].set_yticks(range(len(arms)), arms)
    grid[0, 0].set_ylim(len(arms) - 0.4, -0.6)
    for axes, x in zip(grid[-1], X_LABELS, strict=True):
        axes.set_xlabel(X_LABELS[x])
    styles = {
        format_learning_rate(rate): (shape, color)
        for (rate, shape), color in zip(rates.items(), COLORS * 2, strict=False)
    }
    handles = method_handles({BASE_LABEL: MethodStyle(BASE_COLOR, "--", "full")}, "")
    for name, (shape, color) in styles.items():
        handles += method_handles({name: MethodStyle(color, "", "full")}, shape)
    outside_legend(figure, handles, "upper", "Learning rate")
    return figure, frame


def _draw_panel(axes: Axes, points: pd.DataFrame, x: str, rates: dict[float, str]) -> None:
    for base in points.loc[points["method"] == BASE, x]:
        axes.axvline(base, color=BASE_COLOR, linestyle="--", linewidth=0.8, zorder=1)
    offsets = (np.arange(len(rates)) - (len(rates) - 1) / 2) * 0.5 / max(len(rates), 2)
    looks = zip(rates.items(), COLORS * 2, offsets, strict=False)
    for (rate, shape), color, offset in looks:
        some = points[points["learning_rate"] == rate]
        some = some.assign(y=some["place"] + offset, y_low=np.nan, y_high=np.nan)
        draw_intervals(axes, some, x, "y", color)
        look = MethodStyle(color, "", "full").marker(shape)
        axes.plot(some[x], some["y"], linestyle="", markersize=3.5, **look)
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    note_if_empty(axes, points[x])
