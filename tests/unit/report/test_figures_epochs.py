"""The figure of epochs shows every run, and which weights it kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.tables import EPOCH_COLUMNS
from sft_tradeoff.report.figures import FIGURES, drawable, epochs, table_of
from sft_tradeoff.report.figures.style import method_styles
from tests.unit.report.test_figures import draw, lay_out, points, segments

RATES = (1e-5, 1e-4)


def make_table(n_epochs: int = 3, seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Two methods at two rates; every number is different; an epoch of every run is kept."""
    rows = [
        (f"{label}{rate}{seed}", "m", "d", "sft", label, rate, seed, float(epoch), 5 * epoch, 9)
        for label in ("plain", "other")
        for rate in RATES
        for seed in seeds
        for epoch in range(1, n_epochs + 1)
    ]
    table = pd.DataFrame(rows, columns=EPOCH_COLUMNS[:10]).reindex(columns=EPOCH_COLUMNS)
    rng = np.random.default_rng(0)
    table["selected"] = table["epoch"] == table["seed"] + 1
    for quantity in epochs.OF_EPOCH:
        table[quantity] = rng.uniform(0.1, 0.9, len(table))
        table[f"{quantity}_low"] = table[quantity] - 0.1
        table[f"{quantity}_high"] = table[quantity] + 0.1
    return table


def test_every_run_is_a_line_and_a_star_marks_what_it_kept() -> None:
    table = make_table()
    figure, drawn = draw(epochs, table)
    lay_out(figure)
    panels = [(quantity, rate) for quantity in epochs.Y_LABELS for rate in RATES]
    assert len(figure.axes) == len(panels)
    for axes, (quantity, rate) in zip(figure.axes, panels, strict=True):
        here = table[table["learning_rate"] == rate]
        expected = set(zip(here["epoch"], here[quantity].round(9), strict=True))
        assert points(axes) == expected
        stars = [line for line in axes.lines if line.get_marker() == "*"]
        found = {(line.get_color(), *line.get_xdata(), *line.get_ydata()) for line in stars}
        colors = {label: style.color for label, style in method_styles(table).items()}
        kept = here[here["selected"]]
        assert found == {
            (colors[label], epoch, value)
            for label, epoch, value in zip(
                kept["label"], kept["epoch"], kept[quantity], strict=True
            )
        }
        heights = {(low[1], high[1]) for low, high in segments(axes)}
        lows, highs = (here[f"{quantity}_{end}"].round(9) for end in ("low", "high"))
        assert heights == set(zip(lows, highs, strict=True))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["d, 1e-5", "d, 1e-4", "", ""]
    assert list(drawn) == epochs.DRAWN


@pytest.mark.parametrize("share", [0.5, 1.0, 2.5])
def test_epochs_are_marked_at_whole_numbers(share: float) -> None:
    """Also if the only end of an epoch is that of half a pass over the data."""
    table = make_table(n_epochs=1)
    table["epoch"] = share
    figure, _ = draw(epochs, table)
    lay_out(figure)
    (low, high), ticks = figure.axes[-1].get_xlim(), figure.axes[-1].get_xticks()
    seen = [tick for tick in ticks if low <= tick <= high]
    assert low == 0 and share < high and len(seen) >= 2
    assert all(tick == int(tick) for tick in seen)


def test_a_rate_without_scores_says_so() -> None:
    """As of a run that is not trained yet: one row without an epoch."""
    table = make_table()
    gone = table["learning_rate"] == RATES[1]
    table = table[~gone | (table["epoch"] == 1)]
    missing = table["learning_rate"] == RATES[1]
    table.loc[missing, ["epoch", *epochs.DRAWN[8:]]] = np.nan
    figure, _ = draw(epochs, table)
    lay_out(figure)
    notes = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert notes == [[], ["no scores"]] * 2


def test_figures_are_drawn_only_from_tables_that_a_study_has() -> None:
    assert table_of("epochs") == "epochs.csv"
    assert "epochs" not in drawable(["tradeoff_over_seeds.csv", "scores.csv"])
    assert drawable({table_of(figure) for figure in FIGURES}) == FIGURES
    assert drawable(["epochs.csv"]) == ["epochs"]


def test_the_trade_off_is_refused_as_a_table_of_epochs(tmp_path, capsys) -> None:
    path = tmp_path / "epochs.csv"
    make_table().drop(columns="epoch").iloc[[0]].to_csv(path, index=False)
    with pytest.raises(SystemExit):
        cli.main(["figure", "epochs", "--table", str(path), "--out-stem", str(tmp_path / "f")])
    assert "no column epoch; pass the table that 'sft-tradeoff aggregate --epochs' writes" in (
        capsys.readouterr().err
    )
