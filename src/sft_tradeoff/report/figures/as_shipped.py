"""Domain NLL as trained and as shipped (rounded to bfloat16), over the learning rate.

One row per model, one column per domain, one color per method: circles as trained, joined by a
line, and triangles as shipped, tied to their circles. If a triangle is near the dashed line of θ0
and its circle is not, rounding loses the gain.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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

TRAINED, SHIPPED = "domain_nll", "domain_nll_shipped"
SHAPES = {TRAINED: ("o", "as trained"), SHIPPED: ("v", "saved in bfloat16")}
DRAWN = [*SETTING, *(f"{quantity}{end}" for quantity in SHAPES for end in ("", "_low", "_high"))]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw both scores of every setting.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table[DRAWN]
    models, domains = frame["model"].unique(), frame["domain"].unique()
    styles = method_styles(frame)
    rates = np.sort(frame["learning_rate"].dropna().unique())
    figure, grid = new_panels(len(models), len(domains), 1.9, sharex="all")
    for model, line in zip(models, grid, strict=True):
        for domain, axes in zip(domains, line, strict=True):
            points = frame[(frame["model"] == model) & (frame["domain"] == domain)]
            _draw_panel(axes, points, styles, rates)
            axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
        line[0].set_ylabel("Domain NLL\n(nats per token)\n← better")
    for axes in grid[-1]:
        label_rates(axes, rates)
    figure.supxlabel("Learning rate")
    base = method_handles({BASE_LABEL: MethodStyle(BASE_COLOR, "--", "full")}, "")
    shapes = []
    for quantity, (shape, name) in SHAPES.items():
        if frame[SHIPPED].isna().all():  # vLLM and older versions rounded what they scored
            name = "as scored" if quantity == TRAINED else f"{name} (no scores)"
        shapes.append(Line2D([], [], linestyle="", color="0.35", marker=shape, label=name))
    outside_legend(figure, base + method_handles(styles, "") + shapes, "upper")
    return figure, frame


def _draw_panel(
    axes: Axes, points: pd.DataFrame, styles: dict[str, MethodStyle], rates: np.ndarray
) -> None:
    for base in points[points["method"] == BASE].to_dict("records"):
        axes.axhline(base[TRAINED], color=BASE_COLOR, linestyle="--", linewidth=0.8, zorder=1)
    places = [(label, quantity) for label in styles for quantity in SHAPES]
    offsets = side_by_side(rates, places)
    for label, style in styles.items():
        line = points[points["label"] == label].sort_values("learning_rate")
        x = {q: line["learning_rate"] * offsets[label, q] for q in SHAPES}
        for quantity, (shape, _) in SHAPES.items():
            draw_intervals(axes, line.assign(x=x[quantity]), "x", quantity, style.color)
            joined = style.line if quantity == TRAINED else ""
            look = style.marker(shape)
            axes.plot(x[quantity], line[quantity], linestyle=joined, markersize=4, **look)
        for ends in zip(*(zip(x[q], line[q], strict=True) for q in SHAPES), strict=True):
            axes.plot(*zip(*ends, strict=True), color=style.color, linewidth=0.5)
    note_if_empty(axes, points[TRAINED])
    axes.margins(y=0.1)
