"""Which tokens training moved: few of them, or all, and of which kind.

One row per model and domain, methods at their middle learning rate. Left: the Lorenz curve from the
right, the share of Σ|Δ log p| that the tokens which moved most carry; on the diagonal all would
move alike. Right: the share of each kind of token, beside its share of all tokens.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sft_tradeoff.analysis.tables import TOKEN_TABLES
from sft_tradeoff.analysis.token_curriculum import ALL
from sft_tradeoff.analysis.token_kinds import KINDS
from sft_tradeoff.report.figures.style import (
    MethodStyle,
    at_middle_rate,
    method_handles,
    method_styles,
    name_rates,
    new_panels,
    note_if_empty,
    outside_legend,
)

DRAWN = TOKEN_TABLES["token_change.csv"]
BAR = 0.8


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the change of a study's test tokens.

    Args:
        table: See :mod:`sft_tradeoff.analysis.token_tables`.

    Returns:
        The figure and the numbers in it.
    """
    styles, frame = method_styles(table), at_middle_rate(table[DRAWN])
    models, domains = frame["model"].unique(), frame["domain"].unique()
    rows = list(itertools.product(models, domains))
    figure, grid = new_panels(len(rows), 2, 1.9)
    for (model, domain), (left, right) in zip(rows, grid, strict=True):
        here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
        _draw_curves(left, here[here["kind"] == ALL], styles)
        _draw_kinds(right, here, styles)
        left.set_title(domain if len(models) == 1 else f"{model}: {domain}")
        left.set_ylabel("Share of Σ|Δ log p|")
    grid[-1, 0].set_xlabel("Share of tokens, most moved first")
    grid[-1, 1].set_xlabel("Kind of token")
    figure.supxlabel(name_rates(frame))
    bar = Line2D([], [], color="0.85", linewidth=6, label="share of all tokens")
    outside_legend(figure, [*method_handles(styles), bar], "upper")
    return figure, frame


def _draw_curves(axes: Axes, here: pd.DataFrame, styles: dict[str, MethodStyle]) -> None:
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.6)
    axes.axvline(0.1, color="0.8", linewidth=0.6, zorder=0)
    for label, style in styles.items():
        line = here[here["label"] == label]
        axes.plot(line["tokens"], line["share"], color=style.color, linestyle=style.line)
    note_if_empty(axes, here["share"])
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.1, 0.5, 1], yticks=[0, 0.5, 1])


def _draw_kinds(axes: Axes, here: pd.DataFrame, styles: dict[str, MethodStyle]) -> None:
    for x, kind in enumerate(KINDS):
        of_kind = here[here["kind"] == kind]
        if of_kind.empty:
            axes.text(x, 0.02, "none", ha="center", fontsize=7)
            continue
        axes.bar(x, of_kind["tokens"].iloc[0], BAR, color="0.85", zorder=0)
        places = np.linspace(-0.36, 0.36, len(styles)) * BAR if len(styles) > 1 else [0.0]
        for place, (label, style) in zip(places, styles.items(), strict=True):
            for share in of_kind.loc[of_kind["label"] == label, "share"]:
                look = {"markersize": 4, "clip_on": False, **style.marker("o")}
                axes.plot(x + place, share, **look)
    axes.set_xticks(range(len(KINDS)), KINDS)
    axes.set(xlim=(-0.6, len(KINDS) - 0.4), ylim=(0, 1.02), yticks=[0, 0.5, 1])
