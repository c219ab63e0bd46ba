"""The hub's domains through the real Snakefile, from local files of the real schema."""

import json
import re

import pandas as pd
import pytest
import yaml
from tests.conftest import snakemake
from tests.unit.domains.hub_files import (
    esci_rows,
    write_esci,
    write_gsm8k,
    write_medcalc,
    write_metamath,
)

pytestmark = pytest.mark.workflow
DOMAINS = ("hub_medcalc-cot", "hub_esci-label_only", "hub_metamath-cot")


@pytest.mark.parametrize("name", ["paper", "paper-math", "one-gpu"])
def test_the_hubs_studies_plan_the_stated_jobs_and_lack_no_pin(checkout, name):
    path = f"config/studies/{name}.yaml"
    done = snakemake("-n", "--configfile", path, cwd=checkout, cache=checkout / "cache")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    description = yaml.safe_load((checkout / path).read_text())["description"]
    assert f"{jobs['total']} jobs" in description
    assert "not pinned" not in done.stderr


def test_a_study_with_an_unpinned_asset_starts_no_job(checkout):
    """ESCI is pinned, so `material` would have something to fetch; MedCalc-Bench is not."""
    cache, path = checkout / "cache", checkout / "mine.yaml"
    study = yaml.safe_load((checkout / "config/studies/paper.yaml").read_text())
    own = {"source": "hub", "repo": "a/b", "repo_type": "dataset", "license": "MIT"}
    # Braces are no wildcards, wherever they are in a study.
    mine = {"study": "mine", "description": "{odd}", "assets": {"medcalc-bench": own}}
    path.write_text(yaml.safe_dump(study | mine))
    planned = snakemake("-n", "--configfile", str(path), cwd=checkout, cache=cache)
    done = snakemake("material", "--configfile", str(path), cwd=checkout, cache=cache, check=False)
    assert done.returncode == 1
    assert "assets.medcalc-bench.revision: the commit of a/b is not" in planned.stderr
    assert "assets.medcalc-bench.revision: the commit of a/b is not" in done.stderr
    assert not cache.exists() or not list(cache.glob("assets/*"))


def test_local_files_of_the_real_schema_train_and_are_graded(checkout, tmp_path):
    folders = {
        "medcalc-bench": write_medcalc(tmp_path / "medcalc"),
        "esci": write_esci(tmp_path / "esci", esci_rows()),
        "metamathqa": write_metamath(tmp_path / "metamathqa"),
        "gsm8k": write_gsm8k(tmp_path / "gsm8k"),
    }
    sizes = {"n_train": 4, "n_validation": 1, "n_test": 3, "max_new_tokens": 120}
    study = {
        "study": "hub",
        "models": ["random-2layer"],
        "domains": [
            {"name": "hub_medcalc", "variant": "cot", **sizes},
            {"name": "hub_esci", "variant": "label_only", **sizes},
            {"name": "hub_metamath", "variant": "cot", **sizes},
        ],
        "methods": [{"name": "sft"}],
        "learning_rates": {"full": [0.01]},
        "training": {"batch_size": 4, "micro_batch_size": 4, "precision": "fp32"},
        "assets": {name: {"source": "local", "path": str(f)} for name, f in folders.items()},
    }
    (checkout / "config/studies/hub.yaml").write_text(yaml.safe_dump(study))
    # θ0 is asked all three tests; one run is trained, and asked its own.
    results = checkout / "results/hub/runs"
    base = results / "random-2layer.base"
    run = results / f"random-2layer.{DOMAINS[0]}.sft.lr1e-2.seed0"
    wanted = [base / "eval.json", run / "train.json", run / "eval.json"]
    targets = [str(path.relative_to(checkout)) for path in wanted]
    snakemake(
        *targets, "--configfile", "config/studies/hub.yaml", cwd=checkout, cache=tmp_path / "cache"
    )
    assert json.loads((run / "train.json").read_text())["train_info"]["n_steps"] == 1
    items = pd.read_parquet(base / "items.parquet")
    graded = items[items["metric"] == "accuracy"].groupby("benchmark")["item"].apply(sorted)
    for domain in DOMAINS:
        test = (checkout / f"results/hub/data/{domain}/test.jsonl").read_text().splitlines()
        assert graded[domain] == sorted(json.loads(line)["id"] for line in test), domain
    card = (checkout / f"results/hub/data/{DOMAINS[0]}/card.md").read_text()
    assert "**Asset medcalc-bench:** local: test_data.csv (sha256" in card
