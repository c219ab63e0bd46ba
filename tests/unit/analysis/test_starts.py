"""Where the θ0 of a model comes from, as its evaluation recorded it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.analysis.run_records import EvaluationRecord
from sft_tradeoff.analysis.starts import Start, starts_of
from sft_tradeoff.study.runs import Start as Recorded
from sft_tradeoff.system.files import DamagedFileError


def record(folder: Path, config: dict[str, Any]) -> EvaluationRecord:
    path = folder / "eval.json"
    path.write_text(json.dumps({"run_info": {"config": config}}))
    return EvaluationRecord.read(path)


def test_what_the_evaluation_records_is_read(tmp_path: Path) -> None:
    recorded = Recorded(run="m.d.sft.lr1e-4.seed0", model="m", domain="d")
    found = starts_of(record(tmp_path, {"starts": [recorded.model_dump()]}))
    assert found == [Start("m.d.sft.lr1e-4.seed0", "m", "d")]


def test_a_pretrained_model_has_none(tmp_path: Path) -> None:
    assert starts_of(record(tmp_path, {})) == []


@pytest.mark.parametrize("starts", [[{"run": "r"}], ["r"], [{"run": "r", "model": "m", "x": "d"}]])
def test_another_form_is_damage(tmp_path: Path, starts: list[Any]) -> None:
    with pytest.raises(DamagedFileError, match=r"run_info\.config\.starts"):
        starts_of(record(tmp_path, {"starts": starts}))
