"""The table of verdicts, from claims.csv."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from sft_tradeoff.analysis.claims.base import Verdict
from sft_tradeoff.analysis.claims.table import COLUMNS, read_claims_table
from sft_tradeoff.report.page.verdicts import count_verdicts, verdict_rows
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import DamagedFileError
from tests.conftest import ROOT

CSV = ROOT / "figures/quick/claims.csv"


@pytest.fixture(scope="module")
def claims():
    return verdict_rows(read_claims_table(CSV), "quick", ["sft", "talr"])


def test_every_claim_is_there_once_and_the_tested_ones_come_first(claims):
    table = read_claims_table(CSV)
    assert sorted(c["id"] for c in claims) == sorted(table["claim"].unique())
    tested = [bool(claim["rows"]) for claim in claims]
    assert any(tested) and tested == sorted(tested, reverse=True)
    assert sum(count_verdicts(claims).values()) == len(claims)
    for claim in claims:
        assert bool(claim["rows"]) == (claim["verdict"] != Verdict.NOT_TESTED)


def test_a_claim_says_what_the_paper_found_and_what_we_did(claims):
    f3 = next(claim for claim in claims if claim["id"] == "F3")
    assert f3["statement"].startswith("TALR") and ".501 / .717" in f3["paper"]
    assert "2601.02151" in f3["others"] and f3["kind"] == "cannot-tell" and f3["one_run"]
    first, *details = f3["rows"]
    assert not first["detail"] and all(row["detail"] for row in details)
    assert first["effect"] == "−0.1922 [−0.3522, −0.0322]"
    assert f3["settling"] == "this run only: one seed; train at least 2"


def test_a_settled_claim_needs_nothing(claims):
    assert next(c for c in claims if c["id"] == "T2")["settling"] == "settled"


def test_links_name_the_runs_behind_a_row(claims):
    row = next(claim for claim in claims if claim["id"] == "F3")["rows"][0]
    found = parse_qs(row["link"].removeprefix("#"))
    assert found["methods"] == ["sft,talr"] and found["domain"] == ["esci-cot"]
    assert next(c for c in claims if c["id"] == "T2")["rows"][0]["link"] == "", "theory has no runs"


def test_a_table_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="file not found"):
        read_claims_table(tmp_path / "claims.csv")
    (tmp_path / "claims.csv").write_text(",".join(COLUMNS[1:]) + "\n")
    with pytest.raises(DamagedFileError, match="claim"):
        read_claims_table(tmp_path / "claims.csv")
