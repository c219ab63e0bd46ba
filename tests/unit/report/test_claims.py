"""The stage: from the files of a study to table, page, JSON and figure."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff.analysis.claims.results import Results
from sft_tradeoff.cli import main
from tests.conftest import ROOT
from tests.unit.analysis.claims.simulated import LARGE, SMALL, Run, joined, study, written

ARMS = {
    "sft": {SMALL: Run(0.65, 0.0), LARGE: Run(0.65, 0.12)},
    "talr": {SMALL: Run(0.25, 0.0), LARGE: Run(0.25, 0.15)},
}


def run(
    folder: Path, claims: Path = ROOT / "config/claims.yaml", results: Results | None = None
) -> Path:
    results = written(results or study(ARMS), folder / "runs")
    results.runs.to_csv(folder / "run_table.csv", index=False)
    arguments = ["--run-table", f"{folder}/run_table.csv", "--runs", f"{folder}/runs"]
    main(["claims", *arguments, "--claims", str(claims), "--out-stem", f"{folder}/claims"])
    return folder / "claims"


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("study"))


def test_the_table(stem: Path) -> None:
    table = pd.read_csv(stem.with_suffix(".csv"))
    overall = table[table["kind"] == "overall"].set_index("claim")
    assert len(overall) == 23
    assert overall.loc["F1", "verdict"] == "supported"
    assert overall.loc["N6", "verdict"] == "supported"
    assert overall.loc["F3", "verdict"] == "contradicted"
    assert overall.loc["F4", "verdict"] == "not tested"
    row = table[(table["claim"] == "F1") & (table["kind"] == "row")].iloc[0]
    assert row["effect"] == pytest.approx(0.12)
    assert (row["n_items"], row["n_seeds"], row["says"]) == (40, 3, "> m")
    assert (row["margin"], row["level"]) == (0.01, 0.05)
    assert row["low"] < 0.12 < row["high"] and row["p"] <= row["p_holm"] < 0.05


def test_the_record(stem: Path) -> None:
    record = {claim["id"]: claim for claim in json.loads(stem.with_suffix(".json").read_text())}
    (row,) = record["F1"]["rows"]
    assert [part["estimand"] for part in row["parts"]] == [
        "G(sft at 1e-4) − G(sft at 1e-5)",
        "D(sft at 1e-5) − D(sft at 1e-4)",
    ]
    assert record["F4"]["rows"][0]["p"] is None, "JSON has no NaN"
    assert record["F1"]["paper"]["second_hand"] is True


def test_the_page(stem: Path) -> None:
    page = stem.with_suffix(".md").read_text()
    assert "## F1: supported" in page and "## F4: not tested" in page
    assert "Missing: no standard SFT and token_subset with 'keep: easy' and 'keep: hard'" in page
    assert "(arXiv 2509.20758, second-hand)." in page
    assert "[0.1" in page and "nan" not in page.lower() and "<NA>" not in page


def test_what_one_domain_lacks_is_said(tmp_path: Path) -> None:
    """Rows of other domains are tested, so the claim as a whole is; the reason is in the table."""
    results = joined(study(ARMS), study({"sft": {SMALL: Run(0.5)}}, domain="my data"))
    stem = run(tmp_path, results=results)
    table = pd.read_csv(stem.with_suffix(".csv"))
    row = table[(table["claim"] == "F1") & (table["domain"] == "my data")].iloc[0]
    assert row["verdict"] == "not tested"
    assert row["note"] == "sft has no two rates with a ratio of at least 4"
    page = stem.with_suffix(".md").read_text()
    assert "- m, my data, sft: sft has no two rates with a ratio of at least 4." in page


def test_the_same_numbers_give_the_same_files(stem: Path, tmp_path: Path) -> None:
    again = run(tmp_path)
    for suffix in (".csv", ".md", ".json", ".png", ".pdf"):
        assert again.with_suffix(suffix).read_bytes() == stem.with_suffix(suffix).read_bytes()


def test_a_wrong_claim_stops_the_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = tmp_path / "claims.yaml"
    text = (ROOT / "config/claims.yaml").read_text()
    claims.write_text(text.replace("quantity: keeps_less", "quantity: keeps_more"))
    with pytest.raises(SystemExit):
        run(tmp_path, claims)
    assert "claim N6: unknown quantity 'keeps_more'; did you mean" in capsys.readouterr().err
    assert not (tmp_path / "claims.csv").exists()
