"""Every score against the learning rate: what is learned on the domain, and what it costs.

One row per quantity (for each model), one column per domain, one line per method; θ0 is a dashed
line with its interval as a band.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from sft_tradeoff.analysis.tables import BASE, SETTING
from sft_tradeoff.report.figures.style import (
    BASE_COLOR,
    BASE_LABEL,
    MethodStyle,
    draw_intervals,
    label_rates,
    method_handles,
    method_styles,
    new_panels,
    note_if_empty,
    outside_legend,
    side_by_side,
)

Y_LABELS = {
    "domain_score": "Domain accuracy\n(fraction correct)\nbetter →",
    "domain_nll": "Domain NLL\n(nats per token, log)\n← better",
    "general_bits_per_byte_difference": "Δ general code length\n(bits per byte)\n← better",
    "general_score_difference": "Δ general accuracy\n(fraction correct)\nbetter →",
}
GENERAL = ("general_bits_per_byte_difference", "general_score_difference")
DRAWN = [*SETTING, *(f"{q}{b}" for q in Y_LABELS for b in ("", "_low", "_high"))]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw all quantities of a study over the learning rate.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table[DRAWN]
    models, domains = frame["model"].unique(), frame["domain"].unique()
    styles = method_styles(frame)
    rates = np.sort(frame["learning_rate"].dropna().unique())
    offsets = side_by_side(rates, list(styles))
    rows = [(model, y) for model in models for y in Y_LABELS]
    figure, grid = new_panels(len(rows), len(domains), 1.4, sharex="all")
    for (model, y), line in zip(rows, grid, strict=True):
        for domain, axes in zip(domains, line, strict=True):
            points = frame[(frame["model"] == model) & (frame["domain"] == domain)]
            _draw_panel(axes, points, y, styles, offsets)
            if y == rows[0][1]:
                axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
            if y in GENERAL:
                axes.sharey(line[0])
        line[0].set_ylabel(Y_LABELS[y])
    for axes in grid[-1]:
        label_rates(axes, rates)
    figure.align_ylabels(grid[:, 0])
    figure.supxlabel("Learning rate")
    base = method_handles({BASE_LABEL: MethodStyle(BASE_COLOR, "--", "full")}, "")
    outside_legend(figure, base + method_handles(styles), "upper")
    return figure, frame


def _draw_panel(
    axes: Axes,
    points: pd.DataFrame,
    y: str,
    styles: dict[str, MethodStyle],
    offsets: dict[str, float],
) -> None:
    for base in points[points["method"] == BASE].to_dict("records"):
        axes.axhspan(base[f"{y}_low"], base[f"{y}_high"], color="0.92", zorder=0)
        axes.axhline(base[y], color=BASE_COLOR, linestyle="--", linewidth=0.8, zorder=1)
    for label, style in styles.items():
        line = points[points["label"] == label].sort_values("learning_rate")
        line = line.assign(x=line["learning_rate"] * offsets[label])
        draw_intervals(axes, line, "x", y, style.color)
        axes.plot(line["x"], line[y], linestyle=style.line, markersize=4, **style.marker("o"))
    note_if_empty(axes, points[y])
    axes.margins(y=0.1)
    if y == "domain_nll":  # from θ0 to the best run it spans more than a decade
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.locator_params(axis="y", nbins=4)
