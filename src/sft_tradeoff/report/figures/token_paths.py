"""The hardest tokens of one training example, followed through training.

One block per model and domain, one matrix per method at its middle learning rate: a row per token,
in the order of the text, with the text before it; a column for θ0 and for every epoch. The darker,
the likelier; in one hue, so that it can be read in gray.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sft_tradeoff.analysis.tables import TOKEN_TABLES
from sft_tradeoff.report.figures.style import BASE_LABEL, at_middle_rate
from sft_tradeoff.study.names import format_learning_rate

DRAWN = TOKEN_TABLES["token_paths.csv"]
FIRST = ("sft", "talr")  # beside each other, if a study has them
MOST = 4  # methods beside each other
ROW, CELL = 0.17, 0.3  # inches
DARK = 0.55  # from which numbers are white
VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "→"})


def draw(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw the followed tokens of a study.

    Args:
        table: See :mod:`sft_tradeoff.analysis.token_tables`.

    Returns:
        The figure and the numbers in it.
    """
    frame = at_middle_rate(table[DRAWN]).fillna({"context": "", "text": ""})  # empty in the CSV
    labels = sorted(
        frame["label"].unique(), key=lambda name: FIRST.index(name) if name in FIRST else MOST
    )
    frame = frame[frame["label"].isin(labels[:MOST])]
    models, domains = frame["model"].unique(), frame["domain"].unique()
    blocks = list(itertools.product(models, domains))
    sizes = [_n_tokens(frame, *block) for block in blocks]
    n_columns = 1 + max(1, int(frame["epoch"].max())) if frame["epoch"].notna().any() else 2
    width = 2.0 + (CELL * n_columns + 0.15) * len(labels[:MOST])
    figure = Figure(
        figsize=(max(width, 4.0), 0.9 + sum(0.55 + ROW * n for n in sizes)),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04),
    )
    grid = figure.subplots(len(blocks), len(labels[:MOST]), squeeze=False, height_ratios=sizes)
    for (model, domain), line in zip(blocks, grid, strict=True):
        here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
        for label, axes in zip(labels, line, strict=False):
            _draw_matrix(axes, here[here["label"] == label], names=axes is line[0])
        name = domain if len(models) == 1 else f"{model}\n{domain}"
        line[0].set_ylabel(name)
    figure.supxlabel("Epoch; cells: p of the token, × 100")
    return figure, frame


def _n_tokens(frame: pd.DataFrame, model: str, domain: str) -> int:
    here = frame[(frame["model"] == model) & (frame["domain"] == domain)]
    return max(1, here["place"].nunique())


def _draw_matrix(axes: Axes, here: pd.DataFrame, names: bool) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if here.empty or here["p"].isna().all():
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no tokens", transform=axes.transAxes, ha="center", va="center")
        return
    row = here.iloc[0]
    axes.set_title(f"{row['label']}, {format_learning_rate(row['learning_rate'])}")
    p = here.pivot(index="place", columns="epoch", values="p")
    axes.imshow(p, cmap="Blues", norm=Normalize(0, 1), aspect="auto")
    for (y, x), value in np.ndenumerate(p.to_numpy()):
        color = "white" if value > DARK else "black"
        axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=color)
    axes.set_xticks(range(p.shape[1]), [f"{e:g}" if e else BASE_LABEL for e in p.columns])
    axes.set_yticks([])
    if names:
        texts = here.drop_duplicates("place").set_index("place").loc[p.index]
        labels = [_label(c, t) for c, t in zip(texts["context"], texts["text"], strict=True)]
        axes.set_yticks(range(len(labels)), labels, fontsize=6, family="DejaVu Sans Mono")


def _label(context: str, text: str) -> str:
    """The token in brackets, after what stands before it."""
    label = f"{context.translate(VISIBLE)}[{text.translate(VISIBLE)}]"
    return label.replace("$", r"\$")  # no formula
