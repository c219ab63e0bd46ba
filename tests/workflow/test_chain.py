"""A model that starts from a run, through the real Snakefile."""

import json
import re

import pandas as pd
import pytest
from tests.conftest import snakemake

pytestmark = pytest.mark.workflow
CHAIN = ("--configfile", "config/studies/chain-smoke.yaml")
START = "random-2layer.warm-up.sft.lr1e-2.seed0"


@pytest.fixture
def own_cache(checkout, cache):
    """A cache that holds nothing but what was downloaded."""
    (cache / "assets").mkdir(parents=True, exist_ok=True)
    (checkout / "cache").mkdir()
    (checkout / "cache/assets").symlink_to(cache / "assets")
    return checkout / "cache"


def test_a_run_is_the_start_of_another_model(checkout, own_cache):
    results = checkout / "results/chain-smoke"
    # Not all figures: those that the smoke study has are drawn in its test.
    made = [f"results/chain-smoke/{name}" for name in ("claims.csv", "figures/cross_domain.md")]
    snakemake(*made, *CHAIN, cache=own_cache, cwd=checkout)
    scores = pd.read_csv(results / "scores.csv").set_index(["run", "benchmark", "metric"])["value"]
    trained, start = scores[START], scores["warm.base"]
    both = trained.index.intersection(start.index)
    both = both[both.get_level_values("metric") != "kl"]  # each against its own θ0
    assert ("warm-up", "nll") in both and ("code_length_code", "bits_per_byte") in both
    assert trained[both].equals(start[both]), "the start is the run, bit for bit"
    assert "warm.warm-up" not in str(list(scores.index)), "nothing more is trained on it"
    for method in ("sft", "talr"):
        after = scores[f"warm.esci-label_only.{method}.lr1e-2.seed0"]
        assert {("warm-up", "nll"), ("esci-label_only", "nll")} <= set(after.index)
        assert after["esci-label_only", "nll"] < start["esci-label_only", "nll"]
        record = results / f"runs/warm.esci-label_only.{method}.lr1e-2.seed0/train.json"
        theta0 = json.loads(record.read_text())["meta_info"]["base_model_sha256"]
        model = json.loads((results / "models/warm/MODEL.json").read_text())
        assert theta0 == model["sha256"]
    assert (results / "models/warm/model.safetensors").exists()
    assert not list(results.glob("runs/*/model")), "weights of runs are temporary"
    page = (results / "figures/cross_domain.md").read_text()
    assert "## warm, against random-2layer" in page
    claims = pd.read_csv(results / "claims.csv")
    (row,) = claims[(claims["claim"] == "N4") & (claims["kind"] == "row")].to_dict("records")
    assert (row["model"], row["method"]) == ("random-2layer", "talr")
    assert row["verdict"] == "cannot tell"  # one seed

    done = snakemake(*made, *CHAIN, "-n", cache=own_cache, cwd=checkout)
    assert "Nothing to be done" in done.stderr + done.stdout
    seeds = ("--config", "seeds=[0,1]")
    seed = snakemake(*made, *CHAIN, "-n", *seeds, cache=own_cache, cwd=checkout)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", seed.stdout + seed.stderr, re.MULTILINE))
    assert jobs["train"] == "4", "not the start again"
    assert "start_model" not in jobs


def test_a_leak_stops_before_the_start_is_trained(checkout, own_cache):
    """Two files; the second tests what the first trains on."""
    domains = []
    for label, train, test in (("warm-up", "abcd", "ef"), ("second", "ghij", "ka")):
        rows = [("train", name) for name in train] + [("test", name) for name in test]
        texts = [{"prompt": f"Say {n}", "response": n, "split": split} for split, n in rows]
        (checkout / f"{label}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
        sizes = {"n_validation": 0, "n_test": 2}
        domains.append({"name": "own", "label": label, "path": f"{label}.jsonl", **sizes})
    done = snakemake(
        f"results/chain-smoke/runs/{START}/train.json",
        *CHAIN,
        "--config",
        f"domains={json.dumps(domains)}",
        cache=own_cache,
        cwd=checkout,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "model 'warm': 1 of 2 test examples of domain 'second' have the prompt" in told
    assert not (checkout / f"results/chain-smoke/runs/{START}/train.json").exists()
