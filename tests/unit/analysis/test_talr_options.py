"""TALR's options beside the trade-off."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis import talr_options
from sft_tradeoff.analysis.tables import OVER_SEEDS_COLUMNS, RUN_COLUMNS
from sft_tradeoff.analysis.talr_options import (
    OPTIONS,
    read_talr_options,
    talr_options_table,
    temperature_name,
)
from sft_tradeoff.objectives.talr import TalrOptions
from sft_tradeoff.report.publish_checks import PublishError, check_tables
from sft_tradeoff.study.config import load_study
from sft_tradeoff.system.files import atomic_write_text
from tests import finished_study


def options(**chosen: Any) -> dict[str, Any]:
    return TalrOptions(**chosen).model_dump(mode="json")


def table_of(
    arms: dict[str, dict[str, Any]], folder: Path, patch: pytest.MonkeyPatch
) -> pd.DataFrame:
    """The table of TALR arms with these options, standard SFT, DFT and θ0."""
    arms_of = {"base": "base", "sft": "sft", "dft": "dft"} | dict.fromkeys(arms, "talr")
    runs = pd.DataFrame(
        [(label, "m", "d", method, label, 1e-4, 0) for label, method in arms_of.items()],
        columns=RUN_COLUMNS,
    )
    means = runs.reindex(columns=OVER_SEEDS_COLUMNS).assign(reason="", n_seeds=1)

    def record(path: Path) -> Any:
        chosen = arms[path.name]
        return SimpleNamespace(config={"method": {"options": chosen}}) if chosen else None

    patch.setattr(talr_options, "training_record", record)
    return talr_options_table(means, runs, folder)


def test_other_methods_are_left_out_and_options_survive_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {
        "a": options(),
        "b": options(tau=1.0, normalize=True),
        "c": options(quantile=0.75, level="token", floor=0),
        "gone": {},
    }
    table = table_of(arms, tmp_path, monkeypatch)
    assert table["label"].tolist() == ["base", "sft", "a", "b", "c", "gone"]
    text = table.to_csv(index=False, lineterminator="\n")
    atomic_write_text(tmp_path / "talr_options.csv", text, checksum=True)
    read = read_talr_options(tmp_path / "talr_options.csv")
    assert [temperature_name(row) for row in read.to_dict("records")] == [
        *("base", "sft", "median of sequences, floor 0.01"),
        "τ = 1, floor 0.01, mean one",
        "0.75 quantile of tokens, floor 0",
        "gone",
    ]
    assert json.loads(read.set_index("label")[list(OPTIONS)].to_json())["tau"]["b"] == "1.0"


def test_the_stage_reads_options_from_the_runs_and_publishing_accepts_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = "{name: talr}, {name: talr, grid: {tau: [0.5, 1.0]}}"
    text = finished_study.STUDY.replace("{name: sft}", f"{{name: sft}}, {arms}")
    monkeypatch.setattr(finished_study, "STUDY", text)
    study_file, results = finished_study.make_finished_study(tmp_path)
    study = load_study(study_file)
    with pytest.raises(PublishError, match=r"talr_options\.csv: missing"):
        check_tables(study, results)
    names = {"scores": "scores", "tradeoff": "tradeoff", "over-seeds": "tradeoff_over_seeds"}
    names |= {"epochs": "epochs", "talr-options": "talr_options"}
    outputs = [x for option, n in names.items() for x in (f"--{option}", f"{results}/{n}.csv")]
    runs = ["--run-table", f"{results}/run_table.csv", "--runs", f"{results}/runs"]
    cli.main(["aggregate", *runs, *outputs])
    check_tables(study, results)
    table = read_talr_options(results / "talr_options.csv")
    found = [
        temperature_name(row) for row in table[table["learning_rate"] == 1e-5].to_dict("records")
    ]
    assert found == [
        "sft",
        "median of sequences, floor 0.01",
        *(f"τ = {t}, floor 0.01" for t in ("0.5", "1")),
    ]


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"tau": "mean"}, "mean of sequences, floor 0.01"),
        ({"tau": "mean", "level": "each_sequence"}, "mean of each sequence, floor 0.01"),
        ({"top_k": 0.25, "floor": 0.1}, "easiest 25%, floor 0.1"),
        ({"frozen": True}, "median of sequences, floor 0.01, frozen"),
    ],
)
def test_names(chosen: dict[str, Any], name: str) -> None:
    assert temperature_name({"method": "talr", "label": "x", **options(**chosen)}) == name
