"""The numerical noise floor: what is stored, and what it widens, with every number by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.aggregate import over_seeds, tradeoff_table
from sft_tradeoff.analysis.comparison import DEFAULT_SMALLEST_GAIN, Outcome, compare
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.noise_floor import (
    Floors,
    NoiseFloor,
    largest,
    noise_floor_path,
    read_noise_floor,
    write_noise_floor,
)
from sft_tradeoff.analysis.recommendation import Candidate, recommend
from sft_tradeoff.analysis.run_records import Key, read_evaluation
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tolerance import Verdict, loss_of
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import checksum_path
from tests.unit.analysis.evaluations import BASE, RUNS, TUNED, write

NAN = math.nan
CODE = "general_bits_per_byte_difference"
SHIPPED = {
    ("d", "nll_shipped"): ([2, 5], [2, 2]),
    ("news", "bits_per_byte_shipped"): ([100, 200], [100, 200]),
    ("code", "bits_per_byte_shipped"): ([20, 50], [10, 10]),
}
SHIPPED_0 = {
    ("d", "nll_shipped"): ([4, 6], [2, 2]),
    ("e", "nll_shipped"): ([4, 4], [2, 2]),
    ("news", "bits_per_byte_shipped"): ([100, 200], [100, 200]),
    ("code", "bits_per_byte_shipped"): ([10, 50], [10, 10]),
}
FLOORS: dict[Key, float] = {
    ("news", "bits_per_byte"): 0.01,
    ("code", "bits_per_byte"): 0.03,
    ("d", "nll"): 0.25,
    ("e", "nll"): 0.5,
}
SCORES_0 = {
    ("news", "bits_per_byte"): 1.0,
    ("code", "bits_per_byte"): 3.0,
    ("d", "nll"): 2.5,
    ("e", "nll"): 2.0,
}


@pytest.fixture
def study(tmp_path: Path, runs: pd.DataFrame) -> Path:
    """Folder of runs with scores as shipped, and the noise floor beside it."""
    folder = tmp_path / "results/runs"
    (base, *_), (tuned, *_) = RUNS[0], RUNS[1]
    write(folder, base, BASE | SHIPPED_0)
    write(folder, tuned, TUNED | SHIPPED)
    floors = {key: largest(SCORES_0[key], {"x": SCORES_0[key] + FLOORS[key]}) for key in FLOORS}
    write_noise_floor(noise_floor_path(folder, "m"), floors)
    return folder


def test_the_floor_is_the_largest_of_the_absolute_differences() -> None:
    found = largest(1.5, {"a": 1.5, "b": 1.25, "c": 1.625})
    assert found == NoiseFloor(floor=0.25, score=1.5, variants={"a": 0.0, "b": 0.25, "c": 0.125})
    assert math.isnan(largest(1.5, {"a": 1.25, "b": NAN}).floor)
    assert math.isnan(largest(1.5, {}).floor)


def test_what_is_written_is_read(study: Path) -> None:
    path = noise_floor_path(study, "m")
    assert path == study.parent / "noise_floor/m.json" and checksum_path(path).is_file()
    assert json.loads(path.read_text())["code"]["bits_per_byte"] == {
        "floor": pytest.approx(0.03),
        "score": 3.0,
        "variants": {"x": pytest.approx(0.03)},
    }
    evaluation = read_evaluation(study / "m.base")
    assert evaluation is not None
    floors = read_noise_floor(study, "m", evaluation.items)
    assert {key: floor.floor for key, floor in floors.items()} == pytest.approx(FLOORS)
    assert read_noise_floor(study, "other", evaluation.items) == {}


def test_a_floor_of_another_evaluation_is_refused(study: Path, runs: pd.DataFrame) -> None:
    """θ0 was evaluated again, on other items or with other code, but the floor was not."""
    write(study, "m.base", BASE | SHIPPED_0 | {("news", "bits_per_byte"): ([110, 200], [100, 200])})
    with pytest.raises(UserError) as error:
        score_table(runs, study)
    assert str(error.value) == (
        f"{noise_floor_path(study, 'm')}: news bits_per_byte of θ0 is 1.03333 in its evaluation "
        "and 1 here: the noise floor belongs to another evaluation; delete this file and run the "
        "same command again"
    )


def test_every_score_has_its_floor(study: Path, runs: pd.DataFrame) -> None:
    """That of the plain score, if the weights are as shipped; accuracies have none."""
    scores = score_table(runs, study).set_index(["run", "benchmark", "metric"])["noise_floor"]
    for run in ("m.base", RUNS[1][0]):
        assert scores[run, "code", "bits_per_byte"] == pytest.approx(0.03)
        assert scores[run, "code", "bits_per_byte_shipped"] == pytest.approx(0.03)
        assert scores[run, "d", "nll_shipped"] == pytest.approx(0.25)
        assert math.isnan(scores[run, "piqa", "acc_norm"])


def test_intervals_are_wider_by_the_floor(study: Path, runs: pd.DataFrame) -> None:
    """The general mean's floor is (0.01 + 0.03) / 2; θ0 − θ0 is 0 exactly."""
    with_floor = tradeoff_table(score_table(runs, study), runs, study)
    noise_floor_path(study, "m").unlink()
    checksum_path(noise_floor_path(study, "m")).unlink()
    without = tradeoff_table(score_table(runs, study), runs, study)
    assert without[f"{CODE}_floor"].drop([0, 1]).isna().all()
    expected = {"domain_nll": 0.25, CODE: 0.02, "domain_nll_shipped": 0.25, f"{CODE}_shipped": 0.02}
    for quantity, floor in expected.items():
        row, other = with_floor.iloc[2], without.iloc[2]
        assert row["method"] == "sft" and row["domain"] == "d"
        assert row[f"{quantity}_floor"] == pytest.approx(floor)
        for name in (quantity, f"{quantity}_stderr"):
            assert row[name] == other[name]
        assert other[f"{quantity}_low"] - row[f"{quantity}_low"] == pytest.approx(floor)
        assert row[f"{quantity}_high"] - other[f"{quantity}_high"] == pytest.approx(floor)
    base = with_floor.iloc[0]
    assert (base[f"{CODE}_low"], base[CODE], base[f"{CODE}_high"]) == (0, 0, 0)
    assert base["domain_nll_floor"] == pytest.approx(0.25)


def test_scores_as_shipped_by_hand(study: Path, runs: pd.DataFrame) -> None:
    """(2 + 5) / 4; news +0, code (20 + 50 − 60) / 20, in the mean 0.25; they change no others."""
    row = tradeoff_table(score_table(runs, study), runs, study).iloc[2]
    assert row["domain_nll_shipped"] == 1.75 and row[f"{CODE}_shipped"] == 0.25
    assert row["domain_nll"] == 1.5 and row[CODE] == pytest.approx(0.55)


def test_more_seeds_do_not_reduce_the_floor(study: Path, runs: pd.DataFrame) -> None:
    """Two equal seeds: the interval of one, whose errors of items all seeds share."""
    row = tradeoff_table(score_table(runs, study), runs, study).iloc[[2]]
    mean = over_seeds(pd.concat([row, row.assign(seed=1)], ignore_index=True)).iloc[0]
    for name in (CODE, f"{CODE}_low", f"{CODE}_high", f"{CODE}_floor", "domain_nll_low"):
        assert mean[name] == pytest.approx(row.iloc[0][name])


@pytest.mark.parametrize(
    ("floor", "verdict", "needed"),
    [
        # value 0.006 ± 0.003 of 100 items against a tolerance of 0.01
        (NAN, Verdict.WITHIN, None),
        (0.0005, Verdict.WITHIN, None),
        # ± 0.005: 0.002 of it are numerical, the rest has to shrink to 0.004 − 0.002: (3/2)² · 100
        (0.002, Verdict.CANNOT_TELL, 225),
        (0.004, Verdict.CANNOT_TELL, None),  # no number of items reduces numerical noise
    ],
)
def test_a_tolerance_below_the_floor_cannot_be_checked(
    floor: float, verdict: Verdict, needed: int | None
) -> None:
    half = 0.003 + (0 if math.isnan(floor) else floor)
    row = {CODE: 0.006, f"{CODE}_low": 0.006 - half, f"{CODE}_high": 0.006 + half}
    loss = loss_of(row | {f"{CODE}_floor": floor}, "bits_per_byte", 0.01, [100])
    assert loss.verdict is verdict
    assert loss.n_items_needed == (pytest.approx(needed, abs=1) if needed else None)
    assert loss.high == pytest.approx(0.006 + half)
    assert loss.noise_floor == floor or math.isnan(floor)


def test_a_table_without_floors_is_judged_as_before() -> None:
    row = {CODE: 0.006, f"{CODE}_low": 0.003, f"{CODE}_high": 0.009}
    assert loss_of(row, "bits_per_byte", 0.01, [100]).high == pytest.approx(0.009)


def test_a_gain_within_the_floor_does_not_count() -> None:
    """Gain 0.04 nats on every item, exactly 0.03 and 0.05 by turns; accuracies have no floor."""
    ids = [str(i) for i in range(40)]
    right = pd.DataFrame({"value": 1.0, "size": 1.0}, index=ids)
    base = pd.DataFrame({"value": 1.0, "size": 1.0}, index=ids)
    ours = base.assign(value=[1 - 0.04 - 0.01 * (-1) ** i for i in range(40)])
    items = {
        ("m", "d", "x", 1e-5): [{("d", "accuracy"): right, ("d", "nll"): ours}],
        ("m", "d", "base", None): [{("d", "accuracy"): right, ("d", "nll"): base}],
    }
    one, other = items
    for floor, outcome in ((0.03, Outcome.BETTER), (0.04, Outcome.CANNOT_TELL)):
        floors = {("d", "nll"): NoiseFloor(floor=floor, score=1.0, variants={})}
        found = compare(items, one, other, DEFAULT_SMALLEST_GAIN, floors=floors)
        plain = compare(items, one, other, DEFAULT_SMALLEST_GAIN)
        assert found["nll"].outcome is outcome
        assert plain["nll"].low - found["nll"].low == pytest.approx(floor)
        assert found["accuracy"] == plain["accuracy"]


def test_the_recommendation_uses_the_floor(study: Path, runs: pd.DataFrame) -> None:
    """Verdict, gain and every part of the general loss; the run of domain e is not evaluated."""
    table = over_seeds(tradeoff_table(score_table(runs, study), runs, study))
    measured, tolerance = read_measured(runs, study), {"bits_per_byte": 0.5}

    def candidate(floors: Mapping[str, Floors]) -> Candidate:
        found = recommend(table, measured._replace(floors=floors), tolerance, DEFAULT_SMALLEST_GAIN)
        return found.sections[0].methods[0].candidates[0]

    ours, other = candidate(measured.floors), candidate({})
    assert ours.losses["bits_per_byte"].noise_floor == pytest.approx(0.02)
    assert other.gains["nll"].low - ours.gains["nll"].low == pytest.approx(0.25)
    wide, narrow = (found.parts["bits_per_byte"]["code"] for found in (ours, other))
    assert narrow.low - wide.low == pytest.approx(0.03)
