"""Several processes: the first scores, the others wait; one result, sharded or not."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest

from tests.unit.selection.material import run_config, train
from tests.unit.training.train_in_processes import run_launcher


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_choose_as_one_does(material, tmp_path, sharding):
    """In float32, so that only the order of sums differs."""
    settings = {"precision": "fp32", "rate": 1e-3}
    one = train(run_config(**settings), material, tmp_path / "one")
    config = run_config(**settings, processes=2, sharding=sharding)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = tmp_path / "two"
    run_launcher(
        [
            *(sys.executable, *start, "-m", "sft_tradeoff", "train"),
            *("--config", config.model_dump_json(), "--base-model", material.base_model),
            *("--data", material.tokens("train"), "--validation", material.file("validation")),
            *("--validation-tokens", material.tokens("validation")),
            *("--state", tmp_path / "state", "--out", out / "model"),
        ]
    )
    two = json.loads((out / "train.json").read_text())
    epochs = [report["train_info"]["epochs"] for report in (one, two)]
    for a, b in zip(*epochs, strict=True):
        assert b["domain_nll"] == pytest.approx(a["domain_nll"], rel=1e-4)
        assert a["selected"] == b["selected"]
    assert len(pd.read_parquet(out / "epochs.parquet")) == 2 * 16
    assert (out / "model" / "MODEL.json").is_file()
    assert not (tmp_path / "state").exists()
