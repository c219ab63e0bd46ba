"""The tables show the numbers of the trade-off, rounded, and say what is missing."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS
from sft_tradeoff.report import tables

NAN = math.nan


def row(domain: str, method: str, rate: float, score: float, **changes: float) -> dict[str, object]:
    numbers: dict[str, object] = dict.fromkeys(OVER_SEEDS_COLUMNS, 0.0) | {
        "n_seeds": 1,
        "reason": "",
        "domain_score": score,
        "domain_score_stderr": 0.0564,
        "domain_nll": 0.1235,
        "general_score": 0.4275,
        "general_score_difference": -0.0004,
        "general_score_difference_stderr": 0.0101,
        "general_bits_per_byte_difference": -0.00312,
        "general_bits_per_byte_difference_stderr": 0.00044,
    }
    names = {"model": "small", "domain": domain, "method": method, "label": f"{method}_1"}
    return numbers | changes | names | {"learning_rate": rate}


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        row("med", "sft", 1e-5, 0.5126),
        row("med", "talr", 2e-4, 0.25),
        row("med", "base", NAN, 0.0625),
        row("esci", "base", NAN, 0.3),
        row("esci", "sft", 1e-5, 0.4),
    ]
    return pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS)


@pytest.mark.parametrize(
    ("value", "stderr", "decimals", "expected"),
    [
        (0.5126, 0.0564, 3, "0.513 ± 0.056"),
        (-0.0351, 0.01, 2, "−0.04 ± 0.01"),
        (-0.0004, 0.01, 3, "0.000 ± 0.010"),
        (0.5, NAN, 3, "0.500"),
        (NAN, NAN, 3, "–"),
    ],
)
def test_cell(value: float, stderr: float, decimals: int, expected: str) -> None:
    assert tables.cell(value, stderr, decimals) == expected


def test_blocks_put_base_first_and_keep_the_order(table: pd.DataFrame) -> None:
    (title, med), (other, esci) = tables.blocks(table)
    assert (title, other) == ("small, med", "small, esci")
    assert med["Method"].tolist() == ["θ₀", "sft_1", "talr_1"]
    assert med["Learning rate"].tolist() == ["", "1e-5", "2e-4"]
    assert med["Domain accuracy"].tolist()[1:] == ["0.513 ± 0.056", "0.250 ± 0.056"]
    assert esci["Method"].tolist() == ["θ₀", "sft_1"]


def unpadded(text: str) -> str:
    """Without the spaces that align the columns."""
    return re.sub(" +", " ", text)


def test_markdown(table: pd.DataFrame) -> None:
    lines = unpadded(tables.to_markdown(table)).splitlines()
    assert lines[0] == "### small, med"
    assert lines[5] == (
        "| sft_1 | 1e-5 | 0.513 ± 0.056 | 0.123 ± 0.000 | 0.427 ± 0.000 | 0.000 ± 0.010 "
        "| −0.0031 ± 0.0004 |"
    )
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}
    assert lines[-1] == tables.CAPTION


def test_latex_is_balanced_and_plain(table: pd.DataFrame) -> None:
    text = tables.to_latex(table)
    assert text.isascii()
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"] * 2
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"] * 2
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert re.sub(r"\\\$", "", text).count("$") % 2 == 0
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    rows = [line for line in text.splitlines() if " & " in line]
    assert len(rows) == 2 + 5
    assert all(line.count(" & ") == 6 and line.endswith(r" \\") for line in rows)
    assert r"sft\_1 & 1e-5 & 0.513 $\pm$ 0.056" in text
    assert not re.search(r"(?<!\\)_(?!0\$)", re.sub(r"\\label\{.*?\}", "", text))


def test_latex_escapes_every_special_character() -> None:
    assert tables.latex(r"a_b&c%d#e$f{g}h~i^j\k") == (
        r"a\_b\&c\%d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
    )
    assert tables.latex("θ₀ Δ ± −1 –") == r"$\theta_0$ $\Delta$ $\pm$ $-$1 --"


def test_missing_scores_are_dashes_with_a_footnote(table: pd.DataFrame) -> None:
    broken = "ifeval_generated prompt_level_strict: 1 of 300 items are not finite, e.g. item '17'"
    table.loc[1, ["domain_nll", "domain_nll_stderr"]] = NAN
    table.loc[1, "reason"] = broken
    for text in (tables.to_markdown(table), tables.to_text(table)):
        assert text.rstrip().endswith(f"\n– small, med, talr_1 at 2e-4: {broken}.")
        assert text.count("not finite") == 1
    note = broken.replace("_", r"\_")
    assert tables.to_latex(table).count(rf"-- small, med, talr\_1 at 2e-4: {note}.}}") == 2
    assert "| talr_1 | 2e-4 | 0.250 ± 0.056 | – |" in unpadded(tables.to_markdown(table))
    assert r"2e-4 & 0.250 $\pm$ 0.056 & -- &" in tables.to_latex(table)


def test_settings_with_the_same_reason_share_a_footnote(table: pd.DataFrame) -> None:
    """θ0's broken item empties a whole column: no single dash stands out, so the note says it."""
    table[["general_score_difference", "general_score_difference_stderr"]] = NAN
    table["reason"] = "piqa acc_norm: 2 of 9 items of θ0 are not finite, e.g. item 'a'"
    table.loc[[0, 4], "reason"] = "run not evaluated"
    assert tables.footnotes(table)[1:] == [
        "– small, med, sft_1 at 1e-5; small, esci, sft_1 at 1e-5: run not evaluated.",
        "– small, med, talr_1 at 2e-4; small, med, base_1; small, esci, base_1: "
        "piqa acc_norm: 2 of 9 items of θ₀ are not finite, e.g. item 'a'.",
    ]
    assert tables.to_latex(table).isascii()


def test_dash_without_a_reason_still_has_a_footnote(table: pd.DataFrame) -> None:
    table.loc[1, "domain_nll"] = NAN
    assert tables.footnotes(table)[1:] == ["– small, med, talr_1 at 2e-4: not measured."]


def test_quantity_that_nobody_has_is_no_missing_run(table: pd.DataFrame) -> None:
    table[["general_score", "general_score_stderr"]] = NAN
    assert tables.footnotes(table) == [tables.CAPTION]
    assert unpadded(tables.to_markdown(table)).count("| – |") == 5


def test_seeds_are_mentioned(table: pd.DataFrame) -> None:
    assert "seeds" not in tables.to_text(table)
    table.loc[1, "n_seeds"] = 3
    assert "Means over 3 seeds" in tables.to_text(table)


def test_csv_holds_the_same_rounded_numbers(table: pd.DataFrame) -> None:
    lines = tables.to_csv(table).splitlines()
    assert lines[0].startswith("model,domain,method,label,learning_rate,n_seeds,domain_score,")
    assert lines[1].startswith("small,med,sft,sft_1,1e-05,1,0.513,0.056,0.123,")
    assert lines[1].endswith(",-0.0031,0.0004,")
    table.loc[0, ["domain_score", "reason"]] = NAN, "run not evaluated"
    missing = tables.to_csv(table).splitlines()[1]
    assert missing.startswith("small,med,sft,sft_1,1e-05,1,,0.056,")
    assert missing.endswith(",0.0004,run not evaluated")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    cli.main(["tables", *map(str, arguments)])


def test_command_line(
    table: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "os.csv", tmp_path / "out"
    table.to_csv(path, index=False)
    run(monkeypatch, "--tradeoff", path, "--out-dir", out)
    assert sorted(p.name for p in out.iterdir()) == ["tradeoff.csv", "tradeoff.md", "tradeoff.tex"]
    assert (out / "tradeoff.md").read_text() == tables.to_markdown(table)
    assert capsys.readouterr().out == ""
    run(monkeypatch, "--tradeoff", path, "--show", "figures/quick", "results/quick")
    shown = capsys.readouterr().out
    assert "0.513 ± 0.056" in shown
    assert shown.endswith("Results:\nfigures/quick\nresults/quick\n")
    with pytest.raises(SystemExit):
        run(monkeypatch, "--tradeoff", path)
