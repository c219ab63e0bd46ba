"""The page of break-points, its table, and its figure."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.breakpoints import break_points
from sft_tradeoff.report.breakpoint_figure import MARGIN, draw
from sft_tradeoff.report.breakpoints import breakpoint_table, to_markdown
from sft_tradeoff.report.figures.style import house_style
from tests.finished_study import make_finished_study
from tests.loss_tables import TOLERANCE, measured_of

NOISE = 0.02 * np.tile([1.0, -1.0], 20)
LOSSES = {
    "sft": {1e-5: 0.0, 1e-4: 0.012, 1e-3: 0.5},
    "lost": {1e-5: 0.2, 1e-4: 0.3, 1e-3: 0.5},
    "kept": {1e-5: 0.0, 1e-4: 0.0, 1e-3: math.nan},
}


@pytest.fixture
def points():
    losses = {
        label: {rate: (loss + (loss > 0) * NOISE)[None] for rate, loss in of_rate.items()}
        for label, of_rate in LOSSES.items()
    }
    return break_points(measured_of(losses), TOLERANCE)


def test_the_table_has_the_rates_by_verdict(points) -> None:
    table = breakpoint_table(points).set_index("label")
    names = ["largest_within", "first_exceeding", "within", "cannot_tell", "exceeds", "missing"]
    assert table.loc["sft", names].tolist() == [1e-5, 1e-3, "1e-5", "1e-4", "1e-3", ""]
    assert table.loc["kept", names[2:]].tolist() == ["1e-5 1e-4", "", "", "1e-3"]
    assert math.isnan(table.loc["lost", "largest_within"])
    assert table["text"].tolist()[1:] == ["below 1e-5", "above 1e-4"]
    assert table.loc["kept", "break_point"] == math.inf and table.loc["lost", "break_point"] == 0


def test_the_page_says_what_is_missing(points) -> None:
    text = to_markdown(breakpoint_table(points), TOLERANCE)
    assert "Tolerance: bits_per_byte=0.01." in text
    (line,) = (line for line in text.splitlines() if "kept" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["m", "d", "kept", "1e-4", "–", "above 1e-4", "", "1e-3"]
    assert "no general suite" in to_markdown(breakpoint_table(points), {})


def test_the_figure_draws_rates_brackets_and_break_points(points) -> None:
    rows = [("base", "base"), ("sft", "sft"), ("sft", "lost"), ("sft", "kept")]
    with house_style():
        figure = draw(points, pd.DataFrame(rows, columns=["method", "label"]), TOLERANCE)
    (axes,) = figure.axes
    shown = [
        (line.get_marker(), tuple(np.round(line.get_xdata(), 12)), tuple(line.get_ydata()))
        for line in axes.lines
    ]
    sft = points[0]
    assert ("D", (round(sft.value, 12),), (-0.25,)) in shown
    assert ("None", (round(sft.low, 12), round(sft.high, 12)), (-0.25, -0.25)) in shown
    assert ("None", (1e-5, 1e-3), (0, 0)) in shown, "the bracket"
    edges = 1e-5 / MARGIN, 1e-3 * MARGIN
    assert ("<", (round(edges[0], 12),), (0.75,)) in shown, "below the grid"
    assert (">", (round(edges[1], 12),), (1.75,)) in shown, "above the grid"
    assert ("x", (1e-3,), (2,)) in shown, "no score"
    filled = [(m, line.get_fillstyle()) for m, line in zip("ooo", _circles(axes, 0), strict=True)]
    assert filled == [("o", "full"), ("o", "left"), ("o", "full")]
    assert _circles(axes, 0)[2].get_markerfacecolor() == "white"


def _circles(axes, y: float) -> list:
    return [line for line in axes.lines if line.get_marker() == "o" and line.get_ydata()[0] == y]


def test_the_stage_reads_a_study(tmp_path: Path) -> None:
    """Both rates lose more than any tolerance below 0.5 bits per byte, each on two items alike."""
    _, results = make_finished_study(tmp_path)
    tables = ["--run-table", str(results / "run_table.csv"), "--runs", str(results / "runs")]
    tables += ["--tradeoff", str(results / "tradeoff_over_seeds.csv")]
    cli.main(["breakpoints", *tables, "--out-stem", str(tmp_path / "v1.5")])
    assert {p.name for p in tmp_path.glob("v1.5*")} == {
        f"v1.5.{suffix}" for suffix in ("md", "csv", "pdf", "png")
    }
    row = pd.read_csv(tmp_path / "v1.5.csv").iloc[0]
    assert row["cannot_tell"] == "1e-5 1e-4" and row["text"].startswith("below 1e-5")


def test_a_study_without_a_suite_has_no_break_points(points) -> None:
    (point, *_) = break_points(measured_of({"sft": {1e-5: NOISE[None]}}), {})
    assert str(point) == "unknown"
    rows = pd.DataFrame([("sft", "sft")], columns=["method", "label"])
    with house_style():
        draw([point], rows, {}).draw_without_rendering()
