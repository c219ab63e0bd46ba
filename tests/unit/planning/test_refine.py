"""Which learning rates are added, and how many trainings that takes."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.breakpoints import BreakPoint, JudgedRate
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.analysis.tolerance import Verdict, judge
from sft_tradeoff.planning import refine as module
from sft_tradeoff.planning.refine import further_rates, refine
from sft_tradeoff.report.publish import publish
from sft_tradeoff.study.added_rates import planned_study, read_planned
from sft_tradeoff.study.runs import evaluation_configs, expand_runs
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.strict_yaml import read_yaml
from tests.conftest import ROOT
from tests.finished_study import (
    make_finished_study,
    write_answers,
    write_epochs,
    write_items,
    write_record,
    write_tables,
)

WITHIN, CANNOT, EXCEEDS = Verdict.WITHIN, Verdict.CANNOT_TELL, Verdict.EXCEEDS
GRID = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4)  # what the template had before


def point_of(verdicts: dict[float, Verdict], missing: tuple[float, ...] = ()) -> BreakPoint:
    rates = tuple(JudgedRate(rate, verdict, {}) for rate, verdict in sorted(verdicts.items()))
    return BreakPoint("m", "d", "sft", rates, missing, math.nan, 0.0, math.inf, 9.0)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({1e-5: WITHIN, 1e-4: EXCEEDS}, (3.2e-5,)),
        ({1e-5: WITHIN, 1e-4: EXCEEDS, 1e-3: WITHIN}, (3.2e-5,)),
        ({1e-5: WITHIN, 2e-5: EXCEEDS}, ()),
        ({1e-5: WITHIN}, (3.2e-5,)),
        ({1e-6: WITHIN, 1e-5: WITHIN}, (3.2e-5,)),
        ({1e-5: EXCEEDS}, (3.2e-6,)),
        ({1e-5: CANNOT}, (3.2e-6, 3.2e-5)),
        ({1e-5: CANNOT, 1e-4: EXCEEDS}, (3.2e-6, 3.2e-5)),
        ({1e-6: WITHIN, 1e-5: CANNOT, 1e-4: EXCEEDS}, (3.2e-6, 3.2e-5)),
        ({6e-6: WITHIN, 1e-5: CANNOT, 1e-4: EXCEEDS}, (3.2e-5,)),
        ({6e-6: WITHIN, 1e-5: CANNOT, 2e-5: EXCEEDS}, ()),
        ({1e-7: EXCEEDS}, ()),
    ],
)
def test_gaps_are_halved_and_open_ends_extended(verdicts, expected) -> None:
    assert further_rates(point_of(verdicts), 2.0, [1e-5]).rates == expected


def test_a_rate_without_a_score_is_like_one_that_cannot_tell() -> None:
    found = further_rates(point_of({1e-5: WITHIN, 1e-4: EXCEEDS}, (3e-5,)), 2.0, [1e-5])
    assert found.rates == (1.7e-5, 5.5e-5)
    assert further_rates(point_of({}, (3e-5,)), 2.0, [1e-5]) == ((), "no rate has a score")


def test_no_rate_is_tried_far_beyond_the_grid_or_too_close_to_1() -> None:
    assert further_rates(point_of({1e-3: WITHIN}), 2.0, [1e-5]).rates == ()
    high = further_rates(point_of({0.3: WITHIN}), 2.0, [0.3])
    assert high.rates == () and "beyond the study's" in high.reason


def test_the_reason_names_what_is_known() -> None:
    verdicts = {1e-6: WITHIN, 1e-5: CANNOT, 1e-4: EXCEEDS}
    assert further_rates(point_of(verdicts), 20, [1e-5]).reason == (
        "1e-6 is within, 1e-4 exceeds, the items cannot tell at 1e-5"
    )
    assert further_rates(point_of({1e-5: CANNOT}), 2, [1e-5]).reason.startswith(
        "no rate is within, no rate exceeds, the items cannot tell at 1e-5"
    )


# --- how many trainings --------------------------------------------------------------------------


def replay(verdict_of: Callable[[float], Verdict]) -> tuple[int, BreakPoint]:
    """Trainings of one method under the template's settings, and what is known in the end."""
    template = read_yaml(ROOT / "config/studies/own.yaml")
    start = template["learning_rates"]["full"]
    verdicts = {rate: verdict_of(rate) for rate in start}
    for _ in range(template["refine"]["rounds"]):
        rates = further_rates(point_of(verdicts), template["refine"]["ratio"], start).rates
        verdicts |= {rate: verdict_of(rate) for rate in rates}
    return len(verdicts), point_of(verdicts)


PLACES = [1e-6, *(math.sqrt(a * b) for a, b in itertools.pairwise(GRID)), 1e-3]


def at(break_point: float) -> Callable[[float], Verdict]:
    return lambda rate: WITHIN if rate <= break_point else EXCEEDS


@pytest.mark.parametrize("places", list(itertools.product(PLACES, repeat=2)))
def test_two_methods_need_at_most_six_tenths_of_the_grids_trainings(places) -> None:
    """Wherever the break-points of SFT and TALR are in the grid of five rates, or beyond it."""
    found = [replay(at(place)) for place in places]
    assert sum(n for n, _ in found) <= 0.6 * 2 * len(GRID)
    for (_, point), place in zip(found, places, strict=True):
        low, high = point.bracket
        assert low <= place < high
        if GRID[0] < place < GRID[-1]:
            assert high / low <= max(b / a for a, b in itertools.pairwise(GRID))
        else:  # the grid would not have found it either
            assert low >= 0.99 * GRID[-1] or high <= 1.01 * GRID[0]


@pytest.mark.parametrize(("half", "most"), [(0.003, 3), (0.006, 3), (0.009, 5)])
@pytest.mark.parametrize("place", PLACES)
def test_the_bracket_is_the_grids_where_intervals_cannot_tell(place, half, most) -> None:
    """Loss 0.01 · rate / place ± half; the rates lie beside the grid's by 5 %."""

    def verdict_of(rate: float) -> Verdict:
        loss = 0.01 * rate / place
        return judge(loss - half, loss + half, 0.01)

    n, point = replay(verdict_of)
    assert n <= most
    grid = point_of({rate: verdict_of(rate) for rate in GRID})
    assert point.bracket == pytest.approx(grid.bracket, rel=0.06)


# --- the stage -----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study of one method at 1e-5 and 1e-4, with two code-length items."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/catalogue.yaml").symlink_to(ROOT / "config/catalogue.yaml")
    study_file, _ = make_finished_study(tmp_path)
    with study_file.open("a") as file:
        file.write("refine: {rounds: 2, ratio: 1.5}\ntolerance: bits_per_byte=0.1\n")
    run_planned(study_file)
    return study_file


def run_planned(study_file: Path) -> None:
    """Finish all runs: up to 3e-5 nothing changes, above it every item loses 0.5 or more."""
    planned, results = planned_study(study_file), study_file.parents[2] / "results/tiny"
    for name, config in evaluation_configs(planned).items():
        shift = 0.0 if "base" in name or rate_of(name) <= 3e-5 else 0.5
        write_items(results, name, shift=shift)
        noisy(results / "runs" / name / "items.parquet", shift)
        write_answers(results, name)
        tests = dict.fromkeys(("piqa", "code_length_code", "esci-label_only"), "0" * 64)
        write_record(results / "runs" / name / "eval.json", config, {"test_sha256": tests})
    for run in expand_runs(planned):
        write_record(results / "runs" / run.run / "train.json", run, {})
        write_epochs(results / "runs" / run.run / "epochs.parquet")
    write_tables(study_file, results)


def rate_of(name: str) -> float:
    return float(name.split(".lr")[1].split(".seed")[0])


def noisy(path: Path, shift: float) -> None:
    """Items that lost do not lose the same, or they would count as copies of one."""
    import pandas as pd

    frame = pd.read_parquet(path)
    first = (frame["metric"] == "bits_per_byte") & (frame["item"] == "0")
    frame.loc[first, "value"] += 0.01 * (shift > 0)
    frame.to_parquet(path, index=False)


def test_rounds_add_rates_until_they_are_used_up(study: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    assert refine(study) == 1
    assert [r.learning_rate for r in read_planned(Path("results/tiny"))] == [3.2e-5]
    assert "sft: 1e-5 is within, 1e-4 exceeds; adding 3.2e-5" in caplog.text
    assert [rate_of(run.run) for run in expand_runs(planned_study(study))] == [1e-5, 3.2e-5, 1e-4]
    with pytest.raises(UserError, match=r"1 of 4 runs are not finished.*then refine again"):
        refine(study)
    run_planned(study)
    assert refine(study) == 1
    run_planned(study)
    assert refine(study) == 0
    planned = read_planned(Path("results/tiny"))
    assert [(r.learning_rate, r.round) for r in planned] == [(3.2e-5, 1), (1.8e-5, 2)]
    assert "all 2 rounds are used up" in caplog.text


def test_another_tolerance_has_rounds_of_its_own(study: Path) -> None:
    for _ in range(2):
        assert refine(study) == 1
        run_planned(study)
    assert refine(study) == 0
    assert refine(study, "bits_per_byte=0.9") == 1
    last = read_planned(Path("results/tiny"))[-1]
    assert (last.learning_rate, last.round) == (3.2e-4, 1)
    assert last.tolerance == "bits_per_byte=0.9"


def test_the_same_results_give_the_same_rates(study: Path) -> None:
    """As after a kill between two rounds."""
    refine(study)
    first = Path("results/tiny/added_rates.yaml").read_bytes()
    Path("results/tiny/added_rates.yaml").unlink()
    refine(study)
    assert Path("results/tiny/added_rates.yaml").read_bytes() == first


def test_what_was_added_is_published(study: Path) -> None:
    refine(study)
    run_planned(study)
    out = Path("results/published/tiny")
    publish(study, Path("results/tiny"), out)
    assert json.loads((out / "MANIFEST.json").read_text())["n_runs"] == 4
    assert (out / "added_rates.yaml").read_bytes() == Path(
        "results/tiny/added_rates.yaml"
    ).read_bytes()
    assert len(read_run_table(out / "run_table.csv")) == 4


def test_the_command_says_what_to_do(study: Path, capsys) -> None:
    cli.main(["refine", "tiny"])
    assert capsys.readouterr().out == "1 learning rates added; run the study again\n"
    with pytest.raises(SystemExit):
        cli.main(["refine", "tiny"])
    study.write_text(study.read_text().replace("refine:", "description: x  # refine:"))
    with pytest.raises(SystemExit):
        cli.main(["refine", "tiny"])
    assert "refine: not set; add e.g. 'refine: {rounds: 3, ratio: 2}'" in capsys.readouterr().err
    assert pytest.approx(10**0.5) == module.STEP
