"""How likely the right answers' tokens are: under θ0, and after training.

One row per model, one column per domain. Tokens are sorted from the least likely, so the curve
shows at once how many are hard, how many are easy, and the median. Methods are shown at their
middle learning rate.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sft_tradeoff.analysis.tables import BASE, TOKEN_TABLES, rows_of
from sft_tradeoff.report.figures.style import (
    BASE_COLOR,
    BASE_LABEL,
    MethodStyle,
    at_middle_rate,
    method_handles,
    method_styles,
    name_rates,
    new_panels,
    note_if_empty,
    outside_legend,
)

DRAWN = TOKEN_TABLES["token_probability.csv"]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the probabilities of a study's test tokens.

    Args:
        table: See :mod:`sft_tradeoff.analysis.token_tables`.

    Returns:
        The figure and the numbers in it.
    """
    styles, frame = method_styles(table), at_middle_rate(table[DRAWN])
    models, domains = frame["model"].unique(), frame["domain"].unique()
    figure, grid = new_panels(len(models), len(domains), 2.0, sharex="all", sharey="all")
    for model, line in zip(models, grid, strict=True):
        for domain, axes in zip(domains, line, strict=True):
            here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
            _draw_panel(axes, here, styles)
            axes.set_title(domain if len(models) == 1 else f"{model}: {domain}")
        line[0].set_ylabel("p of the token")
    about = "Share of the right answers' tokens, from the least likely"
    figure.supxlabel(f"{about}\n{name_rates(frame)}")
    base = method_handles({BASE_LABEL: MethodStyle(BASE_COLOR, "-", "full")}, "")
    outside_legend(figure, base + method_handles(styles, ""), "upper")
    return figure, frame


def _draw_panel(axes: Axes, here: pd.DataFrame, styles: dict[str, MethodStyle]) -> None:
    axes.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
    for label, style in styles.items():
        line = here[here["label"] == label]
        axes.plot(line["quantile"], line["p"], style.color, linestyle=style.line, linewidth=1.0)
    base = here[here["method"] == BASE]
    axes.plot(base["quantile"], base["p"], color=BASE_COLOR, linewidth=1.8)
    note_if_empty(axes, here["p"])
    for row in rows_of(base[base["quantile"] == 0.5]):
        told = f"θ₀: median p = {row['p']:.2f}\n{row['share_easy']:.0%} with p > .5"
        axes.text(0.97, 0.08, told, transform=axes.transAxes, ha="right", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
