"""The real Snakefile, end to end, on the smoke study, in a copy of the checkout."""

import json
import re

import pandas as pd
import pytest
import yaml
from tests.conftest import ODD_NAME, snakemake

pytestmark = pytest.mark.workflow
ADAPTERS, MERGED = ("lora",), ("wise_ft-alpha0.25", "wise_ft-alpha0.75")
TRAINED = (
    *("sft", "talr", "flow", "l2_reg", "lora", "kl_reg", "dft", "eaft", "asft", "stm", "psft"),
    "token_subset",
)
TOKEN_FIGURES = ("token_change", "token_curriculum", "token_paths", "token_probability")
RUNS = {
    method: f"random-2layer.esci-label_only.{method}.lr1e-{1 if method in ADAPTERS else 2}.seed0"
    for method in TRAINED + MERGED
}


@pytest.fixture
def new_cache(tmp_path, cache):
    """A cache, of a name as odd as the checkout's, that holds nothing but what was downloaded."""
    (cache / "assets").mkdir(parents=True, exist_ok=True)
    new = tmp_path / "cache" / ODD_NAME
    new.mkdir(parents=True)
    (new / "assets").symlink_to(cache / "assets")
    return new


def test_a_failing_run_leaves_the_others_alone_and_the_rest_continues(checkout, new_cache):
    """First with a domain whose file is absent, then without it: nothing is trained twice."""
    smoke = ("--configfile", "config/studies/smoke.yaml")
    study = yaml.safe_load((checkout / "config/studies/smoke.yaml").read_text())
    study["domains"].append({"name": "own", "path": "empty.jsonl", "n_test": 2})
    (checkout / "empty.jsonl").touch()
    override = ("--config", f"domains={json.dumps(study['domains'])}")
    done = snakemake(*smoke, *override, cache=new_cache, cwd=checkout, check=False)
    assert done.returncode != 0
    assert "empty.jsonl" in done.stdout + done.stderr
    results = checkout / "results/smoke"
    for run in RUNS.values():
        assert (results / "runs" / run / "eval.json").exists(), done.stderr
    assert not (results / "tables").exists()
    assert not list(results.glob("data/own-response/*.jsonl"))

    done = snakemake(*smoke, cache=new_cache, cwd=checkout)
    assert "(Rule: train)" not in done.stderr and "(Rule: aggregate)" in done.stderr
    check_results(results)

    done = snakemake(*smoke, cache=new_cache, cwd=checkout)
    assert "Nothing to be done" in done.stderr

    done = snakemake(*smoke, "--config", "seeds=[1]", "-n", cache=new_cache, cwd=checkout)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert jobs["train"] == "12", "a new seed must train"
    assert jobs["merge"] == "2" and "reference" not in jobs
    assert jobs["answer_weights"] == "1", "other batches come first"

    (results / "runs" / RUNS["psft"] / "items.parquet").unlink()
    done = snakemake(*smoke, "-n", cache=new_cache, cwd=checkout)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    made_again = {name: jobs.get(name) for name in ("train", "evaluate", "aggregate", "tables")}
    assert set(made_again.values()) == {"1"}, "a damaged file that was deleted is made again"


def check_results(results):
    scores = pd.read_csv(results / "scores.csv")
    assert set(scores["run"]) == {*RUNS.values(), "random-2layer.base"}
    assert scores["value"].notna().all()
    floors = scores[scores["metric"].isin(["nll", "bits_per_byte"])]["noise_floor"]
    assert floors.notna().all() and (floors > 0).all()
    for name in ("tradeoff", "learning_rate", "as_shipped", "epochs", "kl", *TOKEN_FIGURES):
        for suffix in ("pdf", "png", "csv"):
            assert (results / f"figures/{name}.{suffix}").stat().st_size > 100
    assert "| talr " in (results / "tables/tradeoff.md").read_text()
    page = (results / "answer_weights/random-2layer.esci-label_only.md").read_text()
    assert "carry the answer" in page and "| psft" in page
    nll = scores[scores["metric"] == "nll"].set_index("run")["value"]
    assert nll.drop("random-2layer.base").max() < nll["random-2layer.base"], "every method learns"
    for method, run in RUNS.items():
        report = json.loads((results / "runs" / run / "train.json").read_text())
        assert set(report) == {"run_info", "train_info", "meta_info"}
        assert report["run_info"]["config"]["run"] == run
        n_steps = 0 if method in MERGED else 12
        assert len(report["train_info"]["log"]) == report["train_info"]["n_steps"] == n_steps
        for record in report["train_info"]["log"]:
            assert {"loss", "nll", "mean_weight", "gradient_norm", "share_easy"} < set(record)
            assert ("tau" in record) == (method in ("talr", "flow"))
        assert not (results / "runs" / run / "model").exists(), "weights are temporary"
        epochs = report["train_info"].get("epochs", [])
        assert [e["step"] for e in epochs] == ([] if method in MERGED else [6, 12])
        assert (results / "runs" / run / "tokens.parquet").exists()
        for name in ("epochs.parquet", "training_tokens.parquet"):
            assert (results / "runs" / run / name).exists() == (method not in MERGED)
    assert not list(results.glob("state/**/*.pt"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["No study given", "--configfile"]),
        (
            ["--configfile", "config/studies/smoke.yaml", "--config", "seed=[0]"],
            ["config/studies/smoke.yaml", "seed: unknown key", "did you mean 'seeds'"],
        ),
        (
            ["--configfile", "config/studies/smoke.yaml", "--config", "study=other"],
            ["smoke.yaml", "'other' differs from the file's name", "study: smoke"],
        ),
        (
            [
                "--configfile",
                "config/studies/smoke.yaml",
                "--config",
                "evaluation={tasks: {pica: 1}}",
            ],
            ["evaluation.tasks: unknown task 'pica'", "did you mean 'piqa'"],
        ),
    ],
)
def test_a_wrong_study_stops_before_any_job(checkout, cache, arguments, words):
    done = snakemake(*arguments, cache=new_cache, cwd=checkout, check=False)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout + done.stderr
    assert [path.name for path in (checkout / "results").iterdir()] == ["published"]


@pytest.mark.parametrize("published", [False, True])
def test_doubled_keys_stop_before_any_job(checkout, cache, published):
    """Snakemake's own reader keeps the last of two: in one of several files, and in both modes."""
    (checkout / "more.yaml").write_text("seeds: [0]\nkeep_models: false\nseeds: [1]\n")
    files = ["--configfile", "more.yaml", "config/studies/smoke.yaml", "-n"]
    mode = ["--config", "results_source=published"] if published else []
    done = snakemake(*files, *mode, cache=new_cache, cwd=checkout, check=False)
    assert done.returncode != 0
    words = "more.yaml: line 3: key 'seeds' is given twice (first in line 1)"
    assert words in done.stdout + done.stderr


def test_several_files_and_overrides_make_one_study(checkout, cache):
    """Later files override earlier ones, and the command line both: only seed 3 has a run."""
    (checkout / "more.yaml").write_text("seeds: [7]\nkeep_models: true\n")
    files = ["--configfile", "more.yaml", "config/studies/smoke.yaml"]
    asked = ["--config", "smallest_gain=nll=0.5", "seeds=[3]"]
    run = "results/smoke/runs/random-2layer.esci-label_only.sft.lr1e-2.seed"
    planned = {
        seed: snakemake(
            "-n",
            f"{run}{seed}/train.json",
            *files,
            *asked,
            cache=cache,
            cwd=checkout,
            check=False,
        ).returncode
        == 0
        for seed in (0, 3, 7)
    }
    assert planned == {0: False, 3: True, 7: False}
