"""The page of verdicts, from a table by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sft_tradeoff.analysis.claims.table import COLUMNS
from sft_tradeoff.report.claims_page import to_markdown

CLAIM = {"claim": "F1", "kind": "overall", "verdict": "cannot tell", "statement": "It holds."}
TEXTS = ("model", "domain", "method", "comparison", "note", "paper", "others", "source")


def page(**row: Any) -> str:
    tested = {"claim": "F1", "kind": "row", "says": "> m", "unit": "bits", "margin": 0.01} | row
    empty = dict.fromkeys(TEXTS, "") | {"this_run_only": False}
    rows = [empty | cells for cells in (CLAIM, tested)]
    whole = [name for name in COLUMNS if name.startswith("n_")]
    whole += ["lost", "gained", "clusters_needed", "seeds_needed"]
    return to_markdown(pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(whole, "Int64")))


def cells(text: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith("| 1 "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_with_everything() -> None:
    text = page(
        verdict="cannot tell",
        model="m",
        domain="d",
        method="sft",
        comparison="a against b",
        effect=-0.01234,
        low=-0.03,
        high=0.005,
        p_holm=0.2,
        n_items=40,
        n_clusters=20,
        n_seeds=2,
        lost=3,
        gained=1,
        p_mcnemar=0.625,
        visible=0.05,
        clusters_needed=80,
        seeds_needed=5,
        note="two seeds",
    )
    assert cells(text) == [
        *("1", "m, d, sft", "a against b", "−0.0123 [−0.0300, 0.0050]", "> 0.01 bits", "0.2000"),
        *("40 / 20 / 2", "3 / 1 (0.6250)", "0.0500", "80 units, 5 seeds", "**cannot tell**"),
    ]
    assert "- 1: two seeds." in text


def test_an_exact_row_has_no_items() -> None:
    row = cells(page(verdict="supported", effect=0.5, n_items=0, n_clusters=0, n_seeds=0))
    assert (row[3], row[6], row[10]) == ("0.5000", "–", "**supported**")


def test_a_row_with_little() -> None:
    text = page(
        verdict="cannot tell",
        kind="detail",
        comparison="c",
        effect=0.5,
        low=math.nan,
        n_items=4,
        n_clusters=4,
        n_seeds=1,
        clusters_needed=0,
        seeds_needed=0,
    )
    assert cells(text)[3:6] == ["0.5000", "> 0.01 bits", "–"]
    assert cells(text)[7:] == ["", "–", "more than a million units", "*cannot tell*"]


def test_without_a_noise_floor_this_is_said() -> None:
    known = {"verdict": "cannot tell", "comparison": "c", "effect": 0.5}
    assert "is 0 or was not measured" in page(**known, floor=0.0)
    assert "is 0 or was not measured" not in page(**known, floor=0.001)


def test_an_open_interval() -> None:
    text = page(verdict="cannot tell", comparison="c", effect=math.nan, low=-math.inf, high=2.3)
    assert cells(text)[3] == "– [−∞, 2.3000]"


def test_one_seed_is_said_beside_the_verdict() -> None:
    text = page(verdict="cannot tell", comparison="c", this_run_only=True, effect=0.5, n_seeds=1)
    assert cells(text)[-1] == "**cannot tell (this run only)**"


def test_rows_that_are_not_tested_are_named_with_their_reason() -> None:
    text = page(verdict="not tested", model="m", domain="d", comparison="c", note="no runs")
    assert "| 1 " not in text and "no runs" not in text, "the claim itself says what is missing"
    assert "| F1      | It holds.   | cannot tell |" in text
