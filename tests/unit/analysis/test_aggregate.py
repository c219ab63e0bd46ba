"""Aggregation of a small study, with every number computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t

from sft_tradeoff import cli
from sft_tradeoff.analysis import tables as columns
from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table, within_ranges
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tables import (
    SCORE_COLUMNS,
    missing_settings,
    read_over_seeds,
    read_table,
)
from sft_tradeoff.system.console import UserError
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, TUNED_E, Scores, write

NAN = math.nan
Z = 1.959963985
T = 12.706205  # Student's for one degree of freedom


def tradeoff_of(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return tradeoff_table(score_table(runs, folder), runs, folder)


def test_tradeoff_of_one_run_by_hand(runs: pd.DataFrame, folder: Path) -> None:
    row = tradeoff_of(runs, folder).query("domain == 'd' and method == 'sft'").iloc[0]
    assert (row["domain_score"], row["domain_score_stderr"]) == (0.75, 0.25)
    # Wilson, 3 of 4
    assert row["domain_score_low"] == pytest.approx(0.300642, abs=1e-6)
    assert row["domain_score_high"] == pytest.approx(0.954413, abs=1e-6)
    # (1 + 5) / (2 + 2); residuals -2, 2: se = √(8 · 2) / 4
    assert (row["domain_nll"], row["domain_nll_stderr"]) == (1.5, pytest.approx(1.0))
    assert row["domain_nll_low"] == pytest.approx(1.5 - T)
    assert row["format_failure"] == 0.25
    # each benchmark's own accuracy, not piqa's acc: (3/4 + 1/2) / 2, se = √(1/16 + 1/4) / 2
    assert row["general_score"] == 0.625
    assert row["general_score_stderr"] == pytest.approx(math.sqrt(5) / 8)
    # (-1/4 + 1/2) / 2
    assert row["general_score_difference"] == 0.125
    assert row["general_score_difference_stderr"] == pytest.approx(math.sqrt(5) / 8)
    # news 30/300 without noise, code 20/20 with residuals ±10: se = √(200 · 2) / 20
    assert row["general_bits_per_byte_difference"] == pytest.approx(0.55)
    assert row["general_bits_per_byte_difference_stderr"] == pytest.approx(0.5)
    assert row["general_bits_per_byte_difference_high"] == pytest.approx(0.55 + T / 2)
    assert (row["tokens_per_s"], row["time_s"], row["seed"]) == (100, 7, 0)


def test_base_has_one_row_per_domain(runs: pd.DataFrame, folder: Path) -> None:
    base = tradeoff_of(runs, folder).query("method == 'base'")
    assert base["domain"].tolist() == ["d", "e"]
    assert base["domain_score"].tolist() == [0.25, 0]
    assert base["domain_nll"].tolist() == [2.5, 2]
    assert base["general_score"].tolist() == [0.5, 0.5]
    assert (base[["general_score_difference", "general_bits_per_byte_difference"]] == 0).all(
        axis=None
    )
    assert base[["tokens_per_s", "learning_rate", "seed"]].isna().all(axis=None)


@pytest.mark.parametrize("file", ["eval.json", "items.parquet"])
def test_missing_run_is_nan_and_named(
    runs: pd.DataFrame, folder: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    """``eval.json`` is written last: without it the evaluation is incomplete."""
    (folder / RUNS[1][0] / file).unlink()
    scores = score_table(runs, folder)
    missing = scores["run"] == RUNS[1][0]
    assert scores["reason"].tolist() == missing.map({True: "run not evaluated", False: ""}).tolist()
    assert scores.loc[missing, ["value", "difference"]].isna().all(axis=None)
    tradeoff = tradeoff_table(scores, runs, folder)
    row = tradeoff.query("domain == 'd' and method == 'sft'").iloc[0]
    assert row[columns.MEASURED].isna().all()
    assert row["reason"] == "run not evaluated"
    assert tradeoff.query("domain == 'e' and method == 'sft'").iloc[0]["domain_score"] == 1
    assert "1 of 3 runs" in caplog.text
    assert RUNS[1][0] in caplog.text
    assert "broken" not in caplog.text
    assert missing_settings(over_seeds(tradeoff), columns.QUANTITIES) == {
        "m, d, plain at 1e-5": "run not evaluated"
    }


def test_broken_score_is_nan_and_named(
    runs: pd.DataFrame, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, RUNS[1][0], TUNED | {("asdiv", "exact_match"): ([0, NAN], [1, 1])})
    row = tradeoff_of(runs, folder).query("domain == 'd' and method == 'sft'").iloc[0]
    assert math.isnan(row["general_score"])
    assert math.isnan(row["general_score_difference_low"])
    assert row["domain_score"] == 0.75
    reason = "1 of 2 items are not finite, e.g. item '1'"
    assert row["reason"] == f"asdiv exact_match: {reason}"
    assert f"{RUNS[1][0]} on asdiv, exact_match: {reason}" in caplog.text
    assert "not evaluated" not in caplog.text


def test_broken_score_that_feeds_no_quantity_is_only_in_the_scores(
    runs: pd.DataFrame, folder: Path
) -> None:
    write(folder, RUNS[1][0], TUNED | {("piqa", "acc"): ([NAN, 1, math.inf, 1], [1] * 4)})
    scores = score_table(runs, folder)
    assert scores["reason"].loc[lambda reason: reason != ""].tolist() == [
        "2 of 4 items are not finite, e.g. item '0'"
    ]
    assert scores[["value", "difference"]].isna().any(axis=1).sum() == 1
    assert (tradeoff_table(scores, runs, folder)["reason"] == "").all()


def test_broken_item_of_base_is_named_where_it_costs_a_number(
    runs: pd.DataFrame, folder: Path
) -> None:
    """θ0's news item breaks all differences on news; its accuracy in d, only its own score."""
    broken = {("news", "bits_per_byte"): ([NAN, 200.0], [100, 200])}
    broken |= {("d", "accuracy"): ([0, 0, NAN, NAN], [1] * 4)}
    write(folder, RUNS[0][0], BASE | broken)
    news = "1 of 2 items of θ0 are not finite, e.g. item '0'"
    accuracy = "2 of 4 items of θ0 are not finite, e.g. item '2'"
    scores = score_table(runs, folder)
    found = scores.set_index(["run", "benchmark", "metric"])
    row = found.loc[(RUNS[1][0], "news", "bits_per_byte")]
    assert (row["value"], row["reason"]) == (1.1, news) and math.isnan(row["difference"])
    assert found.loc[("m.base", "news", "bits_per_byte"), "reason"] == news
    assert found.loc[(RUNS[1][0], "d", "accuracy"), "reason"] == accuracy
    tradeoff = tradeoff_table(scores, runs, folder)
    assert tradeoff["reason"].tolist() == [
        f"d accuracy: {accuracy}; news bits_per_byte: {news}",
        *[f"news bits_per_byte: {news}"] * 3,
    ]
    assert tradeoff["general_bits_per_byte_difference"].isna().all()
    assert tradeoff["domain_score"].isna().tolist() == [True, False, False, False]


def test_broken_items_of_both_are_both_named(runs: pd.DataFrame, folder: Path) -> None:
    write(folder, RUNS[0][0], BASE | {("asdiv", "exact_match"): ([NAN, 0], [1, 1])})
    write(folder, RUNS[1][0], TUNED | {("asdiv", "exact_match"): ([0, NAN], [1, 1])})
    assert tradeoff_of(runs, folder).query("method == 'sft'")["reason"].tolist() == [
        "asdiv exact_match: 1 of 2 items are not finite, e.g. item '1'; "
        "1 of 2 items of θ0 are not finite, e.g. item '0'",
        "asdiv exact_match: 1 of 2 items of θ0 are not finite, e.g. item '0'",
    ]


def test_items_without_size_are_a_reason(runs: pd.DataFrame, folder: Path) -> None:
    empty: Scores = {("code", "bits_per_byte"): ([0, 0], [0, 0])}
    for (run, *_), scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(folder, run, scores | empty)
    tradeoff = tradeoff_of(runs, folder)
    assert tradeoff["general_bits_per_byte_difference"].isna().all()
    assert tradeoff["reason"].iloc[0] == "code bits_per_byte: all 2 items of θ0 have size 0"


def test_seeds_are_averaged_with_both_noises(runs: pd.DataFrame, folder: Path) -> None:
    tradeoff = tradeoff_of(runs, folder).query("domain == 'd'")
    second = tradeoff.iloc[[1]].assign(seed=1, domain_score=0.25, domain_score_stderr=0.25)
    second = second.assign(domain_score_low=0.05, domain_score_high=0.7, tokens_per_s=300.0)
    base, row = over_seeds(pd.concat([tradeoff, second])).to_dict("records")
    assert (base["n_seeds"], row["n_seeds"]) == (1, 2)
    assert base["domain_score_low"] == pytest.approx(tradeoff.iloc[0]["domain_score_low"])
    assert row["domain_score"] == 0.5
    # item noise 1/16 stays, seed noise s² = 1/8 halves
    assert row["domain_score_stderr"] == pytest.approx(math.sqrt(1 / 16 + 1 / 16))
    # the intervals would leave [0, 1]; the other quantities are equal in both seeds
    assert row["domain_score_low"] == row["general_score_low"] == 0
    assert row["domain_nll_low"] == pytest.approx(tradeoff.iloc[1]["domain_nll_low"])
    assert row["tokens_per_s"] == 200


def test_bounds_over_seeds_combine_each_side(runs: pd.DataFrame, folder: Path) -> None:
    tradeoff = tradeoff_of(runs, folder).query("domain == 'd'").iloc[[1, 1]]
    tradeoff = tradeoff.assign(domain_score=[0.5, 0.52])
    tradeoff = tradeoff.assign(domain_score_low=[0.4, 0.42], domain_score_high=[0.7, 0.72])
    row = over_seeds(tradeoff).iloc[0]
    seeds = 0.0001  # s² / S = 0.0002 / 2, one degree of freedom; Wilson's bounds: infinitely many

    def half_width(of_one: float) -> float:
        items = (of_one / Z) ** 2
        quantile = (Z * items + t.ppf(0.975, 1) * seeds) / (items + seeds)
        return float(quantile * math.sqrt(items + seeds))

    assert row["domain_score_low"] == pytest.approx(0.51 - half_width(0.1))
    assert row["domain_score_high"] == pytest.approx(0.51 + half_width(0.2))


def test_bounds_lie_within_the_range_of_accuracies(runs: pd.DataFrame, folder: Path) -> None:
    """Two items of which one changed: 0.5 ± 12.7 · 0.5. NLL has no such range."""
    tradeoff = tradeoff_of(runs, folder)
    for name, (least, most) in columns.RANGES.items():
        wide = tradeoff.assign(**{name: 0.5, f"{name}_low": -6.0, f"{name}_high": 7.0})
        cut = within_ranges(wide)
        assert set(cut[f"{name}_low"]) == {least} and set(cut[f"{name}_high"]) == {most}
        over = over_seeds(wide).iloc[0]
        assert (over[f"{name}_low"], over[f"{name}_high"]) == (least, most)
    free = tradeoff.assign(domain_nll_low=-6.0, general_score_low=NAN)
    assert set(within_ranges(free)["domain_nll_low"]) == {-6.0}
    assert within_ranges(free)["general_score_low"].isna().all()


def test_setting_with_a_missing_seed_is_nan(runs: pd.DataFrame, folder: Path) -> None:
    tradeoff = tradeoff_of(runs, folder).query("domain == 'd'").iloc[[1, 1]]
    measured = [*columns.MEASURED, *columns.PLAIN]
    tradeoff = tradeoff.assign(**{name: [0.5, NAN] for name in measured})
    tradeoff = tradeoff.assign(seed=[3, 4], reason=["", "run not evaluated"])
    row = over_seeds(tradeoff).iloc[0]
    assert row["n_seeds"] == 2
    assert row[measured].isna().all()
    assert row["reason"] == "seed 4: run not evaluated"
    shared = over_seeds(tradeoff.assign(reason="run not evaluated")).iloc[0]
    assert shared["reason"] == "run not evaluated"
    each = over_seeds(tradeoff.assign(reason=["news acc: a", "news acc: b"])).iloc[0]
    assert each["reason"] == "seed 3: news acc: a; seed 4: news acc: b"


def test_command_line_writes_all_tables(
    runs: pd.DataFrame, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(folder, RUNS[1][0], TUNED | {("d", "nll"): ([1, NAN], [2, 2])})
    command = f"aggregate --run-table {tmp_path}/run_table.csv --runs {folder}"
    command += f" --scores {out}/scores.csv --tradeoff {out}/tradeoff.csv --over-seeds {out}/os.csv"
    cli.main(command.split())
    tradeoff = within_ranges(tradeoff_of(runs, folder))
    written = read_table(out / "tradeoff.csv", columns.TRADEOFF_COLUMNS, "aggregate")
    pd.testing.assert_frame_equal(written, tradeoff, check_dtype=False)
    assert list(pd.read_csv(out / "scores.csv")) == SCORE_COLUMNS
    over = read_over_seeds(out / "os.csv")
    assert over["n_seeds"].tolist() == [1, 1, 1, 1]
    reason = "1 of 2 items are not finite, e.g. item '1'"
    assert over["reason"].tolist() == ["", "", f"d nll: {reason}", ""]
    nll = pd.read_csv(out / "scores.csv").query("metric == 'nll'").set_index(["run", "benchmark"])
    assert nll["reason"].dropna().to_dict() == {(RUNS[1][0], "d"): reason}
    assert math.isnan(nll.loc[(RUNS[1][0], "d"), "value"])
    with pytest.raises(
        UserError, match=r"no column n_seeds; pass the table that .*--over-seeds' writes"
    ):
        read_over_seeds(out / "tradeoff.csv")
