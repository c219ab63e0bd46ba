"""When training tokens are learned: the share with p > .2 by epoch, and by difficulty under θ0.

One row per model, domain and learning rate, one column per difficulty, one line per method: easy
tokens first would be a curriculum.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sft_tradeoff.analysis.tables import TOKEN_TABLES
from sft_tradeoff.analysis.token_curriculum import ALL, DIFFICULTIES
from sft_tradeoff.report.figures.style import (
    MethodStyle,
    draw_intervals,
    method_handles,
    method_styles,
    new_panels,
    outside_legend,
)
from sft_tradeoff.study.names import format_learning_rate

DRAWN = TOKEN_TABLES["token_curriculum.csv"]
COLUMNS = (ALL, *DIFFICULTIES)
TITLES = {ALL: "all tokens"} | {
    name: f"{name}: {low:g} < p(θ₀) ≤ {high:g}" for name, (low, high) in DIFFICULTIES.items()
}
DODGE = 0.04  # epochs between two methods


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the training tokens of a study.

    Args:
        table: See :mod:`sft_tradeoff.analysis.token_tables`.

    Returns:
        The figure and the numbers in it.
    """
    frame, styles = table[DRAWN], method_styles(table)
    keys = ["model", "domain", "learning_rate"]
    rows = frame[keys].drop_duplicates().sort_values(keys).to_numpy().tolist()
    figure, grid = new_panels(len(rows), len(COLUMNS), 1.3, sharex="all", sharey="all")
    for (model, domain, rate), line in zip(rows, grid, strict=True):
        here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
        here = here[here["learning_rate"] == rate]
        for difficulty, axes in zip(COLUMNS, line, strict=True):
            _draw_panel(axes, here[here["difficulty"] == difficulty], styles)
        name = domain if frame["model"].nunique() == 1 else f"{model}\n{domain}"
        line[0].set_ylabel(f"{name}\n{format_learning_rate(rate)}")
    for difficulty, axes in zip(COLUMNS, grid[0], strict=True):
        axes.set_title(TITLES[difficulty])
    grid[0, 0].set_ylim(-0.03, 1.03)
    grid[0, 0].set_xlim(0.5, max(1.0, frame["epoch"].max()) + 0.5)
    figure.supylabel("Share of tokens with p > 0.2")
    figure.supxlabel("Epoch (before the update of each token's step)")
    outside_legend(figure, method_handles(styles), "upper")
    return figure, frame


def _draw_panel(axes: Axes, here: pd.DataFrame, styles: dict[str, MethodStyle]) -> None:
    for n, (label, style) in enumerate(styles.items()):
        line = here[here["label"] == label].sort_values("epoch")
        line = line.assign(x=line["epoch"] + DODGE * (n - (len(styles) - 1) / 2))
        draw_intervals(axes, line, "x", "share", style.color)
        look = {"linestyle": style.line, "markersize": 3, **style.marker("o")}
        axes.plot(line["x"], line["share"], **look)
    if here["share"].isna().all():
        axes.text(0.5, 0.5, "no tokens", transform=axes.transAxes, ha="center", va="center")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
