"""`make figures` in a checkout with random file times: everything is drawn, nothing is trained."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import ROOT, snakemake
from tests.finished_study import TABLES, make_finished_study

from sft_tradeoff.report import figures
from sft_tradeoff.report.figures import table_of
from sft_tradeoff.report.publish import publish

pytestmark = pytest.mark.workflow
RULES = {"all", "tables", "figure", "recommend", "breakpoints", "claims", "page"}
PUBLISHED = ("--snakefile", "workflow/published.smk")
FIGURES = [figure for figure in figures.FIGURES if table_of(figure) in TABLES]  # of any study
DRAWN = [
    *(f"{figure}.{suffix}" for figure in FIGURES for suffix in ("pdf", "png", "csv")),
    *(f"tables/tradeoff.{suffix}" for suffix in ("csv", "md", "tex")),
    *(f"breakpoints.{suffix}" for suffix in ("md", "csv", "pdf", "png")),
    *(f"claims.{suffix}" for suffix in ("md", "json", "csv", "pdf", "png")),
    "recommendation.md",
    "recommendation.json",
]

# Runs a command line of Snakemake or of ours, and prints what it imported of these packages.
WATCHED = """
import json, socket, sys
def refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise OSError("the network is blocked")
socket.socket.connect = refuse
name, *arguments = json.loads(sys.argv[1])
if name == "snakemake":
    from snakemake.cli import main
else:
    from sft_tradeoff.cli import main
try:
    main(arguments)
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"torch", "transformers", "datasets", "lm_eval", "accelerate", "peft"}
print("\\n" + json.dumps(sorted(heavy & set(sys.modules))))
"""


@pytest.fixture
def clone(checkout, monkeypatch):
    """A checkout with one published study and no results."""
    monkeypatch.chdir(checkout)
    shutil.rmtree(checkout / "results")
    study_file, results = make_finished_study(checkout)
    with study_file.open("a") as file:
        file.write("tolerance: bits_per_byte=0.9\nsmallest_gain: {nll: 0.07}\n")
    publish(study_file, results, checkout / "results/published/tiny")
    shutil.rmtree(results)
    return checkout


def shuffle_times(clone, seed):
    """Give every file a time of the past ten years, or of tomorrow."""
    rng, now = random.Random(seed), time.time()
    for path in sorted(clone.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            then = now - rng.uniform(-86400, 10 * 365 * 86400)
            os.utime(path, (then, then))


def make_figures(clone, *arguments, check=True):
    """Run the target with the Python of the tests; its set-up counts as done."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "-o", ".venv/installed.lock", "figures", "CORES=2", *arguments]
    done = subprocess.run(
        command, cwd=clone, env=dict(os.environ, PATH=path), capture_output=True, text=True
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done


def drawn_files(clone):
    return {name: (clone / "figures/tiny" / name).read_bytes() for name in DRAWN}


def test_random_file_times_draw_everything_and_train_nothing(clone):
    """Twice, so that the second time there are older drawings; one file of them is spoiled."""
    shuffle_times(clone, seed=1)
    before = contents(clone / "results/published")
    done = make_figures(clone)
    assert jobs_of(done) == RULES
    first = drawn_files(clone)
    assert b"| sft " in first["tables/tradeoff.md"] and len(first["tradeoff.png"]) > 1000
    assert b"0.9 bits" in first["recommendation.md"], "the tolerance of the published study"
    assert b"0.07 nats" in first["recommendation.md"], "and its smallest gain"

    (clone / "figures/tiny/tradeoff.csv").write_text("spoiled\n")
    shuffle_times(clone, seed=2)
    done = make_figures(clone, "STUDY=tiny")
    assert jobs_of(done) == RULES
    assert drawn_files(clone) == first
    assert contents(clone / "results/published") == before, "what is published is only read"
    assert sorted(path.name for path in (clone / "results").iterdir()) == ["logs", "published"]


def heavy_imports(clone, *command):
    """Packages for training and evaluation that a command imports, without a network."""
    call = [sys.executable, "-c", WATCHED, json.dumps(command)]
    done = subprocess.run(call, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_planning_and_drawing_import_nothing_that_trains_and_need_no_network(clone):
    published, drawn = "results/published/tiny", "figures/tiny"
    table = ("--tradeoff", f"{published}/tradeoff_over_seeds.csv")
    runs = ("--run-table", f"{published}/run_table.csv", "--runs", f"{published}/runs")
    assert heavy_imports(clone, "snakemake", *PUBLISHED, "-n", "--forceall", "--cores=1") == []
    assert heavy_imports(clone, "ours", "tables", *table, "--out-dir", f"{drawn}/tables") == []
    for figure in FIGURES:
        read = ("--table", f"{published}/{table_of(figure)}")
        stem = ("--out-stem", f"{drawn}/{figure}")
        assert heavy_imports(clone, "ours", "figure", figure, *read, *stem) == []
    page = ("--out", f"{drawn}/recommendation.md")
    assert heavy_imports(clone, "ours", "recommend", *table, *runs, *page) == []
    stem = ("--out-stem", f"{drawn}/breakpoints")
    assert heavy_imports(clone, "ours", "breakpoints", *table, *runs, *stem) == []
    stem = ("--out-stem", f"{drawn}/claims")
    assert heavy_imports(clone, "ours", "claims", *runs, *stem) == []
    folders = ("--tables", published, "--reports", drawn)
    assert heavy_imports(clone, "ours", "report", "tiny", *folders) == []
    assert drawn_files(clone)
    assert "torch" in heavy_imports(clone, "ours", "merge", "--help"), (
        "the check notices such a one"
    )


def test_what_is_published_is_redrawn_unchanged(checkout):
    """Every number of tables, figures and recommendation; pictures may differ with fonts."""
    shutil.rmtree(checkout / "figures", ignore_errors=True)
    snakemake(*PUBLISHED, "--forceall", cwd=checkout)
    tables = {path.name for path in (ROOT / "results/published/quick").iterdir()}
    others = {f"{figure}.csv" for figure in FIGURES if table_of(figure) not in tables}
    drawn = {name for name in DRAWN if not name.endswith(("pdf", "png"))} - others
    for name in drawn:
        redrawn = (checkout / "figures/quick" / name).read_text()
        assert redrawn == (ROOT / "figures/quick" / name).read_text(), name


def test_no_rule_that_trains_or_evaluates_exists_and_none_is_planned_without_force(clone):
    """Without --forceall file times decide what is planned; whatever they decide, it is drawing."""
    listed = snakemake(*PUBLISHED, "--list-rules", cwd=clone).stdout.split()
    assert set(listed) == RULES | {"cross_domain", "theory"}
    shuffle_times(clone, seed=3)
    assert jobs_of(snakemake(*PUBLISHED, "-n", cwd=clone)) == RULES


def test_the_normal_snakefile_has_no_way_to_training_in_published_mode(clone):
    """The same study is planned with training if it is fresh: the mode makes the difference."""
    study_file = clone / "config/studies/tiny.yaml"
    arguments = ["--configfile", "config/studies/tiny.yaml", "-n"]
    shuffle_times(clone, seed=4)
    assert {"train", "evaluate", "recommend"} < jobs_of(snakemake(*arguments, cwd=clone))
    switch = ["--config", "results_source=published"]
    assert jobs_of(snakemake(*arguments, *switch, cwd=clone)) == RULES
    assert jobs_of(snakemake(*arguments, "--forceall", *switch, cwd=clone)) == RULES
    study_file.write_text(study_file.read_text() + "results_source: published\n")
    assert jobs_of(snakemake(*arguments, cwd=clone)) == RULES
    listed = snakemake(*arguments, "--list-rules", cwd=clone).stdout.split()
    assert set(listed) == RULES | {"cross_domain", "theory"}


def test_a_crossed_study_is_drawn_as_a_matrix(clone):
    """From what is published; the other study of the checkout is not crossed."""
    published = clone / "results/published/tiny"
    study_file, results = make_finished_study(clone, crossed=True)
    publish(study_file, results, published, replace=True)
    fresh = snakemake("--configfile", "config/studies/tiny.yaml", "-n", cwd=clone)
    assert "cross_domain" in jobs_of(fresh)
    done = snakemake(*PUBLISHED, "--config", "study=tiny", cwd=clone)
    assert jobs_of(done) == RULES | {"cross_domain"}
    page = (clone / "figures/tiny/cross_domain.md").read_text()
    assert "trained on math-cot" in page and "| esci-label_only |" in page
    assert (clone / "figures/tiny/cross_domain.png").stat().st_size > 1000


def test_tables_alone_give_no_recommendation(clone):
    """Published without the files of the runs, as if too large: figures and tables are drawn."""
    study_file, results = make_finished_study(clone)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sft_tradeoff.report.publish.MAX_RUNS_BYTES", 1000)
        publish(study_file, results, clone / "results/published/tiny", replace=True)
    assert jobs_of(snakemake(*PUBLISHED, "-n", cwd=clone)) == RULES - {
        "recommend",
        "breakpoints",
        "claims",
        "page",
    }


def test_a_changed_file_stops_before_anything_is_drawn(clone):
    table = clone / "results/published/tiny/tradeoff_over_seeds.csv"
    table.write_text(table.read_text().replace("0.5", "0.6", 1))
    done = make_figures(clone, "STUDY=tiny", check=False)
    assert done.returncode != 0
    assert "results/published/tiny/tradeoff_over_seeds.csv: changed" in done.stdout + done.stderr
    assert not (clone / "figures/tiny").exists()
    done = make_figures(clone, "STUDY=other", check=False)
    assert "study 'other' is not published" in done.stdout + done.stderr


def test_its_workflow_passes_the_linter(clone):
    assert "Congratulations" in (done := snakemake(*PUBLISHED, "--lint", cwd=clone)).stderr, done


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def jobs_of(done):
    """Rules in Snakemake's table of jobs, without the one whose figures depend on no study."""
    rows = re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, re.MULTILINE)
    return set(rows) - {"total", "theory"}
