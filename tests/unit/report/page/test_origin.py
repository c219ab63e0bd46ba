"""Methods and provenance of the page."""

from __future__ import annotations

import json

import pytest

from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.report.page import origin
from tests.conftest import ROOT
from tests.finished_study import RUN

QUICK = ROOT / "results/published/quick"


def test_a_method_has_formula_source_and_options():
    sft, talr = origin.methods(read_run_table(QUICK / "run_table.csv"), QUICK / "runs")
    assert sft["formula"] == "" and "negative log-likelihood" in sft["text"][0]
    assert talr["formula"].startswith("minimize over w") and "p_θ(xᵢ)^{1/τ}" in talr["formula"]
    assert talr["source"] == METHODS["talr"].source
    (variant,) = talr["variants"]
    assert variant["label"] == "talr" and 'tau = "median"' in variant["options"]
    assert "quantile" not in variant["options"], "it is null"


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"sft"}))
def test_the_formula_of_every_method_is_found(name):
    assert origin.method_text(name)["formula"], "no paragraph begins like a formula"


def test_a_method_of_another_version_is_named():
    found = origin.method_text("nonesuch")
    assert (found["source"], found["text"]) == ("", [])


def test_provenance_names_commits_hardware_time_and_hashes(study):
    results = study[1]
    facts = dict(
        origin.provenance(read_run_table(results / "run_table.csv"), results / "runs", results)
    )
    assert "Published" not in facts
    assert facts["Computed at commit"] == ["c" * 40] and facts["Hardware"] == ["x86_64 AVX512"]
    assert facts["Training"] == ["14 s in 2 runs (7 s each)"]
    assert f"piqa {'0' * 64}" in facts["SHA-256 of test items"]


def test_uncommitted_changes_are_told(study):
    results = study[1]
    path = results / "runs" / RUN / "train.json"
    record = json.loads(path.read_text())
    record["run_info"]["git_dirty"] = True
    path.write_text(json.dumps(record))
    facts = dict(
        origin.provenance(read_run_table(results / "run_table.csv"), results / "runs", results)
    )
    assert "uncommitted" in facts["Computed at commit"][0]
