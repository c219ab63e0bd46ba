"""The paper's theory on small distributions: loss and bounds by step, and the largest safe step."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sft_tradeoff.report.figures.style import COLORS, LINES, new_panels
from sft_tradeoff.theory.example import FIXED, MOVING

if TYPE_CHECKING:
    import pandas as pd

CURVE, EQUAL_GAIN, SAFE_STEP = "curve", "equal gain", "safe step"  # kinds of rows
LOSS, CURVATURE, NORMALIZER = "loss", "curvature_bound", "normalizer_bound"
LOOKS = {LOSS: ("-", "loss"), CURVATURE: ("--", "bound"), NORMALIZER: (":", "cruder bound")}
TARGETS = {FIXED: ("black", "o"), MOVING: (COLORS[0], "s")}
Y_LOSS = "General loss (nats per token)\n← better"
Y_LARGEST = 0.45
WIDEST = 2.6  # line


def draw(table: pd.DataFrame) -> Figure:
    """Draw the table of :func:`~sft_tradeoff.report.theory.theory_table`."""
    figure, grid = new_panels(2, 2, 2.0)
    figure.set_figwidth(6.0)
    curves = table[table["kind"] == CURVE]
    for axes, target in zip(grid[0], TARGETS, strict=True):
        _draw_curves(axes, curves[curves["target"] == target])
        axes.set_title(f"{target[0].upper()}{target[1:]}")
    _draw_equal_gain(grid[1, 0], table[table["kind"] == EQUAL_GAIN])
    _draw_safe_step(grid[1, 1], table[table["kind"] == SAFE_STEP])
    for letter, axes in zip("abcd", grid.flat, strict=True):
        axes.set_title(letter, loc="left", fontweight="bold")
    return figure


def _draw_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """Loss and bound against the gain: more steps for the same gain are smaller ones."""
    numbers = sorted(map(int, rows["n_steps"].unique()))
    for n, color in zip(numbers, COLORS, strict=False):
        points = rows[rows["n_steps"] == n]
        for column in (CURVATURE, LOSS):
            # Where losses are equal, the last would hide the others.
            width = WIDEST * 0.65 ** numbers.index(n) if column == LOSS else 1.0
            axes.plot(
                points["gain"],
                points[column],
                color=color,
                linestyle=LOOKS[column][0],
                linewidth=width,
            )
    entries = [(f"{n} step{'s' * (n > 1)}", "-", c) for n, c in zip(numbers, COLORS, strict=False)]
    _legend(axes, [*entries, *((LOOKS[c][1], LOOKS[c][0], "0.35") for c in (LOSS, CURVATURE))])
    axes.set_xlim(0, rows["gain"].max())
    axes.set_ylim(0, Y_LARGEST)
    axes.set_xlabel("Domain gain (nats per token)\nbetter →")
    axes.set_ylabel(Y_LOSS)


def _draw_equal_gain(axes: Axes, rows: pd.DataFrame) -> None:
    for target, (color, marker) in TARGETS.items():
        points = rows[rows["target"] == target].sort_values("step")
        for column, (line, _) in LOOKS.items():
            look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3}
            axes.plot(points["step"], points[column], linestyle=line, **look)
    entries = [(target, "-", color) for target, (color, _) in TARGETS.items()]
    _legend(axes, [*entries, *((name, line, "0.35") for line, name in LOOKS.values())], ncols=2)
    axes.set_xscale("log")
    ticks = [0.01, 0.03, 0.1, 0.3]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 0.65)
    axes.set_title(f"Domain gain of {rows['gain'].iloc[0]:.3g}")
    axes.set_xlabel("Step λ (log)")
    axes.set_ylabel(Y_LOSS)


def _draw_safe_step(axes: Axes, rows: pd.DataFrame) -> None:
    entries = []
    pairs = list(rows[["easy", "hard"]].drop_duplicates().itertuples(index=False, name=None))
    for (easy, hard), color, line in zip(pairs, COLORS, cycle(LINES), strict=False):
        points = rows[(rows["easy"] == easy) & (rows["hard"] == hard)].sort_values("share")
        axes.plot(points["share"], points["step"], color=color, linestyle=line)
        entries.append((f"{hard:g} beside {easy:g}", line, color))
    _legend(axes, entries, title="p of hard and easy tokens")
    axes.set_xlim(0, rows["share"].max())
    axes.set_ylim(0, 1.0)
    axes.set_title("Largest safe step")
    axes.set_xlabel("Share of hard tokens")
    axes.set_ylabel("λ within the tolerance\nbetter →")


def _legend(axes: Axes, entries: list[tuple[str, Any, str]], **options: Any) -> None:
    handles = [
        Line2D([], [], label=name, linestyle=line, color=color) for name, line, color in entries
    ]
    place: Any = "upper right" if "title" in options else "upper left"
    axes.legend(handles=handles, loc=place, fontsize=6, title_fontsize=6, **options)
