"""Figures of single tokens show the numbers of their tables."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from sft_tradeoff.analysis.tables import BASE, TOKEN_TABLES
from sft_tradeoff.report.figures import (
    OF_TOKENS,
    table_of,
    token_change,
    token_curriculum,
    token_paths,
    token_probability,
)
from tests.unit.report.test_figures import draw, lay_out

RATES = (1e-5, 1e-4, 1e-3)
DOMAINS = ("d", "e")
TRAINED = [(label, label, rate) for label in ("sft", "talr") for rate in RATES]
MODULES = [token_change, token_curriculum, token_paths, token_probability]
RNG = np.random.default_rng(0)


def table(name: str, rows: list[tuple[object, ...]], base: bool = False) -> pd.DataFrame:
    """The rows for every setting, each with other numbers in its last column."""
    settings = [(BASE, BASE, math.nan)] * base + TRAINED
    columns = TOKEN_TABLES[name]
    found = [("m", d, *s, *row) for d in DOMAINS for s in settings for row in rows]
    frame = pd.DataFrame([r + (0.5,) * (len(columns) - len(r)) for r in found], columns=columns)
    for column in frame.columns[5:]:
        if (frame[column] == 0.5).all():
            frame[column] = RNG.uniform(0.2, 0.9, len(frame))
    return frame


TABLES = {
    "token_probability": table(
        "token_probability.csv", [(q,) for q in (0.0, 0.25, 0.5, 0.75, 1.0)], base=True
    ),
    "token_change": table(
        "token_change.csv",
        [("all", 0.0), ("all", 0.1), ("all", 1.0), ("digits", 0.2), ("template", 0.8)],
    ),
    "token_curriculum": table(
        "token_curriculum.csv",
        [(d, e) for d in ("all", "hard", "easy") for e in (1.0, 2.0, 3.0)],
    ),
    "token_paths": table(
        "token_paths.csv",
        [("3", p, "the $", t, e) for p, t in ((4, " x"), (9, "\n")) for e in (0.0, 1.0, 2.0)],
    ),
}


def at(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


@pytest.mark.parametrize("module", MODULES)
def test_all_are_laid_out_and_listed(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    figure, drawn = draw(module, TABLES[name])
    lay_out(figure)
    assert list(drawn) == TOKEN_TABLES[table_of(name)]
    assert name in OF_TOKENS


@pytest.mark.parametrize("module", MODULES)
def test_a_setting_without_tokens_is_drawn_as_missing(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    frame = TABLES[name]
    first = frame[frame["label"] == "talr"].iloc[[0]].copy()
    first[first.columns[5:]] = np.nan
    frame = pd.concat([frame[frame["label"] != "talr"], first]).astype(
        {"text": "str"} if "text" in frame else {}
    )
    figure, _ = draw(module, frame)
    lay_out(figure)


def test_curves_of_probability() -> None:
    """At the middle rate, and θ0's median and share are told."""
    frame = TABLES["token_probability"]
    figure, _ = draw(token_probability, frame)
    for axes, domain in zip(figure.axes, DOMAINS, strict=True):
        lines = {tuple(np.round(line.get_ydata(), 9)) for line in axes.lines}
        for label, rate in (("sft", 1e-4), ("talr", 1e-4)):
            expected = at(frame, domain=domain, label=label, learning_rate=rate)["p"]
            assert tuple(expected.round(9)) in lines
        base = at(frame, domain=domain, method=BASE)
        assert tuple(base["p"].round(9)) in lines
        median = at(base, quantile=0.5).iloc[0]
        (text,) = [t.get_text() for t in axes.texts]
        assert f"{median['p']:.2f}" in text and f"{median['share_easy']:.0%}" in text


def test_lorenz_curves_and_kinds() -> None:
    frame = TABLES["token_change"]
    figure, _ = draw(token_change, frame)
    left, right = figure.axes[2:4]  # of the second domain
    curves = {tuple(np.round(line.get_ydata(), 9)) for line in left.lines}
    dots = {
        (round(x), *np.round(line.get_ydata(), 9)) for line in right.lines for x in line.get_xdata()
    }
    for label in ("sft", "talr"):
        here = at(frame, domain="e", label=label, learning_rate=1e-4)
        assert tuple(at(here, kind="all")["share"].round(9)) in curves
        for x, kind in enumerate(("digits", "template")):
            assert (x, round(at(here, kind=kind)["share"].item(), 9)) in dots
    assert [bar.get_height() for bar in right.patches] == [0.2, 0.8]
    assert [text.get_text() for text in right.texts] == ["none"]  # content


def test_curriculum_has_a_row_per_rate_and_a_column_per_difficulty() -> None:
    frame = TABLES["token_curriculum"]
    figure, _ = draw(token_curriculum, frame)
    assert len(figure.axes) == len(DOMAINS) * len(RATES) * 4
    row, column = 4, 1  # the second domain at the middle rate, hard tokens
    axes = figure.axes[4 * row + column]
    found = {tuple(np.round(line.get_ydata(), 9)) for line in axes.lines}
    expected = {
        tuple(
            at(frame, domain="e", learning_rate=1e-4, label=label, difficulty="hard")[
                "share"
            ].round(9)
        )
        for label in ("sft", "talr")
    }
    assert found == expected
    assert figure.axes[2].texts[0].get_text() == "no tokens"  # middle
    assert figure.axes[1].get_title() == "hard: 0 < p(θ₀) ≤ 0.2"


def test_paths_are_matrices_with_the_text_beside_them() -> None:
    frame = TABLES["token_paths"]
    figure, _ = draw(token_paths, frame)
    axes = figure.axes[1]  # TALR on the first domain
    assert axes.get_title() == "talr, 1e-4"
    here = at(frame, domain="d", label="talr", learning_rate=1e-4)
    np.testing.assert_allclose(axes.images[0].get_array().ravel(), here["p"])
    assert [t.get_text() for t in axes.texts] == [f"{100 * p:.0f}" for p in here["p"]]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [r"the·\$[·x]", r"the·\$[↵]"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["θ₀", "1", "2"]
