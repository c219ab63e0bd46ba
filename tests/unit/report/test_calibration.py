"""The calibration in its small form; ``sft-tradeoff calibrate`` measures all cases."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.calibration import coverage, verdicts
from sft_tradeoff.analysis.calibration.case import Case, Measurement
from sft_tradeoff.report.calibration import (
    MARGIN,
    PARTS,
    add_arguments,
    calibrate,
    coverage_table,
    errors_table,
    main,
    power_table,
)

N_STUDIES = 300
EXACT = ("items of unequal size", "few clusters", "unequal clusters", "5 seeds, few clusters")
WIDER = ("2 seeds, both vary", "3 seeds, all vary", "accuracy 0.5, clusters", "accuracy 0.02")


def named(cases: tuple[Case, ...], *names: str) -> list[Case]:
    found = [case for case in cases if case.name in names]
    assert {case.name for case in found} == set(names)
    return found


def noise(row: Measurement) -> float:
    return 3 * row.stderr


def covered(names: tuple[str, ...]) -> list[Measurement]:
    rows = [row for case in named(coverage.CASES, *names) for row in case.run(N_STUDIES, 1)]
    return [row for row in rows if row.rule in ("comparisons", "claims")]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    for row in covered(EXACT):
        assert abs(row.share - 0.95) < MARGIN + noise(row), row
    for row in covered(WIDER):
        assert row.share > 0.95 - MARGIN - noise(row), row


def test_items_that_share_a_cluster_are_not_independent() -> None:
    (case,) = named(coverage.CASES, "few clusters")
    shares = {row.rule: row.share for row in case.run(100, 1)}
    assert shares["items as independent"] < 0.8 < shares["comparisons"]


def test_verdicts_are_wrong_no_more_often_than_they_say() -> None:
    cases = named(verdicts.ERRORS, "3 seeds", "1 seed, 48 items", "1 seed, accuracy 0.95")
    rows = [row for case in cases for row in case.run(N_STUDIES // 3, 2)]
    assert {row.topic for row in rows} == {case.topic for case in verdicts.ERRORS}
    for row in rows:
        assert row.share < row.expected + noise(row), row


def test_studies_see_what_they_should() -> None:
    for case in verdicts.POWERS:
        (row,) = case.run(N_STUDIES, 3)
        assert row.share == pytest.approx(0.8, abs=0.03 + noise(row)), row


def test_marks_in_the_tables() -> None:
    def row(share: float, expected: float) -> Measurement:
        return Measurement("t", "c", "claims", share, 0.005, expected, 100)

    assert "90.0 ↓" in coverage_table([row(0.9, 0.95)])
    assert "97.0 ↑" in coverage_table([row(0.97, 0.95)])
    assert "96.0 |" in coverage_table([row(0.96, 0.95)])
    assert "7.0 ↑" in errors_table([row(0.07, 0.05)]) and "↑" not in errors_table([row(0.06, 0.05)])
    assert "75.0 ↓" in power_table([row(0.75, 0.8)])


def test_the_command_writes_the_page_and_repeats_itself(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    page, numbers = tmp_path / "c.md", tmp_path / "c.csv"
    main(parser.parse_args(["--studies", "2", "--out", str(page), "--csv", str(numbers)]))
    table = pd.read_csv(numbers)
    assert set(zip(table["topic"], table["case"], strict=True)) == {
        (case.topic, case.name) for cases, _ in PARTS.values() for case in cases
    }
    assert all(
        part in page.read_text() for part in ("## Coverage", "## Wrong verdicts", "## Power")
    )
    again = calibrate(2, 0, cores=2)
    shares = [row.share for rows in again.values() for row in rows]
    assert shares == pytest.approx(table["share"].tolist())


def test_the_documentation_has_all_cases() -> None:
    table = pd.read_csv("docs/calibration.csv")
    assert (table["studies"] >= 1000).all()
    assert set(zip(table["topic"], table["case"], strict=True)) == {
        (case.topic, case.name) for cases, _ in PARTS.values() for case in cases
    }


def test_numbers_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        main(parser.parse_args(["--studies", "0"]))
    assert "--studies 0: give at least 2" in capsys.readouterr().err
