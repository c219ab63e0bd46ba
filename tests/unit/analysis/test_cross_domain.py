"""Changes on every domain, with numbers worked out by hand and by another implementation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from sft_tradeoff.analysis.aggregate import tradeoff_table
from sft_tradeoff.analysis.cross_domain import (
    COLUMNS,
    cross_domain_table,
    since_pretrained_table,
)
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.system.console import UserError
from tests.unit.analysis.evaluations import BASE, RUNS, SUITE, TUNED, TUNED_E, domain, write

NAN = math.nan
OTHER = domain("e", [0, 0, 0, 1], [5, 7])  # of the run trained on d
OTHER_E = domain("d", [0, 0, 0, 1], [4, 6])


def crossed(folder: Path, run: str) -> None:
    """Note in a record that every run is scored on every domain."""
    path = folder / run / "eval.json"
    record = json.loads(path.read_text())
    record["run_info"] = {"config": {"evaluation": {"cross_domain": True}}}
    path.write_text(json.dumps(record))


@pytest.fixture
def everywhere(folder: Path) -> Path:
    """Both runs are scored on both domains."""
    for (run, *_), scores in zip(RUNS, (BASE, TUNED | OTHER, TUNED_E | OTHER_E), strict=True):
        write(folder, run, scores)
        crossed(folder, run)
    return folder


def table_of(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return cross_domain_table(runs, read_measured(runs, folder).items)


def test_every_domain_is_compared_with_base(runs: pd.DataFrame, everywhere: Path) -> None:
    table = table_of(runs, everywhere)
    assert list(table) == COLUMNS
    found = table.set_index(["domain", "test_domain"])
    accuracy = {("d", "d"): 0.5, ("d", "e"): 0.25, ("e", "d"): 0.0, ("e", "e"): 1.0}
    assert found["accuracy_change"].to_dict() == accuracy
    # Σ differences / Σ tokens: (1 − 4 + 5 − 6) / 4, (5 − 4 + 7 − 4) / 4, 0, (2 − 4 + 2 − 4) / 4
    nll = {("d", "d"): -1.0, ("d", "e"): 1.0, ("e", "d"): 0.0, ("e", "e"): -1.0}
    assert found["nll_change"].to_dict() == nll
    assert (table["reason"] == "").all() and (table["n_seeds"] == 1).all()


def test_only_the_own_domain_counts_elsewhere(runs: pd.DataFrame, everywhere: Path) -> None:
    """Trade-off and general score are the same as without the other domains."""
    scores = score_table(runs, everywhere)
    keys = scores[scores["run"] == RUNS[1][0]].set_index(["benchmark", "metric"])
    assert keys.loc[("e", "accuracy"), "difference"] == 0.25
    row = tradeoff_table(scores, runs, everywhere).query("domain == 'd' and method == 'sft'")
    assert len(row) == 1
    assert row.iloc[0]["domain_score"] == 0.75 and row.iloc[0]["general_score"] == 0.625
    measured = read_measured(runs, everywhere)
    assert set(measured.items) == {
        *(("m", d, "base", None) for d in "de"),
        *(("m", d, "plain", 1e-5) for d in "de"),
    }
    assert set(measured.suite["m", "accuracy"]) == {"piqa", "asdiv"}


def test_a_run_that_lacks_a_domain_is_an_error(runs: pd.DataFrame, everywhere: Path) -> None:
    """Its evaluation is of before the study asked for all domains."""
    write(everywhere, RUNS[1][0], TUNED)
    with pytest.raises(UserError, match=r"benchmark 'e' .* evaluate both with the same"):
        score_table(runs, everywhere)


def test_runs_scored_on_their_own_domain_have_no_other_row(
    runs: pd.DataFrame, folder: Path
) -> None:
    table = table_of(runs, folder)
    assert table[["domain", "test_domain"]].to_numpy().tolist() == [["d", "d"], ["e", "e"]]


def test_a_run_that_is_not_evaluated_is_nan_with_the_reason(
    runs: pd.DataFrame, everywhere: Path
) -> None:
    (everywhere / RUNS[1][0] / "eval.json").unlink()
    gone = table_of(runs, everywhere).query("domain == 'd'")
    assert len(gone) == 2 and set(gone["reason"]) == {"run not evaluated"}
    assert gone[["accuracy_change", "nll_change_low"]].isna().all(axis=None)


def test_a_broken_item_is_nan_with_the_reason(runs: pd.DataFrame, everywhere: Path) -> None:
    broken = domain("e", [0, 0, 0, 1], [5, NAN])
    write(everywhere, RUNS[1][0], TUNED | broken)
    row = table_of(runs, everywhere).set_index(["domain", "test_domain"]).loc[("d", "e")]
    assert row["accuracy_change"] == 0.25 and math.isnan(row["nll_change"])
    assert row["reason"] == "nll: 1 of 2 items are not finite"


def test_other_items_are_an_error(runs: pd.DataFrame, everywhere: Path) -> None:
    """As aggregation, which runs before, says in more detail."""
    write(everywhere, RUNS[1][0], TUNED | domain("e", [0, 0, 0], [5, 7]))
    crossed(everywhere, RUNS[1][0])
    with pytest.raises(UserError, match=r"benchmark 'e' \(accuracy\): .* different items"):
        table_of(runs, everywhere)
    with pytest.raises(UserError, match=r"benchmark 'e' \(accuracy\): 3 items of run .*, 4 of θ0"):
        score_table(runs, everywhere)


# --- intervals ------------------------------------------------------------------------------------

N_UNITS = 30


def items(nll: np.ndarray, accuracy: np.ndarray) -> Items:
    """Three items of each unit."""
    frame = {
        "size": 1.0,
        "cluster": [f"u{i // 3}" for i in range(3 * N_UNITS)],
    }
    index = [str(i) for i in range(3 * N_UNITS)]
    return {
        ("d", "nll"): pd.DataFrame({"value": nll, **frame}, index=index),
        ("d", "accuracy"): pd.DataFrame({"value": accuracy, **frame}, index=index),
    }


def row_of(base: Items, seeds: list[Items]) -> pd.Series:
    runs = pd.DataFrame(
        [("base", "m", None, "base", "base", NAN, None)]
        + [(f"r{s}", "m", "d", "sft", "sft", 1e-5, s) for s in range(len(seeds))],
        columns=["run", "model", "domain", "method", "label", "learning_rate", "seed"],
    )
    found = cross_domain_table(
        runs, {("m", "d", "base", None): [base], ("m", "d", "sft", 1e-5): seeds}
    )
    (row,) = (row for _, row in found.iterrows())
    return row


def test_intervals_hold_the_noise_of_units_and_of_seeds() -> None:
    """Units differ, items of one do not; seeds are 1.0 and 1.4 apart from θ0 on average.

    Variance of the mean of N units: s² / N; of two seeds: 0.4² / 2 / 2. Student's quantile is the
    mean of those of both, weighted by the variances.
    """
    rng = np.random.default_rng(1)
    of_unit = rng.normal(0, 0.5, N_UNITS)
    of_unit -= of_unit.mean()
    zero = np.zeros(3 * N_UNITS)
    seeds = [items(mean + np.repeat(of_unit, 3), zero) for mean in (1.0, 1.4)]
    row = row_of(items(zero, zero), seeds)
    variances = of_unit.var(ddof=1) / N_UNITS, 0.04
    quantile = np.average(t.ppf(0.975, [N_UNITS - 1, 1]), weights=variances)
    half = float(quantile) * math.sqrt(sum(variances))
    assert (row["n_seeds"], row["nll_change"]) == (2, pytest.approx(1.2))
    assert row["nll_change_stderr"] == pytest.approx(math.sqrt(sum(variances)), rel=0.02)
    assert row["nll_change_low"] == pytest.approx(1.2 - half, rel=0.05)
    assert row["nll_change_high"] == pytest.approx(1.2 + half, rel=0.05)


def test_an_accuracy_that_did_not_change_is_not_known_exactly() -> None:
    """The rule of three, over units: ln 40 / 30."""
    zero = np.zeros(3 * N_UNITS)
    row = row_of(items(zero, zero), [items(zero, zero)])
    assert row["accuracy_change_high"] == -row["accuracy_change_low"]
    assert row["accuracy_change_high"] == pytest.approx(math.log(40) / N_UNITS)
    assert row["nll_change_low"] == row["nll_change_high"] == 0


def test_the_same_scores_give_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    base, run = (items(rng.normal(size=90), rng.integers(0, 2, 90) * 1.0) for _ in range(2))
    pd.testing.assert_series_equal(row_of(base, [run]), row_of(base, [run]), check_exact=True)


def test_a_single_unit_has_no_interval() -> None:
    one = {key: frame.assign(cluster="u") for key, frame in items(*np.ones((2, 90))).items()}
    row = row_of(one, [one])
    assert row["nll_change"] == 0 and math.isnan(row["nll_change_low"])
    assert row["reason"] == (
        "accuracy: one independent unit has no interval; nll: one independent unit has no interval"
    )


STARTED = [
    ("m.base", "m", None, "base", "base", None, None),
    ("m.d.sft.lr1e-5.seed0", "m", "d", "sft", "plain", 1e-5, 0),
    ("w.base", "w", None, "base", "base", None, None),
    ("w.e.sft.lr1e-5.seed0", "w", "e", "sft", "plain", 1e-5, 0),
]


@pytest.fixture
def started(tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    """``w`` starts from the run of ``m`` on d, is trained on e and scored on both."""
    start = domain("d", [1, 1, 0, 1], [1, 5]) | domain("e", [0, 0, 1, 0], [6, 4])
    after = domain("d", [0, 1, 0, 1], [3, 5]) | domain("e", [1, 1, 1, 1], [2, 2])
    scores = (BASE, TUNED, start | SUITE, after | SUITE)
    chain = [{"run": STARTED[1][0], "model": "m", "domain": "d"}]
    for (run, *_), found in zip(STARTED, scores, strict=True):
        write(tmp_path, run, found)
        path = tmp_path / run / "eval.json"
        config = {"domains": [{"label": "d"}, {"label": "e"}]} if run.endswith("base") else {}
        config |= {"starts": chain} if run.startswith("w") else {}
        record = json.loads(path.read_text()) | {"run_info": {"config": config}}
        path.write_text(json.dumps(record))
    columns = ["run", "model", "domain", "method", "label", "learning_rate", "seed"]
    return pd.DataFrame(STARTED, columns=columns), tmp_path


def test_a_second_task_is_compared_with_its_start(started: tuple[pd.DataFrame, Path]) -> None:
    """The first domain's accuracy falls from 3/4 to 2/4, its NLL rises by (2 + 0) / 4."""
    measured = read_measured(*started)
    table = cross_domain_table(started[0], measured.items, measured.starts)
    found = table[table["model"] == "w"].set_index("test_domain")
    assert found["accuracy_change"].to_dict() == {"d": -0.25, "e": 0.75}
    assert found["nll_change"].to_dict() == {"d": 0.5, "e": -1.5}
    assert found["domain"].unique().tolist() == ["e"]
    assert table[table["model"] == "m"]["test_domain"].tolist() == ["d"]


def test_what_a_start_added_and_what_is_left(started: tuple[pd.DataFrame, Path]) -> None:
    """Against the pretrained model, of which d has 1/4 and e 0/4 right."""
    measured = read_measured(*started)
    since = since_pretrained_table(started[0], measured.items, measured.starts)
    assert set(since["model"]) == {"w"} and set(since["against"]) == {"m"}
    found = since.set_index(["label", "test_domain"])
    accuracy = {("base", "d"): 0.5, ("base", "e"): 0.25, ("plain", "d"): 0.25, ("plain", "e"): 1.0}
    assert found["accuracy_change"].to_dict() == accuracy
    nll = {("base", "d"): -1.0, ("base", "e"): 0.5, ("plain", "d"): -0.5, ("plain", "e"): -1.0}
    assert found["nll_change"].to_dict() == nll
    assert found.loc["base", "domain"].unique().tolist() == ["d"]
    (started[1] / STARTED[3][0] / "items.parquet").unlink()
    measured = read_measured(*started)
    late = since_pretrained_table(started[0], measured.items, measured.starts)
    assert late[late["label"] == "plain"]["reason"].tolist() == ["run not evaluated"] * 2


def test_the_first_domain_is_no_general_task(started: tuple[pd.DataFrame, Path]) -> None:
    """It has scores of its own, and does not enter the second task's row."""
    scores = score_table(*started)
    keys = scores.set_index(["run", "benchmark", "metric"])
    assert keys.loc[(STARTED[3][0], "d", "accuracy"), "difference"] == -0.25
    row = tradeoff_table(scores, *started).query("model == 'w' and method == 'sft'")
    assert len(row) == 1 and row.iloc[0]["domain"] == "e"
    assert row.iloc[0]["general_score_difference"] == 0
    write(started[1], STARTED[3][0], domain("e", [1, 1, 1, 1], [2, 2]) | SUITE)
    with pytest.raises(UserError, match=r"benchmark 'd' .* evaluate both with the same"):
        score_table(*started)
