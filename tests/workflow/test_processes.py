"""A run of several processes, as the workflow starts it."""

import json

import pytest
import yaml
from tests.conftest import snakemake

pytestmark = pytest.mark.workflow
RUN = "results/smoke/runs/random-2layer.esci-label_only.sft.lr1e-2.seed0/train.json"
TRAINING = {"processes": 2, "epochs": 1, "batch_size": 4, "micro_batch_size": 2}
# What `accelerate config` writes for one GPU; two processes on one device would not start.
ONE_GPU = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "NO",
    "gpu_ids": "0",
    "num_machines": 1,
    "num_processes": 1,
    "mixed_precision": "bf16",
    "use_cpu": False,
}


def test_accelerate_settings_in_the_home_do_not_reach_a_run(checkout, cache, tmp_path, monkeypatch):
    settings = tmp_path / "home/.cache/huggingface/accelerate/default_config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(yaml.safe_dump(ONE_GPU))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    study = ("--configfile", "config/studies/smoke.yaml")
    training = f"training={json.dumps(TRAINING)}"
    snakemake(RUN, *study, "--config", training, cache=cache, cwd=checkout)
    report = json.loads((checkout / RUN).read_text())
    assert report["meta_info"]["n_processes"] == 2
    assert len(report["train_info"]["log"]) == 24 // 4
