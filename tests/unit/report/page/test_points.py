"""The points of the explorer are the numbers of the study's tables."""

import pandas as pd
import pytest

from sft_tradeoff.analysis.tables import SCORE_COLUMNS, read_over_seeds, read_run_table, read_table
from sft_tradeoff.report.page.points import Tables, points, quantities
from sft_tradeoff.report.page.quantities import benchmark_bounds
from sft_tradeoff.stats.estimates import wilson_interval
from tests.finished_study import BASE, OTHER_RUN, RUN


@pytest.fixture
def tables(study):
    results = study[1]
    return Tables(
        read_run_table(results / "run_table.csv"),
        read_table(results / "scores.csv", SCORE_COLUMNS, ""),
        read_table(results / "tradeoff.csv", ["seed"], ""),
        read_over_seeds(results / "tradeoff_over_seeds.csv"),
    )


@pytest.fixture
def found(tables, study):
    return points(tables, study[1] / "runs")


def test_one_point_per_setting_and_one_per_run(found):
    assert [(p["method"], p["seed"], p["runs"]) for p in found] == [
        ("base", None, [BASE]),
        *(("sft", None, [run]) for run in (RUN, OTHER_RUN)),
        *(("sft", 0, [run]) for run in (RUN, OTHER_RUN)),
    ]
    assert [p["rateText"] for p in found[1:3]] == ["1e-5", "1e-4"]
    assert {(p["data"], p["target"]) for p in found} == {("esci", "label_only")}


def test_values_are_those_of_the_table(found, tables):
    row = tables.over_seeds.iloc[2]
    values = found[2]["values"]
    for key, column, sign in (
        ("accuracy", "domain_score", 1),
        ("loss_bits", "general_bits_per_byte_difference", 1),
        ("loss_accuracy", "general_score_difference", -1),
    ):
        ends = sorted(sign * row[f"{column}_{end}"] for end in ("low", "high"))
        expected = [sign * row[column], *ends]
        assert values[key] == pytest.approx(expected, rel=1e-5), key
    assert "kl" not in values, "not measured"


def test_single_benchmarks_have_their_own_interval(found):
    values = found[1]["values"]
    assert values["in_piqa"] == pytest.approx([0.75, *wilson_interval(3, 4)], rel=1e-5)
    shift = values["in_code_length_code"][0]
    assert shift == pytest.approx(0.25), "the mean difference of bits from θ0's"


def test_a_mean_over_seeds_lies_between_them():
    seeds = [
        {"metric": "acc_norm", "value": v, "stderr": 0.05, "n": 100, "df": 99} for v in (0.5, 0.6)
    ]
    value, low, high = benchmark_bounds(seeds)
    assert value == pytest.approx(0.55) and 0 <= low < 0.5 and 0.6 < high <= 1


def test_only_what_was_measured_can_be_an_axis(tables):
    keys = [q.key for q in quantities(tables)]
    assert {"accuracy", "loss_bits", "rate", "in_piqa"} < set(keys) and "kl" not in keys
    no_time = tables.over_seeds.assign(time_s=float("nan"))
    without = Tables(tables.runs, tables.scores, tables.tradeoff, no_time)
    assert "time" not in [q.key for q in quantities(without)]
    assert isinstance(tables.scores, pd.DataFrame)
