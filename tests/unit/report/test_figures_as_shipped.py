"""The figure of gains as trained and as shipped: every number, each pair tied."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.report.figures import as_shipped
from sft_tradeoff.report.figures.as_shipped import SHIPPED, TRAINED
from tests.unit.report.test_figures import NAN, draw, lay_out, make_table, points, segments


def test_every_pair_is_drawn_and_tied() -> None:
    table = make_table()
    figure, drawn = draw(as_shipped, table)
    assert [axes.get_title() for axes in figure.axes] == ["domain0", "domain1"]
    for axes, domain in zip(figure.axes, ("domain0", "domain1"), strict=True):
        here = table[table["domain"] == domain]
        base, tuned = here[here["method"] == "base"].iloc[0], here[here["method"] != "base"]
        both = {*tuned[TRAINED].round(9), *tuned[SHIPPED].round(9)}
        assert {y for _, y in points(axes)} == both
        pairs = {tuple(np.round(line.get_ydata(), 9)) for line in axes.lines}
        expected = zip(tuned[TRAINED].round(9), tuned[SHIPPED].round(9), strict=True)
        assert set(expected) <= pairs
        assert (base[TRAINED], base[TRAINED]) in {tuple(line.get_ydata()) for line in axes.lines}
        heights = {(low[1], high[1]) for low, high in segments(axes)}
        for quantity in (TRAINED, SHIPPED):
            ends = zip(tuned[f"{quantity}_low"], tuned[f"{quantity}_high"], strict=True)
            assert {(round(low, 9), round(high, 9)) for low, high in ends} <= heights
    pd.testing.assert_frame_equal(drawn, table[as_shipped.DRAWN])


def test_circles_and_triangles_are_explained() -> None:
    figure, _ = draw(as_shipped, make_table(models=2, domains=1))
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert texts == ["θ₀", "method0", "method1", "as trained", "saved in bfloat16"]
    shapes = {
        handle.get_label(): handle.get_marker() for handle in figure.legends[0].legend_handles
    }
    assert shapes["as trained"] == "o" and shapes["saved in bfloat16"] == "v"


@pytest.mark.parametrize(("domains", "methods", "n_rates"), [(1, 1, 1), (3, 8, 7)])
def test_smallest_and_largest_study_fit(domains: int, methods: int, n_rates: int) -> None:
    rates = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 1e-4, 1e-3)[:n_rates]
    lay_out(draw(as_shipped, make_table(domains=domains, methods=methods, rates=rates))[0])


def test_a_study_without_scores_as_shipped_says_so() -> None:
    """Published by an older version, or scored by vLLM: both rounded the weights that they scored.

    Those scores are still drawn, but not called those of the weights as trained. The legend says
    it, not a text across the points.
    """
    table = make_table(domains=1)
    table[[name for name in table if name.startswith(SHIPPED)]] = NAN
    figure, _ = draw(as_shipped, table)
    lay_out(figure)
    assert list(figure.axes[0].texts) == []
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["as scored", "saved in bfloat16 (no scores)"]
