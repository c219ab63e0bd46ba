"""Matrices of change against θ0: rows are trained on, columns are tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from sft_tradeoff.analysis.tables import rows_of
from sft_tradeoff.study.names import format_learning_rate

# Metric -> what it is called, the sign that makes better positive, and decimals.
METRICS = {"accuracy": ("Δ accuracy", 1, 2), "nll": ("Δ NLL", -1, 2)}
NOTE = (
    "Change against θ₀ on the same test items. Blue: better; red: worse; framed: the domain\n"
    "trained on; in parentheses: the 95 % interval includes 0; –: no score"
)
CELL = 0.56  # inches
DARK = 0.6  # share of the largest change from which text is white


def draw(table: pd.DataFrame) -> Figure:
    """Draw one matrix per metric, method and learning rate.

    Numbers are printed in the cells. Colors are centered on 0, and one metric has the same colors
    in all panels of a model.

    Args:
        table: See :mod:`sft_tradeoff.analysis.cross_domain`.
    """
    rates = sorted(table["learning_rate"].unique())
    lines = [
        (model, metric, label)
        for model, of_model in table.groupby("model", sort=False)
        for metric in METRICS
        for label in of_model["label"].unique()
    ]
    tested = list(table["test_domain"].unique())
    trained = [_trained_on(table, str(model), label) for model, _, label in lines]
    heights = [CELL * len(domains) + 0.15 for domains in trained]
    width = 1.9 + (CELL * len(tested) + 0.15) * len(rates)
    figure = Figure(
        figsize=(max(width, 5.5), 1.6 + sum(heights)),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03),
    )
    grid = figure.subplots(
        len(lines), len(rates), squeeze=False, height_ratios=list(map(len, trained))
    )
    # Along a matrix of one row there is no space for a name.
    beside = {"rotation": 0, "ha": "right", "va": "center"} if 1 in map(len, trained) else {}
    for (model, metric, label), domains, row in zip(lines, trained, grid, strict=True):
        of_model = table[table["model"] == model]
        largest = of_model[f"{metric}_change"].abs().max()
        for rate, axes in zip(rates, row, strict=True):
            here = of_model[(of_model["label"] == label) & (of_model["learning_rate"] == rate)]
            _label_cells(axes, domains, tested)
            _draw_matrix(axes, here, metric, largest)
            if axes in grid[0]:
                axes.set_title(format_learning_rate(rate))
        name = label if table["model"].nunique() == 1 else f"{model}\n{label}"
        row[0].set_ylabel(f"{METRICS[metric][0]}\n{name}", **beside)
    _label_domains(grid)
    figure.suptitle("Learning rate", fontsize=8)
    figure.supxlabel(f"Tested on\n\n{NOTE}")
    figure.supylabel("Trained on")
    return figure


def _trained_on(table: pd.DataFrame, model: str, label: str) -> list[str]:
    """Domains that a method was trained on; a model's start may be the only run on one."""
    return list(table[(table["model"] == model) & (table["label"] == label)]["domain"].unique())


def _label_cells(axes: Axes, trained: Sequence[str], tested: Sequence[str]) -> None:
    """Prepare a matrix; that of a rate which a method does not have stays empty."""
    n, m = len(trained), len(tested)
    axes.set(xticks=range(m), xticklabels=tested, xlim=(-0.5, m - 0.5))
    axes.set(yticks=range(n), yticklabels=trained, ylim=(n - 0.5, -0.5), aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_matrix(axes: Axes, here: pd.DataFrame, metric: str, largest: float) -> None:
    _, sign, decimals = METRICS[metric]
    trained = [label.get_text() for label in axes.get_yticklabels()]
    tested = [label.get_text() for label in axes.get_xticklabels()]
    better = np.full((len(trained), len(tested)), np.nan)
    for cell in rows_of(here):
        place = trained.index(cell["domain"]), tested.index(cell["test_domain"])
        value = cell[f"{metric}_change"]
        better[place] = sign * value
        dark = abs(value) > DARK * largest
        text = _text(value, cell[f"{metric}_change_low"], cell[f"{metric}_change_high"], decimals)
        color = "white" if dark else "black"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=7, color=color)
        if cell["domain"] == cell["test_domain"]:
            corner = place[1] - 0.5, place[0] - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.2))
    scale = largest if largest > 0 else 1.0
    axes.imshow(better, cmap="RdBu", norm=Normalize(-scale, scale))


def _text(value: float, low: float, high: float, decimals: int) -> str:
    """A signed number, in parentheses if its interval includes 0 or is unknown."""
    if math.isnan(value):
        return "–"
    text = f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")
    return text if low > 0 or high < 0 else f"({text})"


def _label_domains(grid: Any) -> None:
    """Names of the domains at the left and at the bottom only."""
    for row in grid:
        for axes in row[1:]:
            axes.tick_params(labelleft=False)
    for row in grid[:-1]:
        for axes in row:
            axes.tick_params(labelbottom=False)
    for axes in grid[-1]:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
