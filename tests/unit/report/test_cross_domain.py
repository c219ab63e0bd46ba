"""The page and the figure show the numbers of the table, and nothing else."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sft_tradeoff import cli
from sft_tradeoff.analysis.cross_domain import COLUMNS
from sft_tradeoff.analysis.starts import Start
from sft_tradeoff.report.cross_domain import to_markdown
from sft_tradeoff.report.cross_domain_figure import draw
from sft_tradeoff.report.figures.style import house_style
from sft_tradeoff.report.published import crossed

NAN = math.nan
RATES = (1e-5, 1e-4)


def make_table(n_domains: int = 2, methods: int = 2, models: int = 1) -> pd.DataFrame:
    """Every number is different; every second interval includes 0."""
    rng = np.random.default_rng(0)
    domains, names = range(n_domains), [f"model{i}" for i in range(models)]
    rows = []
    for model, d, m, rate, to in itertools.product(names, domains, range(methods), RATES, domains):
        row = [model, f"domain{d}", f"domain{to}", "sft", f"method{m}", rate, 1]
        for value in rng.uniform(0.1, 0.9, 2) * (1 if d == to else -1):
            half = abs(value) * (0.5 if len(rows) % 2 else 1.5)
            row += [value, half / 2, value - half, value + half]
        rows.append([*row, ""])
    return pd.DataFrame(rows, columns=COLUMNS)


def drawn(table: pd.DataFrame) -> Figure:
    with house_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(table)
        figure.draw_without_rendering()
    return figure


def test_every_panel_is_a_matrix_of_rows_trained_on_and_columns_tested_on() -> None:
    table = make_table(n_domains=3)
    figure = drawn(table)
    panels = list(itertools.product(("accuracy", "nll"), ("method0", "method1"), RATES))
    assert len(figure.axes) == len(panels) == 8
    for axes, (metric, label, rate) in zip(figure.axes, panels, strict=True):
        here = table[(table["label"] == label) & (table["learning_rate"] == rate)]
        change = here.pivot(index="domain", columns="test_domain", values=f"{metric}_change")
        (image,) = axes.images
        better = change if metric == "accuracy" else -change
        np.testing.assert_allclose(image.get_array(), better)
        low, high = image.get_clim()
        assert low == -high == pytest.approx(-table[f"{metric}_change"].abs().max())
        for row in here.to_dict("records"):
            place = int(row["test_domain"][-1]), int(row["domain"][-1])
            (text,) = (t.get_text() for t in axes.texts if t.get_position() == place)
            number = f"{row[f'{metric}_change']:+.2f}".replace("-", "−")
            includes_zero = row[f"{metric}_change_low"] <= 0 <= row[f"{metric}_change_high"]
            assert text == (f"({number})" if includes_zero else number)
        frames = [patch.get_xy() for patch in axes.patches]
        assert frames == [(i - 0.5, i - 0.5) for i in range(3)]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["1e-5", "1e-4"]


def test_a_missing_score_is_a_dash_and_a_missing_rate_an_empty_panel() -> None:
    table = make_table()
    table.loc[0, [name for name in table if "change" in name]] = NAN
    table = table[(table["label"] == "method0") | (table["learning_rate"] == 1e-4)]
    figure = drawn(table)
    assert "–" in [text.get_text() for text in figure.axes[0].texts]
    empty = figure.axes[2]
    assert empty.get_ylabel() == "Δ accuracy\nmethod1" and not empty.texts
    assert np.isnan(np.ma.filled(empty.images[0].get_array(), NAN)).all()


@pytest.mark.parametrize(("n_domains", "methods", "models"), [(1, 1, 1), (4, 3, 2)])
def test_smallest_and_largest_study_fit(n_domains: int, methods: int, models: int) -> None:
    figure = drawn(make_table(n_domains, methods, models))
    assert len(figure.axes) == 4 * methods * models


def test_nothing_changed_is_white() -> None:
    table = make_table()
    table[[name for name in table if "change" in name]] = 0.0
    figure = drawn(table)
    assert {text.get_text() for axes in figure.axes for text in axes.texts} == {"(+0.00)"}
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_the_page_lists_every_comparison_and_why_numbers_are_missing() -> None:
    table = make_table()
    table.loc[3, [name for name in table if "nll" in name]] = NAN
    table.loc[3, "reason"] = "nll: 1 of 2 items are not finite"
    page = to_markdown(table)
    assert page.count("## model0, trained on domain") == 2
    lines = [line for line in page.splitlines() if line.startswith("| method")]
    assert len(lines) == len(table)
    row = table.iloc[1]
    value, stderr, low, high = (
        f"{row[f'accuracy_change{part}']:.3f}".replace("-", "−")
        for part in ("", "_stderr", "_low", "_high")
    )
    assert f"{value} ± {stderr} [{low}, {high}]" in lines[1]
    assert lines[3].endswith("– |")
    assert page.endswith(
        "– model0, domain0, method0 at 1e-4, on domain1: nll: 1 of 2 items are not finite.\n"
    )


def test_the_page_compares_a_start_with_the_pretrained_model() -> None:
    table = make_table()
    since = table[table["label"] == "method0"].assign(model="warm", against="model0")
    start = since.iloc[:2].assign(method="base", label="base", learning_rate=NAN)
    start.loc[start.index[1], ["nll_change", "reason"]] = NAN, "run not evaluated"
    chain = {"warm": [Start("r0", "model0", "domain1"), Start("r1", "half-warm", "domain0")]}
    page = to_markdown(table, pd.concat([start, since]), chain)
    assert page.startswith(to_markdown(table).rstrip())
    _, _, block = page.partition("## warm, against model0\n\n")
    assert block.startswith("warm is model0 after training on domain1, then on domain0. Here it")
    rows = [line.split(" | ") for line in block.splitlines() if line.startswith("| ")][1:]
    assert [row[0].strip("| ") for row in rows] == ["θ₀"] * 2 + ["method0"] * len(since)
    assert rows[0][1].strip() == "–"
    assert page.endswith("– warm, domain0, base, on domain1: run not evaluated.\n")
    assert to_markdown(table, since.iloc[:0]) == to_markdown(table)


def test_a_domain_of_starts_has_a_column_and_no_row() -> None:
    """One model has a run on it with one method only."""
    table = make_table(n_domains=2, models=2)
    is_first = table["domain"] == "domain0"
    only = is_first & ((table["model"] == "model1") | (table["label"] == "method1"))
    figure = drawn(table[~only])
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[::2]]
    both, second = ["domain0", "domain1"], ["domain1"]
    assert rows == [both, second, both, second, second, second, second, second]
    heights = [axes.get_position().height for axes in figure.axes[::2]]
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.05)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == both
    assert {axes.get_xlim() for axes in figure.axes} == {(-0.5, 1.5)}
    frames = [patch.get_xy() for patch in figure.axes[2].patches]
    assert frames == [(0.5, -0.5)], "the domain trained on is the second column"


def test_command_line(study: tuple[Path, Path], tmp_path: Path) -> None:
    """A study of one domain: its own domain only, and no error."""
    results = study[1]
    stem = tmp_path / "out" / "cross_domain"
    command = ["cross-domain", "--run-table", results / "run_table.csv", "--runs", results / "runs"]
    cli.main([*map(str, command), "--out-stem", str(stem)])
    table = pd.read_csv(stem.with_suffix(".csv"))
    assert table["test_domain"].unique().tolist() == ["esci-label_only"]
    assert table["nll_change"].tolist() == pytest.approx([0.25, 0.5])  # as the study was made
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "trained on esci-label_only" in stem.with_suffix(".md").read_text()


def test_which_published_studies_have_it(tmp_path: Path) -> None:
    domains = [{"name": "esci"}, {"name": "math"}]
    for name, evaluation, n in (
        ("asked", {"cross_domain": True}, 2),
        ("alone", {"cross_domain": True}, 1),
        ("off", {"cross_domain": False}, 2),
        ("default", None, 2),
    ):
        (tmp_path / name).mkdir()
        text = json.dumps({"study": name, "domains": domains[:n], "evaluation": evaluation})
        (tmp_path / name / "study.yaml").write_text(text)
    assert crossed(tmp_path, ["alone", "asked", "default", "off"]) == ["asked"]
    (tmp_path / "chain").mkdir()
    start = {"models": ["warm"], "model_catalogue": {"warm": {"start_from": {"model": "m"}}}}
    text = json.dumps({"study": "chain", "domains": domains} | start)
    (tmp_path / "chain" / "study.yaml").write_text(text)
    assert crossed(tmp_path, ["chain", "off"]) == ["chain"]
