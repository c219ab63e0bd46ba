"""Which change of the code repeats which jobs, as Snakemake plans them."""

import re
from pathlib import Path

import pytest
from tests.conftest import snakemake

pytestmark = pytest.mark.workflow
SMOKE = ("--configfile", "config/studies/smoke.yaml")
REPORT = {"tables", "figure", "recommend", "breakpoints", "claims", "page"}
AFTER_SCORES = {"aggregate", "token_tables", *REPORT}
# What follows from other examples: all but the general suite.
EVALUATION = {"kl_reference", "evaluate", "noise_floor"}
TRAINING = {"reference", "answer_weights", "train", "merge"}
AFTER_DATA = {"tokenize", *TRAINING, *EVALUATION, *AFTER_SCORES}
CODE = "\n\ndef added():\n    return 1\n"
SOURCE = Path("src/sft_tradeoff")


@pytest.fixture
def finished(checkout, tmp_path, monkeypatch):
    """A smoke study that Snakemake takes for finished: empty files, with metadata for each."""
    monkeypatch.chdir(checkout)
    cache = tmp_path / "cache"
    summary = snakemake("--summary", *SMOKE, cache=cache, cwd=checkout).stdout
    for line in summary.splitlines()[1:]:
        path = checkout / line.split("\t")[0]
        if path.name != "model":  # weights are temporary
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"n_parameters": 1}' if path.name == "MODEL.json" else path.name)
    snakemake("--touch", "--forceall", *SMOKE, cache=cache, cwd=checkout)
    assert planned(checkout, cache) == set()
    return checkout, cache


def planned(checkout, cache, *arguments):
    """Rules of the jobs that Snakemake would run."""
    done = snakemake("-n", *SMOKE, *arguments, cache=cache, cwd=checkout)
    rows = re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, re.MULTILINE)
    return set(rows) - {"total", "all"}


def change(name, added):
    """Append to a module; the way back."""
    module = SOURCE / name
    before = module.read_text()
    module.write_text(before + added)
    return lambda: module.write_text(before)


def test_jobs_repeat_when_their_own_code_changes(finished):
    changes = {
        "domains/esci/wording.py": {"domain_data", *AFTER_DATA},
        "grading/text.py": {"domain_data", *AFTER_DATA},
        "tokens/round_trip.py": AFTER_DATA,
        "objectives/talr.py": {"answer_weights", "page", "recommend"},
        "analysis/scores.py": AFTER_SCORES,
        # Snakemake plans what follows in its next call; a study has `material` made first.
        "suite/registry.py": {"benchmark_data"},
        "assets/records.py": {"benchmark_data"},  # ESCI is generated
        "report/figures/tradeoff.py": {"figure"},
        "report/figures/style.py": {"figure", "breakpoints", "claims", "page"},
        "report/tables.py": REPORT - {"figure"},
        "report/recommendation_page.py": {"recommend", "breakpoints", "page"},
        "report/claims_page.py": {"claims", "page"},
        "report/page/points.py": {"page"},
    }
    found = {}
    for name in changes:
        undo = change(name, CODE)
        found[name] = planned(*finished)
        undo()
    assert found == changes


def test_nothing_repeats_for_comments_and_for_code_whose_recipe_has_a_version(finished):
    elsewhere = ("math/generated.py", "draw.py", "registry.py", "card.py")
    others = ("training/loop.py", "evaluation/lm.py", "grading/numbers.py")
    for name in (*(f"domains/{name}" for name in elsewhere), *others):
        change(name, CODE)
    change("domains/esci/catalogue.py", "\n# A comment.\n")
    change("grading/text.py", "\n\n\n")
    (SOURCE / "domains/another.py").write_text(CODE)
    task = Path("workflow/tasks/asdiv.yaml")
    task.write_text(task.read_text() + "# A comment.\n")
    assert planned(*finished) == set()


def test_the_slurm_profile_plans_the_same_and_without_metadata_nothing_repeats(finished):
    change("tokens/round_trip.py", CODE)
    slurm = ("--workflow-profile", "workflow/profiles/slurm")
    assert planned(*finished, *slurm) == AFTER_DATA
    checkout, cache = finished
    for path in (checkout / ".snakemake/metadata").iterdir():
        path.unlink()
    assert planned(checkout, cache) == set()
