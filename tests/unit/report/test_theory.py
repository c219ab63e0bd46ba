"""The figure of the theory: all that it draws is in its table, and is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.report.figures.style import house_style
from sft_tradeoff.report.theory import CURVES, GAINS, SHARES, theory_table
from sft_tradeoff.report.theory_figure import CURVE, EQUAL_GAIN, SAFE_STEP, draw
from sft_tradeoff.theory.equal_gain import at_gain
from sft_tradeoff.theory.example import FIXED, MOVING, example


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return theory_table()


def test_table(table: pd.DataFrame) -> None:
    counts = table["kind"].value_counts()
    assert counts[CURVE] == 2 * len(CURVES) * len(GAINS)
    assert counts[EQUAL_GAIN] == 2 * 6 and counts[SAFE_STEP] == 6 * len(SHARES)
    losses = table[table["kind"] == CURVE].pivot_table("loss", ["target", "gain"], "n_steps")
    spread = (losses.max(axis=1) - losses.min(axis=1)).groupby("target").max()
    assert spread[FIXED] < 1e-8, "at the same gain, the same loss"
    assert spread[MOVING] > 0.05
    row = table[(table["kind"] == EQUAL_GAIN) & (table["target"] == MOVING)].iloc[1]
    outcome = at_gain(example()[MOVING], 0.5, 2)
    assert row["n_steps"] == 2
    assert (row["step"], row["loss"]) == pytest.approx((outcome.step, outcome.loss), abs=1e-9)


def test_every_number_is_drawn(table: pd.DataFrame) -> None:
    with house_style():
        axes = draw(table).axes
    lines = [[np.asarray(line.get_xydata()) for line in a.get_lines()] for a in axes]
    assert [len(of) for of in lines] == [8, 8, 6, 6]
    columns = ("loss", "curvature_bound", "normalizer_bound")
    for a, kind, xs, ys in (
        (0, CURVE, "gain", columns[:2]),
        (2, EQUAL_GAIN, "step", columns),
        (3, SAFE_STEP, "share", ("step",)),
    ):
        rows = table[table["kind"] == kind]
        rows = rows[rows["target"] == FIXED] if kind == CURVE else rows
        drawn = {tuple(point) for line in lines[a] for point in line}
        assert drawn == {
            (x, y) for column in ys for x, y in zip(rows[xs], rows[column], strict=True)
        }


def test_command_line(tmp_path: Path) -> None:
    cli.main(["theory", "--out-stem", str(tmp_path / "t")])
    assert (tmp_path / "t.pdf").stat().st_size > 1000
    assert (tmp_path / "t.png").stat().st_size > 1000
    published = Path("figures/theory/theory.csv")
    assert (tmp_path / "t.csv").read_text() == published.read_text(), "make figures redraws it"
