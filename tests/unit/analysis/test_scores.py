"""Scores and paired differences; what cannot be compared is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.system.console import UserError
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, TUNED_E, Scores, hash_of, write


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


def test_items_of_a_cluster_count_as_one(runs: pd.DataFrame, folder: Path) -> None:
    """Four items of two passages: means 0.5 and 1, changes −0.5 and 0."""
    for run, *_ in RUNS:
        path = folder / run / "items.parquet"
        items = pd.read_parquet(path)
        passage = items["item"].replace({"0": "a", "1": "a", "2": "b", "3": "b"})
        items.assign(cluster=passage).to_parquet(path)
    scores = score_table(runs, folder).set_index(["run", "benchmark", "metric"])
    row = scores.loc[(RUNS[1][0], "piqa", "acc_norm")]
    assert (row["value"], row["stderr"], row["n"], row["df"]) == (0.75, 0.25, 4, 1)
    assert row["difference_stderr"] == pytest.approx(0.25)


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
    """Same ids, sizes and number of items, but from a different file."""
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


def test_scores_in_another_arithmetic_are_an_error(runs: pd.DataFrame, folder: Path) -> None:
    """Rounding to bfloat16 changes more than a small learning rate does."""
    path = folder / RUNS[1][0] / "eval.json"
    record = json.loads(path.read_text()) | {"eval_info": {"dtype": "float32"}}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="in float32 with its weights as trained, θ0 in b"):
        score_table(runs, folder)


def test_same_change_of_items_everywhere_is_no_error(runs: pd.DataFrame, folder: Path) -> None:
    before = score_table(runs, folder)
    for (run, *_), scores in zip(RUNS, (BASE, TUNED, TUNED_E), strict=True):
        write(folder, run, scores, piqa="0" * 64)
    pd.testing.assert_frame_equal(score_table(runs, folder), before)


def test_only_what_is_compared_must_agree(runs: pd.DataFrame, folder: Path) -> None:
    """θ0's items of domain e do not matter to the run of domain d."""
    write(folder, RUNS[0][0], BASE, e="0" * 64)
    with pytest.raises(UserError, match=r"'e': the items of run 'm\.e\.sft"):
        score_table(runs, folder)
    (folder / RUNS[2][0] / "eval.json").unlink()
    assert score_table(runs, folder)["difference"].notna().sum() == 13 + 9


def test_run_without_a_benchmark_of_base_is_an_error(runs: pd.DataFrame, folder: Path) -> None:
    fewer = {key: value for key, value in TUNED.items() if key != ("code", "bits_per_byte")}
    write(folder, RUNS[1][0], fewer)
    with pytest.raises(UserError, match=r"'code' .*: θ0 was evaluated on it, run .* was not"):
        score_table(runs, folder)
