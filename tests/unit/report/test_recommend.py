"""The command that writes the recommendation."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.answer_weights import COLUMNS
from sft_tradeoff.analysis.recommendation import Recommendation
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS
from tests.recommended_runs import BASE, IN, NAN, OUT, RUN_COLUMNS, RUNS, write_domain, write_runs


def test_the_command_writes_page_and_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_domain(
        write_runs(tmp_path / "runs") / str(RUNS[0][0]) / "eval.json",
        metric="numeric",
        tolerance=0.05,
    )
    pd.DataFrame(RUNS, columns=RUN_COLUMNS).to_csv(tmp_path / "run_table.csv", index=False)
    rows = [
        BASE.row("base", "base", NAN),
        IN.row("sft", "sft", 1e-4),
        OUT.row("wise_ft", "wise", 1e-4),
    ]
    table = pd.DataFrame(rows, columns=OVER_SEEDS_COLUMNS)
    table.to_csv(tmp_path / "tradeoff.csv", index=False)
    paths = {
        "run-table": "run_table.csv",
        "runs": "runs",
        "tradeoff": "tradeoff.csv",
        "out": "r.md",
    }
    arguments = [x for name, path in paths.items() for x in (f"--{name}", str(tmp_path / path))]
    cli.main(["recommend", *arguments, "--smallest-gain=nll=0.2"])
    page = (tmp_path / "r.md").read_text()
    assert "**Train with sft at learning rate 1e-4.**" in page and "is at most 0.05." in page
    refuse = pytest.fail  # NaN and Infinity are not JSON
    record = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert record["tolerance"] == {"bits_per_byte": 0.01}
    assert record["smallest_gain"] == {"accuracy": 0.01, "nll": 0.2}
    assert record["sections"][0]["chosen"]["learning_rate"] == 1e-4
    assert record["sections"][0]["methods"][1]["candidates"][0]["verdict"] == "exceeds"
    assert "starve" not in page
    weights = dict.fromkeys(COLUMNS, 0.05) | {"label": "talr", "domain": "d"}
    weights |= {"n_tokens": 9, "n_answer_tokens": 3}
    pd.DataFrame([weights], columns=COLUMNS).to_csv(tmp_path / "m.d.csv", index=False)
    cli.main(["recommend", *arguments, "--answer-weights", str(tmp_path / "m.d.csv")])
    warned = (tmp_path / "r.md").read_text()
    assert "**A method may starve the answer.** Measured before training:" in warned
    assert "gives the tokens of the answer 5.0% of the weight" in warned
    assert set(record) == set(Recommendation.__dataclass_fields__)
