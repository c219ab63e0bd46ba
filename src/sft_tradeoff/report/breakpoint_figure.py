"""Break-points on the axis of learning rates, between the rates that were run.

One panel per model and domain, one line per method: the verdict on every rate by the fill of its
marker, the bracket as a thin line between two of them, and above it the interpolated break-point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import FillStyleType

from sft_tradeoff.analysis.breakpoints import BreakPoint
from sft_tradeoff.analysis.tolerance import Tolerance, Verdict
from sft_tradeoff.report.figures.style import (
    MethodStyle,
    label_rates,
    method_styles,
    new_panels,
    outside_legend,
)
from sft_tradeoff.study.names import measures_text

FILLS: dict[Verdict, FillStyleType] = {
    Verdict.WITHIN: "full",
    Verdict.CANNOT_TELL: "left",
    Verdict.EXCEEDS: "none",
}
MARGIN = 1.6  # an open interval ends at the panel's edge, this factor beyond the last rate


def draw(points: Sequence[BreakPoint], tradeoff: pd.DataFrame, tolerance: Tolerance) -> Figure:
    """Draw the break-points of a study.

    Args:
        points: Break-points.
        tradeoff: The trade-off over seeds, for the styles of its methods.
        tolerance: What they are about.
    """
    styles = method_styles(tradeoff)
    models, domains = (list(dict.fromkeys(getattr(p, k) for p in points)) for k in _PANEL)
    rates = np.array(sorted({r.rate for p in points for r in p.rates}) or [1.0])
    height = 0.7 + 0.28 * len(styles)
    figure, grid = new_panels(len(models), len(domains), height, sharex="all", sharey="all")
    for model, line in zip(models, grid, strict=True):
        for domain, axes in zip(domains, line, strict=True):
            mine = {p.label: p for p in points if (p.model, p.domain) == (model, domain)}
            for y, (label, style) in enumerate(styles.items()):
                if label in mine:
                    _draw_method(axes, mine[label], y, style, (rates[0], rates[-1]))
            axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
            axes.set_yticks(range(len(styles)), list(styles))
            axes.set_ylim(len(styles) - 0.4, -0.6)
            label_rates(axes, rates)
    figure.supxlabel("Learning rate")
    limits = f"Tolerance: {measures_text(tolerance)}" if tolerance else "No general suite"
    outside_legend(figure, _legend(any(p.missing for p in points)), "upper", limits)
    return figure


_PANEL = ("model", "domain")


def _draw_method(
    axes: Axes, point: BreakPoint, y: float, style: MethodStyle, ends: tuple[float, float]
) -> None:
    """One line: rates and bracket on it, the break-point and its interval just above."""
    edges = ends[0] / MARGIN, ends[1] * MARGIN
    if point.rates:
        axes.plot(np.clip(point.bracket, *edges), [y, y], color="0.7", linewidth=0.8, zorder=1)
    for judged in point.rates:
        look = MethodStyle(style.color, "", FILLS[judged.verdict]).marker("o")
        axes.plot(judged.rate, y, linestyle="", markersize=4.5, zorder=3, **look)
    axes.plot(point.missing, [y] * len(point.missing), "x", color=style.color, markersize=4.5)
    if math.isnan(point.value):
        return
    low, value, high = np.clip([point.low, point.value, point.high], *edges)
    above = y - 0.25
    axes.plot([low, high], [above, above], color=style.color, linewidth=1.4, zorder=2)
    for bound, edge, arrow in ((low, edges[0], "<"), (high, edges[1], ">")):
        if bound == edge:
            axes.plot(edge, above, arrow, color=style.color, markersize=4, clip_on=False)
    if value not in edges:
        axes.plot(value, above, "D", color=style.color, markersize=4, zorder=3)


def _legend(has_missing: bool) -> list[Line2D]:
    verdicts = [
        Line2D(
            [], [], linestyle="", label=str(verdict), **MethodStyle("0.35", "", fill).marker("o")
        )
        for verdict, fill in FILLS.items()
    ]
    missing = Line2D([], [], linestyle="", color="0.35", marker="x", markersize=4.5)
    missing.set_label("no score")
    bracket = Line2D([], [], color="0.7", linewidth=0.8, label="bracket")
    point = Line2D([], [], color="0.35", marker="D", markersize=4, label="break-point, 95 %")
    return [*verdicts, *[missing] * has_missing, bracket, point]
