"""All claims against one study, and the overall verdict on each."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sft_tradeoff.analysis.claims.base import Finding, Place
from sft_tradeoff.analysis.claims.spec import read_claims
from sft_tradeoff.analysis.claims.study import judge_claims, overall
from sft_tradeoff.analysis.claims.verdict import Judged, Verdict
from tests.unit.analysis.claims.simulated import LARGE, SMALL, Run, claim, joined, study

S, C, E, T, N = Verdict
UNTESTED = {"F2", "F4", "F5", "T1", "V1", "V2", "V3", "R1", "N1", "N2", "N3", "N4"}


def judged(verdict: Verdict, p: float = 0.01, note: str = "", detail: bool = False) -> Judged:
    finding = Finding(Place(), detail=detail)
    return Judged(finding, verdict, p, p, math.nan, math.nan, None, note)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([S, S], S),
        ([S, N], S),
        ([S, T], T),
        ([S, E], T),
        ([E, E], E),
        ([S, C], C),
        ([T, C], C),
        ([N, N], N),
        ([T], T),
    ],
)
def test_one_verdict_of_several_rows(verdicts: list[Verdict], expected: Verdict) -> None:
    assert overall([judged(verdict) for verdict in verdicts])[0] is expected


def test_details_do_not_count() -> None:
    assert overall([judged(S), judged(C, detail=True)])[0] is S


def test_p_value_and_note_of_several_rows() -> None:
    rows = [judged(S, 0.01), judged(S, 0.04), judged(N, math.nan, "no runs")]
    verdict, p, note = overall(rows)
    assert (verdict, p, note) == (S, 0.04, "2 supported, 1 not tested")
    assert overall([judged(S, 0.03), judged(C, 0.02)])[1] == 0.02
    assert overall([judged(N, math.nan, "no runs")] * 2)[2] == "no runs"


def test_the_claims_of_the_project_on_one_study() -> None:
    """What a study with SFT, TALR and its τ = 1 arm at two rates can test, it does."""
    arms = {
        "sft": {SMALL: Run(0.65, 0.02), LARGE: Run(0.63, 0.12)},
        "talr": {SMALL: Run(0.25, 0.02), LARGE: Run(0.26, 0.15)},
        "tau1:talr": {SMALL: Run(0.5, 0.02), LARGE: Run(0.5, 0.1)},
    }
    shipped = {("d", "nll_shipped"): 1.0}
    arms = {
        label: {rate: replace(run, extra=shipped) for rate, run in rates.items()}
        for label, rates in arms.items()
    }
    base = Run(0.1, nll=2.0, extra={("d", "nll_shipped"): 2.0}, seeds=(0.0,))
    results = study(arms, {"tau1": {"tau": 1.0}, "talr": {"tau": "median"}}, base)
    found = {j.claim.id: j for j in judge_claims(read_claims(), results)}
    assert {name for name, j in found.items() if j.verdict is N} == UNTESTED | {"N5"}
    assert all(j.note for j in found.values() if j.verdict is N), "and says what is missing"
    expected = {"F1": S, "F3": C, "F6": C, "F7": T, "R2": T, "N6": S, "N7": S, "T2": S, "T3": S}
    assert {name: found[name].verdict for name in expected} == expected


def test_a_counterexample_in_one_domain() -> None:
    """Supported on d, contradicted on e, each corrected for both."""
    d = study({"sft": {SMALL: Run(0.4), LARGE: Run(0.6)}})
    e = study({"sft": {SMALL: Run(0.6), LARGE: Run(0.4)}}, domain="e")
    (found,) = judge_claims([claim("smallest_rate_cost")], joined(d, e))
    assert [row.verdict for row in found.rows] == [S, C]
    assert [row.finding.place.domain for row in found.rows] == ["d", "e"]
    assert (found.verdict, found.note) == (C, "1 supported, 1 contradicted")
    assert all(row.p_holm >= row.p for row in found.rows)
