"""Claims about break-points: F2 and V1, on losses with a known crossing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.analysis.claims.spec import read_claims
from tests.conftest import ROOT
from tests.unit.analysis.claims.simulated import Run, joined, rows_of, study, value_of, written

RATES = (4e-6, 6e-6, 9.7e-6, 1.1e-5, 1.7e-5, 2.4e-5)


def ramp(point: float, rates: tuple[float, ...] = RATES) -> dict[float, Run]:
    """Loss that is 0.01, the tolerance, at ``point``, and grows by 0.02 per factor e."""
    equal = (-1e-4, 0.0, 1e-4)
    return {r: Run(code=0.01 + 0.02 * math.log(r / point), seeds=equal) for r in rates}


def two(wide: float, narrow: float, folder: Path) -> Results:
    labels = study({"sft": ramp(wide)}, variant="label_only", domain="labels")
    return written(joined(labels, study({"sft": ramp(narrow)}, domain="cot")), folder)


@pytest.mark.parametrize(
    ("wide", "narrow", "verdict"),
    [
        (2e-5, 5e-6, "supported"),
        (5e-6, 2e-5, "contradicted"),
        (1.03e-5, 1e-5, "equivalent"),
    ],
)
def test_labels_widen_the_range(wide: float, narrow: float, verdict: str, tmp_path: Path) -> None:
    (row,) = rows_of(two(wide, narrow, tmp_path), "wider_range", 0.4)
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(math.log(wide / narrow), abs=0.01)
    assert (row.finding.place.domain, row.finding.parts[0].effect.n_seeds) == ("labels", 3)


def test_a_break_point_beyond_the_grid(tmp_path: Path) -> None:
    (row,) = rows_of(two(1e-2, 5e-6, tmp_path), "wider_range", 0.4)
    assert row.verdict == "cannot tell"
    assert row.note == "a break-point lies beyond the grid"
    assert row.finding.comparison.startswith("above 2.4e-5")


def test_one_kind_of_targets(tmp_path: Path) -> None:
    results = written(study({"sft": ramp(1e-5)}), tmp_path)
    (row,) = rows_of(results, "wider_range")
    assert row.note == "no domain has both variants, 'label_only' and 'cot'"


@pytest.mark.parametrize(
    ("rates", "verdict", "width"),
    [((1e-5, 1.4e-5), "supported", 1.4), ((1e-5, 3e-5), "cannot tell", 3.0)],
)
def test_the_break_point_is_bracketed(
    rates: tuple[float, ...], verdict: str, width: float, tmp_path: Path
) -> None:
    results = written(study({"sft": ramp(1.2e-5, rates)}), tmp_path)
    (row,) = rows_of(results, "bracketed", math.log(1.5))
    assert row.verdict == verdict
    assert value_of(row) == pytest.approx(math.log(width))
    assert row.finding.comparison.startswith("break-point 1.2e-5")


def test_a_bracket_of_exactly_1_5_is_enough(tmp_path: Path) -> None:
    """What `refine` stops at; the margin of V1 is rounded up."""
    (v1,) = (claim for claim in read_claims(ROOT / "config/claims.yaml") if claim.id == "V1")
    results = written(study({"sft": ramp(2.5e-5, (2e-5, 3e-5))}), tmp_path)
    (row,) = rows_of(results, v1.quantity, v1.margin)
    assert row.verdict == "supported"


def test_no_rate_exceeds(tmp_path: Path) -> None:
    results = written(study({"sft": ramp(1.0)}), tmp_path)
    (row,) = rows_of(results, "bracketed")
    assert row.note.startswith("no rate within and another that exceeds: above 2.4e-5")
