"""The figure of TALR's options shows every setting of its table."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd

from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS
from sft_tradeoff.analysis.talr_options import OPTIONS
from sft_tradeoff.objectives.talr import TalrOptions
from sft_tradeoff.report.figures import drawable, tau
from sft_tradeoff.report.figures.style import house_style

ARMS = {
    "talr": {},
    "talr-mean": {"tau": "mean"},
    "talr-each": {"tau": "mean", "level": "each_sequence"},
    "talr-tau1": {"tau": 1.0},
    "talr-tau1-floor0": {"tau": 1.0, "floor": 0.0},
}


def make_table(domains: int = 1, rates: tuple[float, ...] = (1e-4, 3e-4)) -> pd.DataFrame:
    """θ0, the arms, and standard SFT last; every number is different."""
    rows = []
    for domain in (f"domain{i}" for i in range(domains)):
        rows.append({"domain": domain, "method": "base", "label": "base"})
        for label in [*ARMS, "sft"]:
            chosen = TalrOptions(**ARMS[label]).model_dump() if label in ARMS else {}
            method = {"method": label.split("-")[0], "label": label, "domain": domain}
            rows += [method | chosen | {"learning_rate": rate} for rate in rates]
    table = pd.DataFrame(rows, columns=[*OVER_SEEDS_COLUMNS, *OPTIONS]).assign(model="m")
    rng = np.random.default_rng(0)
    for quantity, low, high in (("domain_score", 0.2, 0.7), (tau.DRAWN[-3], 0.0, 0.2)):
        table[quantity] = rng.uniform(low, high, len(table))
        table[f"{quantity}_low"] = table[quantity] - rng.uniform(0.01, 0.05, len(table))
        table[f"{quantity}_high"] = table[quantity] + rng.uniform(0.01, 0.05, len(table))
    return table


def test_every_setting_is_drawn_on_the_line_of_its_options_below_sft() -> None:
    table = make_table()
    with house_style():
        figure, drawn = tau.draw(table)
    left, right = figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[0] == "sft" and names[3] == "mean of each sequence, floor 0.01"
    assert len(names) == 6
    for axes, quantity in ((left, "domain_score"), (right, "general_bits_per_byte_difference")):
        found = {
            (round(float(x), 9), round(float(y)))
            for line in axes.lines
            if line.get_marker() not in ("None", "", None)
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        order = ["sft", *ARMS]
        trained = table[table["method"] != "base"]
        assert found == {
            (round(row[quantity], 9), order.index(row["label"]))
            for row in trained.to_dict("records")
        }
        [base] = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert set(base.get_xdata()) == {table[quantity].iloc[0]}
    pd.testing.assert_frame_equal(drawn, table[tau.DRAWN])


def test_many_rates_and_domains_fit() -> None:
    for table in (make_table(3, (1e-5, 3e-5, 1e-4, 3e-4)), make_table(1, (1e-4,))):
        with house_style(), warnings.catch_warnings():
            warnings.simplefilter("error")
            figure, _ = tau.draw(table)
            figure.draw_without_rendering()


def test_missing_scores_leave_gaps() -> None:
    table = make_table()
    table.loc[1, "domain_score"] = math.nan
    table[[name for name in table if name.startswith("general_bits")]] = math.nan
    with house_style():
        figure, _ = tau.draw(table)
    assert [text.get_text() for text in figure.axes[1].texts] == ["no scores"]


def test_only_studies_that_compare_options_have_it() -> None:
    assert "tau" in drawable(["tradeoff_over_seeds.csv", "talr_options.csv"])
    assert "tau" not in drawable(["tradeoff_over_seeds.csv", "epochs.csv"])
