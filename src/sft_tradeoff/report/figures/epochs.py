"""Validation scores after every epoch: whether the last is the best, or training went on too long.

Two rows per model and domain (score and NLL), one column per learning rate, one line per method and
seed. A star marks the epoch whose weights were kept.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sft_tradeoff.analysis.tables import OF_EPOCH, SETTING
from sft_tradeoff.report.figures.style import (
    MethodStyle,
    draw_intervals,
    method_handles,
    method_styles,
    new_panels,
    note_if_empty,
    outside_legend,
    scale_scores,
)
from sft_tradeoff.study.names import format_learning_rate

Y_LABELS = {
    "domain_score": "Validation accuracy\n(fraction correct)\nbetter →",
    "domain_nll": "Validation NLL\n(nats per token, log)\n← better",
}
DRAWN = [
    *(*SETTING, "seed", "epoch", "selected"),
    *(f"{q}{b}" for q in OF_EPOCH for b in ("", "_low", "_high")),
]


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the epochs of a study.

    Args:
        table: One row per run and epoch, see :mod:`sft_tradeoff.analysis.epochs`.

    Returns:
        The figure and the numbers in it.
    """
    frame = table[DRAWN]
    models, domains = frame["model"].unique(), frame["domain"].unique()
    rates, styles = np.sort(frame["learning_rate"].unique()), method_styles(frame)
    rows = list(itertools.product(models, domains, Y_LABELS))
    figure, grid = new_panels(len(rows), len(rates), 1.4, sharex="all", sharey="row")
    for (model, domain, y), line in zip(rows, grid, strict=True):
        here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
        for rate, axes in zip(rates, line, strict=True):
            _draw_panel(axes, here[here["learning_rate"] == rate], y, styles)
            if y == OF_EPOCH[0]:
                name = domain if len(models) == 1 else f"{model}: {domain}"
                axes.set_title(f"{name}, {format_learning_rate(rate)}")
        line[0].set_ylabel(Y_LABELS[y])
    # From 0: around half an epoch, or a single one, there would be no whole number.
    grid[0, 0].set_xlim(0, 1.1 * max(1.0, frame["epoch"].max()))
    figure.align_ylabels(grid[:, 0])
    figure.supxlabel("Epoch")
    kept = method_handles({"weights kept": MethodStyle("0.35", "", "full")}, "*")
    outside_legend(figure, method_handles(styles) + kept, "upper")
    return figure, frame


def _draw_panel(axes: Axes, points: pd.DataFrame, y: str, styles: dict[str, MethodStyle]) -> None:
    for label, style in styles.items():
        for _, line in points[points["label"] == label].groupby("seed"):
            draw_intervals(axes, line, "epoch", y, style.color)
            look = {"linestyle": style.line, "markersize": 3, **style.marker("o")}
            axes.plot(line["epoch"], line[y], **look)
            kept = line[line["selected"].fillna(False).astype(bool)]
            axes.plot(kept["epoch"], kept[y], linestyle="", markersize=9, **style.marker("*"))
    note_if_empty(axes, points[y])
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    scale_scores(axes, y)
