"""Domain accuracy against general ability: one point per method and learning rate.

One column per domain; per model one row for the general code length and one for the general
accuracy, both as paired differences from θ0. Right and up are better in every panel.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sft_tradeoff.analysis.tables import BASE, SETTING
from sft_tradeoff.report.figures.style import (
    BASE_COLOR,
    BASE_LABEL,
    MethodStyle,
    draw_intervals,
    method_handles,
    method_styles,
    new_panels,
    note_if_empty,
    outside_legend,
    rate_handles,
    rate_markers,
)

DOMAIN = "domain_score"
CODE_LENGTH, ACCURACY = "general_bits_per_byte_difference", "general_score_difference"
X_LABELS = {
    CODE_LENGTH: "Δ general code length\n(bits per byte)   better →",
    ACCURACY: "Δ general accuracy\n(fraction correct)   better →",
}
Y_LABEL = "Domain accuracy (fraction correct)   better →"
DRAWN = [*SETTING, *(f"{q}{b}" for q in (DOMAIN, *X_LABELS) for b in ("", "_low", "_high"))]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the trade-off of a study.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table[DRAWN]
    models, domains = frame["model"].unique(), frame["domain"].unique()
    styles, markers = method_styles(frame), rate_markers(frame)
    rows = [(model, x) for model in models for x in X_LABELS]
    height = 2.0 if len(styles) <= 4 else 2.6
    figure, grid = new_panels(len(rows), len(domains), height, sharex="row", sharey="col")
    for (model, x), line in zip(rows, grid, strict=True):
        for domain, axes in zip(domains, line, strict=True):
            points = frame[(frame["model"] == model) & (frame["domain"] == domain)]
            _draw_panel(axes, points, x, styles, markers)
            axes.set_xlabel(X_LABELS[x])
            if x == CODE_LENGTH:
                axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
        if x == CODE_LENGTH:
            line[0].invert_xaxis()
    figure.supylabel(Y_LABEL)
    star = method_handles({BASE_LABEL: MethodStyle(BASE_COLOR, "", "full")}, "*")
    outside_legend(figure, star + method_handles(styles), "upper")
    outside_legend(figure, rate_handles(markers), "lower", "Learning rate")
    return figure, frame


def _draw_panel(
    axes: Axes,
    points: pd.DataFrame,
    x: str,
    styles: dict[str, MethodStyle],
    markers: dict[float, str],
) -> None:
    axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    for label, style in styles.items():
        path = points[points["label"] == label].sort_values("learning_rate")
        draw_intervals(axes, path, x, DOMAIN, style.color)
        axes.plot(path[x], path[DOMAIN], linestyle=style.line, color=style.color, zorder=2)
        for point in path.to_dict("records"):
            marker = style.marker(markers[point["learning_rate"]])
            axes.plot(point[x], point[DOMAIN], linestyle="", markersize=4.5, zorder=3, **marker)
    base = points[points["method"] == BASE]
    draw_intervals(axes, base, x, DOMAIN, BASE_COLOR)
    axes.plot(base[x], base[DOMAIN], "*", color=BASE_COLOR, markersize=9, zorder=4)
    note_if_empty(axes, points[x] + points[DOMAIN])
    axes.margins(0.08)
    axes.locator_params(nbins=5)
