"""The figures show everything in the table, and redrawing gives the same bytes."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sft_tradeoff import cli
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS, QUANTITIES, SETTING
from sft_tradeoff.report.figures import learning_rate, tradeoff
from sft_tradeoff.report.figures.style import (
    house_style,
    method_styles,
    rate_markers,
    save_figure,
    side_by_side,
)

MODULES = [tradeoff, learning_rate]
NAN = math.nan


def make_table(
    models: int = 1, domains: int = 2, methods: int = 2, rates: tuple[float, ...] = (1e-5, 1e-4)
) -> pd.DataFrame:
    """A table in which every number is different."""
    rows = []
    settings = [("base", "base", NAN)]
    settings += [("sft", f"method{i}", rate) for i in range(methods) for rate in rates]
    for model, domain in itertools.product(range(models), range(domains)):
        rows += [(f"model{model}", f"domain{domain}", *setting, 1) for setting in settings]
    table = pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS[:6]).reindex(columns=OVER_SEEDS_COLUMNS)
    rng = np.random.default_rng(0)
    for quantity in QUANTITIES:
        table[quantity] = rng.uniform(0.1, 0.9, len(table))
        table[f"{quantity}_low"] = table[quantity] - rng.uniform(0.01, 0.05, len(table))
        table[f"{quantity}_high"] = table[quantity] + rng.uniform(0.01, 0.05, len(table))
    return table


def draw(module: ModuleType, table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    with house_style():
        figure, drawn = module.draw(table)
    return figure, drawn


def lay_out(figure: Figure) -> None:
    """Lay out the figure; matplotlib's warning that it does not fit is an error here."""
    with house_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()


def points(axes: Axes) -> set[tuple[float, float]]:
    """Coordinates of all markers in a panel."""
    return {
        (round(float(x), 9), round(float(y), 9))
        for line in axes.lines
        if line.get_marker() not in ("None", "", None)
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def segments(axes: Axes) -> list[tuple[tuple[float, float], ...]]:
    return [
        tuple(tuple(np.round(end, 9)) for end in segment)
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]


def test_tradeoff_draws_every_setting_with_both_intervals() -> None:
    table = make_table()
    figure, drawn = draw(tradeoff, table)
    assert len(figure.axes) == 4
    grid = itertools.product(tradeoff.X_LABELS, ["domain0", "domain1"])
    for axes, (x, domain) in zip(figure.axes, grid, strict=True):
        here = table[table["domain"] == domain]
        y = "domain_score"
        expected = {(round(a, 9), round(b, 9)) for a, b in zip(here[x], here[y], strict=True)}
        assert points(axes) == expected
        for row in here.to_dict("records"):
            vertical = ((row[x], row[f"{y}_low"]), (row[x], row[f"{y}_high"]))
            horizontal = ((row[f"{x}_low"], row[y]), (row[f"{x}_high"], row[y]))
            for ends in (vertical, horizontal):
                assert tuple(tuple(np.round(end, 9)) for end in ends) in segments(axes)
        assert axes.get_xlabel() == tradeoff.X_LABELS[x]
        assert axes.xaxis_inverted() == (x == "general_bits_per_byte_difference")
    assert [axes.get_title() for axes in figure.axes] == ["domain0", "domain1", "", ""]
    assert list(drawn) == tradeoff.DRAWN
    pd.testing.assert_frame_equal(drawn, table[tradeoff.DRAWN])


def test_tradeoff_joins_a_method_through_increasing_rates_and_stars_base() -> None:
    table = make_table(domains=1, rates=(1e-5, 1e-4, 1e-3)).sample(frac=1, random_state=1)
    figure, _ = draw(tradeoff, table)
    method = table[table["label"] == "method1"].sort_values("learning_rate")
    paths = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert method["domain_score"].tolist() in paths
    base = table[table["method"] == "base"].iloc[0]
    [star] = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert list(star.get_ydata()) == [base["domain_score"]]
    color = method_styles(table)["method1"].color
    [circles] = [
        list(line.get_ydata())
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_color() == color
    ]
    assert circles == [method["domain_score"].iloc[0]]


def test_learning_rate_draws_every_setting_and_base() -> None:
    table = make_table()
    figure, drawn = draw(learning_rate, table)
    assert len(figure.axes) == 8
    grid = itertools.product(learning_rate.Y_LABELS, ["domain0", "domain1"])
    for axes, (y, domain) in zip(figure.axes, grid, strict=True):
        here = table[table["domain"] == domain]
        base, tuned = here[here["method"] == "base"].iloc[0], here[here["method"] != "base"]
        assert {value for _, value in points(axes)} == set(tuned[y].round(9))
        levels = {tuple(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"}
        assert (base[y], base[y]) in levels
        [band] = axes.patches
        assert band.get_y() == pytest.approx(base[f"{y}_low"])
        assert band.get_height() == pytest.approx(base[f"{y}_high"] - base[f"{y}_low"])
        heights = {(low[1], high[1]) for low, high in segments(axes)}
        expected = zip(tuned[f"{y}_low"].round(9), tuned[f"{y}_high"].round(9), strict=True)
        assert heights == set(expected)
        assert axes.get_yscale() == ("log" if y == "domain_nll" else "linear")
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == list(learning_rate.Y_LABELS.values())
    labels = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert labels == ["1e-5", "1e-4"]
    assert len(figure.axes[-1].get_xticks(minor=True)) == 0
    pd.testing.assert_frame_equal(drawn, table[learning_rate.DRAWN])


def test_methods_stand_side_by_side_around_the_rate() -> None:
    figure, _ = draw(learning_rate, make_table(domains=1, methods=3))
    places = sorted(x for x, _ in points(figure.axes[0]))
    assert len(set(places)) == 6
    assert places[1] == pytest.approx(1e-5)
    assert places[0] * places[2] == pytest.approx(1e-10, rel=1e-4)
    # dense grids: offsets stay below half the distance to the next rate
    offsets = side_by_side(np.array([1e-6, 2e-6, 1e-5]), list("abcdefgh"))
    assert max(offsets.values()) < math.sqrt(math.sqrt(2)) < math.sqrt(2)


@pytest.mark.parametrize("module", MODULES)
def test_models_have_rows_of_their_own_and_common_legends(module: ModuleType) -> None:
    figure, _ = draw(module, make_table(models=2, domains=1))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["model0: domain0", "model1: domain0"]
    assert len(figure.axes) == (4 if module is tradeoff else 8)
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    rates = ["1e-5", "1e-4"] if module is tradeoff else []
    assert texts == ["θ₀", "method0", "method1", *rates]
    assert all(axes.get_legend() is None for axes in figure.axes)


@pytest.mark.parametrize(
    ("module", "domains", "methods", "n_rates"),
    [(tradeoff, 1, 1, 1), (tradeoff, 4, 8, 7), (learning_rate, 1, 1, 1), (learning_rate, 2, 8, 7)],
)
def test_smallest_and_largest_study_fit(
    module: ModuleType, domains: int, methods: int, n_rates: int
) -> None:
    rates = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 1e-4, 1e-3)[:n_rates]
    figure, _ = draw(module, make_table(domains=domains, methods=methods, rates=rates))
    lay_out(figure)
    assert not _overlapping_labels(figure)


def _overlapping_labels(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts (titles, axis and tick labels, legends) whose boxes intersect."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
    # The box of a rotated text is larger than the text, so rotated tick labels are left out.
    shown = [t for t in texts if t.get_text() and t.get_visible() and t.get_rotation() % 90 == 0]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    return [(a, b) for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.overlaps(y)]


@pytest.mark.parametrize("module", MODULES)
def test_everything_on_the_floor_is_still_drawn(module: ModuleType) -> None:
    table = make_table()
    table[["domain_score", "domain_score_low"]] = 0.0
    table["domain_score_high"] = 0.06
    figure, _ = draw(module, table)
    low, high = figure.axes[0].get_ylim()
    assert -0.02 < low < 0 < 0.06 < high < 0.1


@pytest.mark.parametrize("module", MODULES)
def test_missing_score_leaves_a_gap(module: ModuleType) -> None:
    table = make_table(domains=1, methods=1, rates=(1e-5, 1e-4, 1e-3))
    table.loc[2, [name for name in table if name not in SETTING]] = NAN
    figure, drawn = draw(module, table)
    [path] = [line for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert np.isnan(path.get_ydata()).tolist() == [False, True, False]
    assert drawn.loc[2].isna().sum() == len(drawn.columns) - len(SETTING)


@pytest.mark.parametrize("module", MODULES)
def test_study_without_a_general_suite_says_so(module: ModuleType) -> None:
    table = make_table(domains=1)
    table[[name for name in table if name.startswith("general_")]] = NAN
    figure, _ = draw(module, table)
    lay_out(figure)
    notes = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert notes == ["no scores"] * 2


def test_styles_differ_without_color(caplog: pytest.LogCaptureFixture) -> None:
    styles = list(method_styles(make_table(methods=16)).values())
    looks = {(style.line, style.fill) for style in styles}
    assert len(looks) == 16
    assert len({style.color for style in styles[:8]}) == 8
    assert not caplog.text
    assert len(method_styles(make_table(methods=17))) == 17  # a warning, not an error
    assert "17 method labels" in caplog.text and "styles repeat after 16" in caplog.text


def test_rates_have_shapes_in_increasing_order(caplog: pytest.LogCaptureFixture) -> None:
    markers = rate_markers(make_table(rates=(1e-3, 1e-6, 1e-5)))
    assert markers == {1e-6: "o", 1e-5: "s", 1e-3: "D"}
    assert len(rate_markers(make_table(rates=tuple(10.0**-i for i in range(1, 13))))) == 12
    assert "12 learning rates" in caplog.text


def test_redrawing_gives_the_same_bytes(tmp_path: Path) -> None:
    table = make_table(domains=1, methods=1)
    for name in ("a", "b"):
        with house_style():
            save_figure(*tradeoff.draw(table), tmp_path / name / "figure.v1")
    for suffix in ("pdf", "png", "csv"):
        first, second = ((tmp_path / n / f"figure.v1.{suffix}").read_bytes() for n in "ab")
        assert first == second
        assert b"Date" not in first
    assert len(list((tmp_path / "a").iterdir())) == 3
    drawn = pd.read_csv(tmp_path / "a" / "figure.v1.csv")
    pd.testing.assert_frame_equal(drawn, table[tradeoff.DRAWN], check_dtype=False)


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table(domains=1, methods=1)
    table.loc[1, "domain_score"] = NAN
    table.to_csv(tmp_path / "os.csv", index=False)
    stem = tmp_path / "figures" / "tradeoff"
    command = f"figure tradeoff --table {tmp_path}/os.csv --out-stem {stem}"
    cli.main(command.split())
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert "model0, domain0, method0 at 1e-5" in capsys.readouterr().err
    assert stem.with_suffix(".csv").is_file()


def test_style_ignores_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    def png() -> bytes:
        buffer = io.BytesIO()
        with house_style():
            figure, _ = tradeoff.draw(make_table(domains=1, methods=1))
            figure.savefig(buffer, format="png", dpi=50)
        return buffer.getvalue()

    before = png()
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "pink")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9)
    assert png() == before
