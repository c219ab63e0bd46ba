"""What jobs ask for, as Snakemake plans them."""

import json
import re

import pytest
from tests.conftest import snakemake

from sft_tradeoff.models.spec import built_model

pytestmark = pytest.mark.workflow
PROCESSES = json.dumps({"processes": 2, "batch_size": 8, "micro_batch_size": 4})


def asked(cwd, cache, *arguments):
    """Resources by rule, of the first job of each."""
    done = snakemake(
        *("--configfile", "config/studies/smoke.yaml", "-n", "--forceall", "--quiet", "host"),
        *arguments,
        cache=cache,
        cwd=cwd,
    )
    text = done.stdout + done.stderr
    lines = re.findall(r"^rule (\w+):\n(?: .*\n)*? +resources: (.*)$", text, re.MULTILINE)
    found = {}
    for rule, line in lines:
        numbers = re.findall(r"\b(mem_mb|gpu|runtime)=(\d+)", line)
        found.setdefault(rule, {name: int(number) for name, number in numbers})
    return found


def test_memory_grows_with_the_model_and_gpus_with_the_processes(checkout, tmp_path, monkeypatch):
    """A model of 3135 million parameters, 3000 more than the small one.

    Training on a CPU takes 20 bytes for each of these: 5000 + 60000 MB, with two processes twice
    that; θ0's statistics 6: 4000 + 18000; evaluation in two parts or in float32 8. What is not
    built yet counts as small.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cache = tmp_path / "cache"
    small = asked(checkout, cache)
    assert small["train"] == {"mem_mb": 5000, "runtime": 240}
    record = built_model(cache, "random-2layer") / "MODEL.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"n_parameters": 3_135_000_000}))
    large = asked(checkout, cache, "--config", f"training={PROCESSES}")
    assert large["train"] == {"mem_mb": 2 * 65000, "gpu": 2, "runtime": 240}
    assert large["reference"]["mem_mb"] == 22000
    assert large["evaluate"]["mem_mb"] == large["noise_floor"]["mem_mb"] == 28000
