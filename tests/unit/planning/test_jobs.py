"""What jobs ask for and depend on."""

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import grimp
import pytest

from sft_tradeoff.assets.spec import HubAsset, LocalAsset
from sft_tradeoff.domains.registry import SPECS
from sft_tradeoff.planning import jobs
from sft_tradeoff.report.figures import FIGURES
from sft_tradeoff.system.code import SOURCE

DOMAINS = {"medcalc", "hub_medcalc", "esci", "hub_esci", "math", "hub_metamath", "own"}


def test_a_pattern_matches_its_names_and_nothing_else():
    pattern = jobs.one_of(["a.b", "c"])
    assert re.fullmatch(pattern, "a.b") and re.fullmatch(pattern, "c")
    assert not re.fullmatch(pattern, "axb")
    assert not re.search(jobs.one_of([]), "a.b")


def test_memory_grows_with_parameters_processes_and_attempts(tmp_path):
    """865 million parameters more than the small model, at 20 bytes: 17300 MB."""
    record = tmp_path / "MODEL.json"
    needed = jobs.memory_mb(5000, 20, processes=2)
    inputs = ["tokens.npz", str(record)]
    assert needed(None, inputs, attempt=1) == 10000, "not built yet"
    record.write_text(json.dumps({"n_parameters": 10**9}))
    assert needed(None, inputs, attempt=1) == 2 * (5000 + 17300)
    assert needed(None, inputs, attempt=3) == 3 * 2 * (5000 + 17300)
    assert jobs.growing(10)(None, attempt=3) == 30
    planned = str(tmp_path / "models/warm/MODEL.json")  # a job of the study builds it
    needed = jobs.memory_mb(5000, 20, same_size={planned: str(record)})
    assert needed(None, ["tokens.npz", planned], attempt=1) == 5000 + 17300


def test_only_what_the_user_may_change_counts(tmp_path):
    hub = HubAsset(source="hub", repo="a/b", licence="MIT", revision="0" * 40)
    assert jobs.local_files(hub) == ""
    local = LocalAsset(source="local", path=str(tmp_path))
    (tmp_path / "b").write_text("1")
    (tmp_path / "a").write_text("22")
    names = [line.split()[:2] for line in jobs.local_files(local)]
    assert names == [[str(tmp_path / "a"), "2"], [str(tmp_path / "b"), "1"]]
    assert len(jobs.local_files(LocalAsset(source="local", path=str(tmp_path / "a")))) == 1
    assert len(jobs.own_data_digest(str(tmp_path / "a"))) == 64
    assert jobs.own_data_digest(None) == jobs.own_data_digest(str(tmp_path / "gone")) == ""


def test_arguments_survive_a_shell():
    assert jobs.source_arguments(["a b"], ["c'd"]) == ("--source 'a b' --source-record 'c'\"'\"'d'")
    assert jobs.source_arguments(["a b"], []) == ""
    assert jobs.model_folder("cache/m/MODEL.json") == "cache/m"
    assert jobs.model_folder("runs/r/model") == "runs/r/model"


def test_every_domain_has_code(monkeypatch):
    found = {name: jobs.domain_code(name) for name in DOMAINS}
    assert len(set(found.values())) == len(DOMAINS)
    monkeypatch.setitem(SPECS, "one_file", SimpleNamespace(module=lambda: "draw"))
    assert jobs.domain_code("one_file") not in found.values()
    assert jobs.tokenization_code("esci") != jobs.tokenization_code("math")


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_has_code(figure):
    code = jobs.report_code(f"figures/{figure}.py")
    assert code != jobs.report_code("tables.py")
    assert code.endswith(jobs.aggregation_code())


# Wings whose code a digest has to hold; others have a recipe version, or do not change results.
HELD = ("analysis", "chat", "domains", "grading", "report", "stats", "theory", "tokens")
PACKAGE = "sft_tradeoff"
STAGES = {
    **{
        ("domains.build", f"domains.{SPECS[d].module()}"): (jobs.domain_code, d)
        for d in sorted(DOMAINS)
    },
    **{
        ("tokens.tokenize", f"domains.{SPECS[d].module()}"): (jobs.tokenization_code, d)
        for d in sorted(DOMAINS)
    },
    **{
        ("report.answer_weights", f"domains.{SPECS[d].module()}"): (jobs.answer_weights_code, d)
        for d in sorted(DOMAINS)
    },
    ("analysis.aggregate",): (jobs.aggregation_code,),
    ("report.tables",): (jobs.report_code, "tables.py"),
    ("report.breakpoints",): (
        jobs.report_code,
        *("breakpoint*.py", "figures/style.py", "recommend*.py", "tables.py"),
    ),
    ("report.claims",): (jobs.claims_code,),
    ("report.page.write",): (jobs.page_code,),
    ("report.theory",): (jobs.theory_code,),
    ("report.recommend",): (jobs.report_code, "recommend*.py", "tables.py"),
    ("report.cross_domain",): (
        jobs.report_code,
        *("cross_domain*.py", "figures/style.py", "tables.py"),
    ),
    **{
        ("report.figures.draw", f"report.figures.{figure}"): (
            jobs.report_code,
            *(f"figures/{module}.py" for module in (figure, "style", "draw")),
        )
        for figure in FIGURES
    },
}


@cache
def imports():
    """Without the builders of the suite, because aggregation only reads the registry."""
    graph = grimp.build_graph(PACKAGE)
    for module in graph.find_descendants(f"{PACKAGE}.suite"):
        graph.remove_module(module)
    return graph


@pytest.mark.parametrize(("modules", "call"), STAGES.items(), ids=map("+".join, STAGES))
def test_a_digest_holds_all_that_its_stage_imports(monkeypatch, modules, call):
    held = set()

    def record(*patterns):
        for pattern in patterns:
            root = SOURCE
            below = f"{pattern}/**/*.py" if (root / pattern).is_dir() else pattern
            held.update(
                ".".join(Path(p).relative_to(root).with_suffix("").parts) for p in root.glob(below)
            )
        return ""

    monkeypatch.setattr(jobs, "code_digest", record)
    function, *arguments = call
    function(*arguments)
    used = {name for m in modules for name in imports().find_upstream_modules(f"{PACKAGE}.{m}")}
    used |= {f"{PACKAGE}.{module}" for module in modules}
    needed = {name.removeprefix(f"{PACKAGE}.") for name in used}
    needed = {name for name in needed if name.split(".")[0] in HELD} - {"report.figures"}
    # The registry imports the settings of all domains; those of this one are in its parameters.
    needed -= {spec.__module__.removeprefix(f"{PACKAGE}.") for spec in SPECS.values()}
    needed -= {"domains.registry", "domains.spec", "domains.card"}  # no example depends on them
    assert len(needed) > 2
    assert needed - {name.removesuffix(".__init__") for name in held} == set()


def test_comments_of_task_files_do_not_count(tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text("# one\ntask: a\n")
    before = jobs.task_files_digest(tmp_path)
    task.write_text("# two\ntask: a\n")
    assert jobs.task_files_digest(tmp_path) == before
    task.write_text("# two\ntask: b\n")
    assert jobs.task_files_digest(tmp_path) != before
