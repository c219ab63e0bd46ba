"""The figure of the theory: labels do not overlap the panels, and gray print tells lines apart."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sft_tradeoff.report.figures.style import house_style
from sft_tradeoff.report.theory import theory_table
from sft_tradeoff.report.theory_figure import draw


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return theory_table()


def test_labels_lie_inside_the_figure_and_panels_have_letters(table: pd.DataFrame) -> None:
    with house_style():
        figure = draw(table)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    frame = figure.bbox
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        inside = legend.get_window_extent().padded(-2)
        assert axes.bbox.contains(*inside.min) and axes.bbox.contains(*inside.max)
        for label in (axes.xaxis.label, axes.yaxis.label):
            box = label.get_window_extent()
            assert frame.contains(*box.min) and frame.contains(*box.max), label.get_text()
    assert [axes.get_title(loc="left") for axes in figure.axes] == list("abcd")
