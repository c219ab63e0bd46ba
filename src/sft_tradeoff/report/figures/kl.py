"""General loss over KL(θ0‖θ) on the domain's prompts, with a straight line through all settings.

One panel per model and domain, one color per method, one marker shape per learning rate. Both axes
are logarithmic (the vertical one linear near 0, as losses may be negative), so the least-squares
line is curved. It belongs to all domains of the model; its 95 % band (percentiles) comes from
resampled settings.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sft_tradeoff.analysis.tables import BASE, LEVEL, SETTING
from sft_tradeoff.report.figures.style import (
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
from sft_tradeoff.stats.correlation import fit_line, resampled_runs

X, Y = "domain_kl", "general_bits_per_byte_difference"
DRAWN = [*SETTING, *(f"{quantity}{end}" for quantity in (X, Y) for end in ("", "_low", "_high"))]
LINE_COLOR, BAND_COLOR = "0.35", "0.9"
FEWEST = 3  # settings for a line
N_POINTS = 200
LINEAR = 0.01  # bits per byte up to which the vertical axis is linear: the default tolerance
ROOM = 1.5  # factor beyond the smallest and the largest KL


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw every setting that has a KL; θ0 has none on a logarithmic axis.

    Args:
        table: The trade-off over seeds, see :mod:`sft_tradeoff.analysis.aggregate`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table.loc[table["method"] != BASE, DRAWN].reset_index(drop=True)
    models, domains = frame["model"].unique(), frame["domain"].unique()
    styles, markers = method_styles(frame), rate_markers(frame)
    figure, grid = new_panels(len(models), len(domains), 2.0, sharex="row", sharey="row")
    for model, line in zip(models, grid, strict=True):
        of_model = frame[frame["model"] == model]
        for domain, axes in zip(domains, line, strict=True):
            _draw_panel(axes, of_model[of_model["domain"] == domain], styles, markers)
            axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
        for axes in line:
            _draw_line(axes, of_model)
            axes.set_xlabel("KL(θ₀‖θ) on the domain's prompts\n(nats per token, log)")
        line[0].set_ylabel("Δ general code length\n(bits per byte, log beyond ± 0.01)\n← better")
    fit = [Line2D([], [], color=LINE_COLOR, linewidth=0.9, label="fitted line")]
    outside_legend(figure, method_handles(styles) + fit, "upper")
    outside_legend(figure, rate_handles(markers), "lower", "Learning rate")
    return figure, frame


def _draw_panel(
    axes: Axes, points: pd.DataFrame, styles: dict[str, MethodStyle], markers: dict[float, str]
) -> None:
    axes.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    for label, style in styles.items():
        here = points[points["label"] == label]
        # An interval may reach 0, which a logarithmic axis does not have.
        here = here.assign(**{f"{X}_low": here[f"{X}_low"].where(here[f"{X}_low"] > 0, here[X])})
        draw_intervals(axes, here, X, Y, style.color)
        path = here.sort_values("learning_rate")
        axes.plot(path[X], path[Y], linestyle=style.line, color=style.color, linewidth=0.7)
        for point in path.to_dict("records"):
            marker = style.marker(markers[point["learning_rate"]])
            axes.plot(point[X], point[Y], linestyle="", markersize=4.5, zorder=3, **marker)
    note_if_empty(axes, points[X])
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=LINEAR)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(y=0.15)


def _draw_line(axes: Axes, points: pd.DataFrame) -> None:
    """Least-squares line through the settings of a model, with a band from resampled settings."""
    known = points.loc[points[X] > 0, [X, Y]].dropna()
    x, y = known[X].to_numpy(), known[Y].to_numpy()
    if len(np.unique(x)) < FEWEST:
        return
    places = np.geomspace(x.min() / ROOM, x.max() * ROOM, N_POINTS)
    line = fit_line(x, y)
    drawn = resampled_runs(len(x), 1, np.random.default_rng(0))
    lines = fit_line(x[drawn], y[drawn])
    heights = lines.intercept[:, None] + lines.slope[:, None] * places  # (R, N_POINTS)
    low, high = np.nanquantile(heights, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    limits = axes.get_ylim()
    axes.fill_between(places, low, high, color=BAND_COLOR, linewidth=0, zorder=0)
    axes.plot(places, line.intercept + line.slope * places, color=LINE_COLOR, linewidth=0.9)
    axes.set_ylim(limits)
    axes.set_xlim(places[0], places[-1])
