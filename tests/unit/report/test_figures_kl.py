"""The figure of general loss over KL: every setting with its intervals, and the fitted line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.report.figures import kl
from sft_tradeoff.report.figures.kl import X, Y
from tests.unit.report.test_figures import NAN, draw, lay_out, make_table, points, segments


def lines(axes):
    return [line for line in axes.lines if len(line.get_xdata()) == kl.N_POINTS]


def test_every_setting_is_drawn_with_both_intervals() -> None:
    table = make_table(methods=3)
    figure, drawn = draw(kl, table)
    tuned = table[table["method"] != "base"]
    assert [axes.get_title() for axes in figure.axes] == ["domain0", "domain1"]
    for axes, domain in zip(figure.axes, ("domain0", "domain1"), strict=True):
        here = tuned[tuned["domain"] == domain]
        places = {(round(x, 9), round(y, 9)) for x, y in zip(here[X], here[Y], strict=True)}
        assert places == points(axes)
        ends = segments(axes)
        for _, row in here.round(9).iterrows():
            assert ((row[X], row[f"{Y}_low"]), (row[X], row[f"{Y}_high"])) in ends
            assert ((row[f"{X}_low"], row[Y]), (row[f"{X}_high"], row[Y])) in ends
    pd.testing.assert_frame_equal(drawn, tuned[kl.DRAWN].reset_index(drop=True))


def test_the_line_is_the_least_squares_fit_of_all_domains_of_a_model() -> None:
    table = make_table(models=2)
    figure, _ = draw(kl, table)
    for i, axes in enumerate(figure.axes):
        (line,) = lines(axes)
        here = table[(table["model"] == f"model{i // 2}") & (table["method"] != "base")]
        slope, intercept = np.polyfit(here[X], here[Y], 1)
        np.testing.assert_allclose(line.get_ydata(), intercept + slope * line.get_xdata())
        band = axes.collections[-1].get_paths()[0].vertices[:, 1]
        assert band.min() < line.get_ydata().min() and band.max() > line.get_ydata().max()


def test_an_interval_that_reaches_0_ends_at_its_point() -> None:
    table = make_table(domains=1)
    table[f"{X}_low"] = -0.1
    figure, drawn = draw(kl, table)
    lay_out(figure)
    tuned = table[table["method"] != "base"].round(9)
    ends = segments(figure.axes[0])
    for _, row in tuned.iterrows():
        assert ((row[X], row[Y]), (row[f"{X}_high"], row[Y])) in ends
    assert (drawn[f"{X}_low"] == -0.1).all()


@pytest.mark.parametrize(("domains", "methods", "n_rates"), [(1, 1, 1), (3, 8, 7)])
def test_smallest_and_largest_study_fit(domains: int, methods: int, n_rates: int) -> None:
    rates = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 1e-4, 1e-3)[:n_rates]
    figure, _ = draw(kl, make_table(domains=domains, methods=methods, rates=rates))
    lay_out(figure)
    assert all(len(lines(axes)) == (n_rates > 1) for axes in figure.axes)


def test_a_study_without_kl_says_so() -> None:
    table = make_table(domains=1)
    table[[name for name in table if name.startswith(X)]] = NAN
    figure, _ = draw(kl, table)
    lay_out(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no scores"]
