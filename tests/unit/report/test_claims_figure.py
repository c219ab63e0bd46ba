"""The forest plot: effects in units of their margin."""

from __future__ import annotations

from typing import Any

import matplotlib.colors
import numpy as np
import pandas as pd

from sft_tradeoff.analysis.claims.table import COLUMNS
from sft_tradeoff.analysis.claims.verdict import Verdict
from sft_tradeoff.report.claims_figure import COLORS, draw
from sft_tradeoff.report.figures.style import house_style


def row(verdict: str, effect: float, **other: Any) -> dict[str, Any]:
    half = {"low": effect - 0.01, "high": effect + 0.01}
    where = {"model": "m", "domain": "d", "method": "sft", "comparison": "a against b (best of 3)"}
    numbers = {"effect": effect, "margin": 0.02} | half
    return {"claim": "F1", "kind": "row", "verdict": verdict} | where | numbers | other


def test_what_is_drawn() -> None:
    rows = [
        {"claim": "F1", "kind": "overall", "verdict": "supported"},
        row("supported", 0.06),
        row("contradicted", -2.0, kind="detail"),
        {"claim": "F4", "kind": "overall", "verdict": "not tested"},
    ]
    figure = draw(pd.DataFrame(rows, columns=COLUMNS))
    (axes,) = figure.axes
    points = [line for line in axes.lines if line.get_marker() in ("o", "<", ">")]
    assert [line.get_xdata()[0] for line in points] == [3, -30], "beyond 30 margins: at the edge"
    assert [line.get_marker() for line in points] == ["o", "<"]
    colors = [matplotlib.colors.to_hex(line.get_color()) for line in points]
    assert colors == [COLORS[Verdict.SUPPORTED].lower(), COLORS[Verdict.CONTRADICTED].lower()]
    spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert any(np.allclose(span, [2.5, 3.5]) for span in spans)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["d, sft: a against b"] * 2
    assert "Not tested: F4" in axes.get_xlabel()


def test_long_names_do_not_hide_the_comparison() -> None:
    told = "my method at 1e-5 against my method at 1e-4"
    rows = [
        row("supported", 0.06, model=f"{n}-a-model-with-a-long-name", method="my method")
        | {
            "domain": "my-data",
            "comparison": told,
        }
        for n in range(2)
    ]
    (axes,) = draw(pd.DataFrame(rows, columns=COLUMNS)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"{n}-a-model-with-a-lo…, my-data: {told}" for n in range(2)]


def test_many_untested_claims_do_not_run_out_of_the_figure() -> None:
    """The lines below the axes are at most as wide as the figure, 7.5 inches."""
    untested = [
        {"claim": f"N{i}", "kind": "overall", "verdict": "not tested"} for i in range(10, 40)
    ]
    with house_style():
        figure = draw(pd.DataFrame([row("supported", 0.06), *untested], columns=COLUMNS))
        figure.draw_without_rendering()
        box = figure.axes[0].xaxis.label.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_nothing_is_tested() -> None:
    table = pd.DataFrame(
        [{"claim": "F4", "kind": "overall", "verdict": "not tested"}], columns=COLUMNS
    )
    (axes,) = draw(table).axes
    assert [text.get_text() for text in axes.texts] == ["no claim is tested"]
