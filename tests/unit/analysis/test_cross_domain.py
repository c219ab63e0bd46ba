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
from sft_tradeoff.analysis.cross_domain import COLUMNS, cross_domain_table
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.run_records import Items
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.system.console import UserError
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, TUNED_E, domain, write

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
