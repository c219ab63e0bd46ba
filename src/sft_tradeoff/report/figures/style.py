"""The common style of all figures, and saving them as PDF, PNG and CSV.

Methods differ in color, line style and marker fill, learning rates in marker shape, so that figures
work in grayscale and for color-blind readers. No pyplot: no global state, no display needed.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.typing import FillStyleType, LineStyleType

from sft_tradeoff.analysis.tables import BASE
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.system.files import atomic_path, atomic_write_text

Label = TypeVar("Label", bound=Hashable)
logger = logging.getLogger(__name__)

# Okabe and Ito's colors without yellow (invisible on white) and black (used for θ0), plus Tol's
# wine and a gray; ordered so that two methods with the same marker fill differ in lightness.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255", "#56B4E9", "#666666", "#E69F00"]
LINES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.")
FILLS: tuple[FillStyleType, ...] = ("full", "none", "left", "bottom")
RATE_MARKERS = "osD^vPX<>ph"
# Methods at the same learning rate are drawn side by side, up to this many decades apart: about the
# width of a marker, so that intervals do not hide each other.
DODGE = 0.06
BASE_COLOR = "black"
BASE_LABEL = "θ₀"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "figure.labelsize": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 1.0,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class MethodStyle:
    """How one method is drawn, in every figure of a study."""

    color: str
    line: LineStyleType
    fill: FillStyleType

    def marker(self, shape: str) -> dict[str, Any]:
        """Marker keywords; the unfilled part is white, so that intervals do not show through."""
        return {
            "marker": shape,
            "color": self.color,
            "markerfacecolor": "white" if self.fill == "none" else self.color,
            "markerfacecoloralt": "white",
            "fillstyle": "full" if self.fill == "none" else self.fill,
        }


def method_styles(frame: pd.DataFrame) -> dict[str, MethodStyle]:
    """Style of each method label except θ0, in the order of the table; repeats after sixteen."""
    labels = frame.loc[frame["method"] != BASE, "label"].unique()
    # Neighbors in the legend differ in line and in fill; no pair repeats.
    pairs = [(LINES[i % 4], FILLS[(i + i // 4) % 4]) for i in range(16)]
    _warn_if_repeated("method labels", len(labels), len(pairs))
    return {
        label: MethodStyle(color, *pair)
        for label, color, pair in zip(
            labels, itertools.cycle(COLORS), itertools.cycle(pairs), strict=False
        )
    }


def rate_markers(frame: pd.DataFrame) -> dict[float, str]:
    """Marker shape of each learning rate, in increasing order; repeats after eleven."""
    rates = sorted(frame["learning_rate"].dropna().unique())
    _warn_if_repeated("learning rates", len(rates), len(RATE_MARKERS))
    return dict(zip(rates, itertools.cycle(RATE_MARKERS), strict=False))


def _warn_if_repeated(what: str, n: int, n_looks: int) -> None:
    if n > n_looks:
        logger.warning("%d %s in one figure: styles repeat after %d", n, what, n_looks)


def house_style() -> AbstractContextManager[None]:
    """Context with matplotlib's defaults and the common style; the user's settings are ignored."""
    style: AbstractContextManager[None] = matplotlib.style.context(["default", STYLE])
    return style


def new_panels(rows: int, columns: int, row_height: float, **shared: Any) -> tuple[Figure, Any]:
    """Figure with a grid of panels; two columns fill the text width of a paper (5.5 inches)."""
    size = (1.1 + 2.2 * columns, 0.9 + row_height * rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05))
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def draw_intervals(axes: Axes, points: pd.DataFrame, x: str, y: str, color: str) -> None:
    """Draw 95 % intervals: vertical for ``y``, horizontal for ``x`` if the table has its bounds."""
    look: dict[str, Any] = {"color": color, "linewidth": 0.7, "alpha": 0.5, "zorder": 1.5}
    axes.vlines(points[x], points[f"{y}_low"], points[f"{y}_high"], **look)
    if f"{x}_low" in points:
        axes.hlines(points[y], points[f"{x}_low"], points[f"{x}_high"], **look)


def side_by_side(rates: np.ndarray, labels: Sequence[Label]) -> dict[Label, float]:
    """Factor on the learning rate of each label that draws them side by side on a log axis."""
    gap = float(np.diff(np.log10(rates)).min()) if len(rates) > 1 else 1.0
    step = min(DODGE, gap / 2 / len(labels))
    places = np.arange(len(labels)) - (len(labels) - 1) / 2
    return dict(zip(labels, 10 ** (step * places), strict=True))


def at_middle_rate(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows at the middle learning rate of each method and domain, the lower of two; and θ0's."""
    parts = [frame[frame["method"] == BASE]]
    for _, group in frame[frame["method"] != BASE].groupby(
        ["model", "domain", "label"], sort=False
    ):
        rates = np.sort(group["learning_rate"].unique())
        parts.append(group[group["learning_rate"] == rates[(len(rates) - 1) // 2]])
    return pd.concat(parts)


def name_rates(frame: pd.DataFrame) -> str:
    """Say at which rates :func:`at_middle_rate` shows the methods."""
    rates = np.sort(frame["learning_rate"].dropna().unique())
    return f"Learning rate: {', '.join(map(format_learning_rate, rates))}"


def label_rates(axes: Axes, rates: np.ndarray) -> None:
    """Put a tick on every learning rate of a logarithmic axis."""
    axes.set_xscale("log")
    axes.set_xticks(rates, [format_learning_rate(rate) for rate in rates])
    axes.minorticks_off()
    axes.set_xlim(rates[0] / 1.6, rates[-1] * 1.6)
    if len(rates) > 4:
        axes.tick_params(axis="x", labelrotation=60)


def scale_scores(axes: Axes, quantity: str) -> None:
    """Scale and label a vertical axis of scores: an NLL spans more than a decade in a study."""
    if quantity == "domain_nll":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.locator_params(axis="y", nbins=4)


def note_if_empty(axes: Axes, values: pd.Series) -> None:
    """Label an empty panel, e.g. of a study without a general suite."""
    if values.isna().all():
        axes.text(0.5, 0.5, "no scores", transform=axes.transAxes, ha="center", va="center")


def method_handles(styles: dict[str, MethodStyle], shape: str = "o") -> list[Line2D]:
    """Legend entries of the methods."""
    return [
        Line2D([], [], linestyle=style.line, label=label, **style.marker(shape))
        for label, style in styles.items()
    ]


def rate_handles(markers: dict[float, str]) -> list[Line2D]:
    """Legend entries of the learning rates."""
    return [
        Line2D([], [], linestyle="", marker=shape, color="0.35", label=format_learning_rate(rate))
        for rate, shape in markers.items()
    ]


def outside_legend(figure: Figure, handles: Sequence[Line2D], where: str, title: str = "") -> None:
    """Put one legend for all panels above or below them (``where``: upper or lower)."""
    entry = 0.6 + 0.065 * max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / entry)))
    place: Any = f"outside {where} center"
    figure.legend(
        handles=handles,
        loc=place,
        ncols=columns,
        title=title or None,
        columnspacing=1.4,
        handlelength=3.2 if where == "upper" else 1.2,
    )


def save_figure(figure: Figure, frame: pd.DataFrame, stem: Path) -> None:
    """Write ``stem.pdf``, ``stem.png`` (200 dpi) and ``stem.csv``, each atomically.

    The files hold no dates: drawing the same numbers again gives the same bytes.

    Args:
        figure: The figure.
        frame: The numbers drawn.
        stem: Path without extension.
    """
    with atomic_path(stem.with_name(f"{stem.name}.pdf")) as path:
        figure.savefig(path, metadata={"CreationDate": None})
    with atomic_path(stem.with_name(f"{stem.name}.png")) as path:
        figure.savefig(path, dpi=200)
    text = frame.to_csv(index=False, lineterminator="\n")
    atomic_write_text(stem.with_name(f"{stem.name}.csv"), text)
