"""Aggregation of a small study whose every number is known by hand."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t

from sft_tradeoff import cli
from sft_tradeoff.analysis import tables as columns
from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tables import (
    SCORE_COLUMNS,
    missing_settings,
    read_over_seeds,
    read_run_table,
    read_table,
)
from sft_tradeoff.system.console import UserError

NAN = math.nan
Z = 1.959963985
T = 12.706205  # Student's for one degree of freedom
RUNS = [
    ("m.base", "m", None, "base", "base", None, None),
    ("m.d.sft.lr1e-5.seed0", "m", "d", "sft", "plain", 1e-5, 0),
    ("m.e.sft.lr1e-5.seed0", "m", "e", "sft", "plain", 1e-5, 0),
]
Scores = dict[tuple[str, str], tuple[list[float], list[float]]]
SUITE_0: Scores = {
    ("piqa", "acc_norm"): ([1, 1, 1, 1], [1] * 4),
    ("piqa", "acc"): ([0, 0, 0, 0], [1] * 4),
    ("asdiv", "exact_match"): ([0, 0], [1] * 2),
    ("news", "bits_per_byte"): ([100, 200], [100, 200]),
    ("code", "bits_per_byte"): ([10, 50], [10, 10]),
}
SUITE: Scores = {
    ("piqa", "acc_norm"): ([1, 0, 1, 1], [1] * 4),
    ("piqa", "acc"): ([1, 1, 1, 1], [1] * 4),
    ("asdiv", "exact_match"): ([0, 1], [1] * 2),
    ("news", "bits_per_byte"): ([110, 220], [100, 200]),
    ("code", "bits_per_byte"): ([30, 50], [10, 10]),
}


def domain(label: str, accuracy: list[float], nll: list[float]) -> Scores:
    return {
        (label, "accuracy"): (accuracy, [1] * len(accuracy)),
        (label, "format_failure"): ([1, 0, 0, 0], [1] * 4),
        (label, "nll"): (nll, [2] * len(nll)),
        (label, "acc_norm"): ([0] * 9, [1] * 9),  # of a domain: no part of the general score
    }


BASE = domain("d", [0, 0, 0, 1], [4, 6]) | domain("e", [0, 0, 0, 0], [4, 4]) | SUITE_0
TUNED = domain("d", [1, 1, 0, 1], [1, 5]) | SUITE
TUNED_E = domain("e", [1, 1, 1, 1], [2, 2]) | SUITE_0


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, run: str, scores: Scores, **test_sha256: str | None) -> None:
    """An evaluation; the hash of a benchmark's items is that of its name, if not given."""
    rows = [
        (benchmark, str(item), metric, float(value), float(size))
        for (benchmark, metric), columns in scores.items()
        for item, (value, size) in enumerate(zip(*columns, strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["benchmark", "item", "metric", "value", "size"])
    (folder / run).mkdir(parents=True, exist_ok=True)
    # Any order: items are paired by id, not by place.
    frame.sample(frac=1, random_state=len(run)).to_parquet(folder / run / "items.parquet")
    hashes = {name: hash_of(name) for name, _ in scores} | test_sha256
    known = {name: digest for name, digest in hashes.items() if digest is not None}
    record = {"meta_info": {"test_sha256": known}}
    (folder / run / "eval.json").write_text(json.dumps(record))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for (run, *_), scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(tmp_path, run, scores)
    info = {"train_info": {"tokens_per_s": 100.0, "time_s": 7.0}}
    (tmp_path / RUNS[1][0] / "train.json").write_text(json.dumps(info))
    return tmp_path


@pytest.fixture
def runs(tmp_path: Path) -> pd.DataFrame:
    columns = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]
    path = tmp_path / "run_table.csv"
    pd.DataFrame(RUNS, columns=columns).to_csv(path, index=False)
    return read_run_table(path)


def tradeoff_of(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return tradeoff_table(score_table(runs, folder), runs, folder)


def test_scores_of_one_run(runs: pd.DataFrame, folder: Path) -> None:
    scores = score_table(runs, folder).set_index(["run", "benchmark", "metric"])
    row = scores.loc[(RUNS[1][0], "piqa", "acc_norm")]
    assert (row["value"], row["stderr"], row["n"]) == (0.75, 0.25, 4)
    assert (row["difference"], row["difference_stderr"]) == (-0.25, 0.25)
    assert (row["model"], row["domain"], row["label"], row["seed"]) == ("m", "d", "plain", 0)
    assert scores.loc[("m.base", "e", "accuracy"), "value"] == 0
    assert pd.isna(scores.loc[("m.base", "e", "accuracy"), "learning_rate"])
    assert len(scores) == 13 + 9 + 9
    assert (scores["reason"] == "").all()


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
    """``eval.json`` is written last: without it the evaluation did not end."""
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
    """θ0's news item breaks every difference on news; its accuracy in d only its own score."""
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


def test_missing_base_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    with pytest.raises(UserError, match=r"'m': θ0 is not evaluated .*run table"):
        score_table(runs[runs["method"] != "base"], folder)
    (folder / "m.base" / "eval.json").unlink()
    with pytest.raises(UserError, match=r"'m': θ0 is not evaluated \(.*m\.base\)"):
        score_table(runs, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({("piqa", "acc"): ([1, 1], [1, 1])}, r"'piqa' \(acc\): 2 items .* 4 of θ0.*limit"),
        ({("news", "bits_per_byte"): ([1, 1], [100, 201])}, "'news' .*differ in size"),
        ({("boolq", "acc_norm"): ([1], [1])}, "'boolq' .*: run .* was evaluated on it, θ0 was not"),
    ],
)
def test_unpaired_items_are_an_error(
    runs: pd.DataFrame, folder: Path, change: Scores, message: str
) -> None:
    write(folder, RUNS[1][0], TUNED | change)
    with pytest.raises(UserError, match=message):
        score_table(runs, folder)


@pytest.mark.parametrize("benchmark", ["piqa", "code", "d"])
def test_scores_on_other_items_are_an_error(
    runs: pd.DataFrame, folder: Path, benchmark: str
) -> None:
    """Same ids, sizes and number of items, but the file they come from was another."""
    write(folder, RUNS[1][0], TUNED, **{benchmark: "abcdef0123456789" * 4})
    with pytest.raises(UserError) as error:
        score_table(runs, folder)
    assert str(error.value) == (
        f"benchmark {benchmark!r}: the items of run 'm.d.sft.lr1e-5.seed0' (sha256 "
        f"abcdef012345...) differ from those of θ0 ({hash_of(benchmark)[:12]}...), so the "
        f"scores cannot be compared; delete the outdated one of "
        f"{folder}/m.d.sft.lr1e-5.seed0/eval.json and {folder}/m.base/eval.json, and run the same "
        "command again"
    )


def test_same_change_of_items_everywhere_is_no_error(runs: pd.DataFrame, folder: Path) -> None:
    before = score_table(runs, folder)
    for (run, *_), scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(folder, run, scores, piqa="0" * 64)
    pd.testing.assert_frame_equal(score_table(runs, folder), before)


def test_only_what_is_compared_must_agree(runs: pd.DataFrame, folder: Path) -> None:
    """θ0's items of domain e are of no concern to the run of domain d."""
    write(folder, RUNS[0][0], BASE, e="0" * 64)
    with pytest.raises(UserError, match=r"'e': the items of run 'm\.e\.sft"):
        score_table(runs, folder)
    (folder / RUNS[2][0] / "eval.json").unlink()
    assert score_table(runs, folder)["difference"].notna().sum() == 13 + 9


@pytest.mark.parametrize("run", [RUNS[0][0], RUNS[1][0]])
def test_unknown_items_are_an_error(runs: pd.DataFrame, folder: Path, run: str) -> None:
    write(folder, run, BASE if run == "m.base" else TUNED, news=None)
    with pytest.raises(UserError, match=rf"{run}/eval\.json: .* lacks 'news'.*; delete this file"):
        score_table(runs, folder)


def test_run_without_a_benchmark_of_base_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    fewer = {key: value for key, value in TUNED.items() if key != ("code", "bits_per_byte")}
    write(folder, RUNS[1][0], fewer)
    with pytest.raises(UserError, match=r"'code' .*: θ0 was evaluated on it, run .* was not"):
        score_table(runs, folder)


def test_item_scored_twice_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    path = folder / RUNS[1][0] / "items.parquet"
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.head(1)]).to_parquet(path)
    with pytest.raises(UserError, match="appears twice"):
        score_table(runs, folder)


def test_file_without_its_columns_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    path = folder / RUNS[1][0] / "items.parquet"
    pd.read_parquet(path).drop(columns="size").to_parquet(path)
    with pytest.raises(UserError, match="no column size"):
        score_table(runs, folder)


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
    # the interval would leave [0, 1]; the other quantities are equal in both seeds
    assert row["domain_score_low"] == 0
    assert row["general_score_low"] == pytest.approx(tradeoff.iloc[1]["general_score_low"])
    assert row["tokens_per_s"] == 200


def test_bounds_over_seeds_combine_each_side(runs: pd.DataFrame, folder: Path) -> None:
    tradeoff = tradeoff_of(runs, folder).query("domain == 'd'").iloc[[1, 1]]
    tradeoff = tradeoff.assign(domain_score=[0.5, 0.6])
    tradeoff = tradeoff.assign(domain_score_low=[0.4, 0.5], domain_score_high=[0.7, 0.8])
    row = over_seeds(tradeoff).iloc[0]
    seeds = 0.0025  # s² / S = 0.005 / 2, one degree of freedom; Wilson's bounds have none to lose

    def half_width(of_one: float) -> float:
        variance = (of_one / Z) ** 2 + seeds
        return float(t.ppf(0.975, variance**2 / seeds**2) * math.sqrt(variance))

    assert row["domain_score_low"] == pytest.approx(0.55 - half_width(0.1))
    assert row["domain_score_high"] == pytest.approx(0.55 + half_width(0.2))


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
    tradeoff = tradeoff_of(runs, folder)
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


def test_names_that_look_missing_stay_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,domain,seed\nNA,null,\n")
    row = read_table(tmp_path / "t.csv", ["label"], "the test").iloc[0]
    assert (row["label"], row["domain"]) == ("NA", "null")
    assert pd.isna(row["seed"])
    with pytest.raises(UserError, match="file not found; pass the table that 'the test' writes"):
        read_table(tmp_path / "u.csv", [], "the test")
