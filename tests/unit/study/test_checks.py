"""The paper's studies, what they need, and the data cards of what they read."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.assets.fetch import fetch_asset
from sft_tradeoff.assets.spec import HubAsset, LocalAsset
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.study.checks import check_assets, check_domains, check_files, unpinned_assets
from sft_tradeoff.study.config import load_study, parse_study
from sft_tradeoff.study.runs import RunConfig, expand_runs
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import atomic_write_json
from sft_tradeoff.system.validation import ConfigError
from tests.unit.domains.hub_files import medcalc_row, write_gsm8k, write_medcalc, write_metamath

PAPER = ("config/studies/paper.yaml", "config/studies/paper-math.yaml")
FROM_THE_HUB = (*PAPER, "config/studies/one-gpu.yaml")
COMMIT = "0123456789" * 4


def study(**changes):
    good = {
        "study": "mine",
        "models": ["random-2layer"],
        "domains": [{"name": "hub_medcalc"}, {"name": "hub_esci", "variant": "label_only"}],
        "methods": [{"name": "sft"}],
        "learning_rates": {"full": [1e-3]},
    }
    return parse_study(good | changes, "mine.yaml")


@pytest.mark.parametrize("path", PAPER)
def test_the_papers_studies_expand_to_the_stated_runs(path):
    paper = load_study(path)
    check_domains(paper, path)
    runs = expand_runs(paper)
    merges = [run for run in runs if run.merge_of is not None]
    stated = re.search(r"(\d+) runs \((\d+) trainings and (\d+) averages\)", paper.description)
    assert tuple(map(int, stated.groups())) == (len(runs), len(runs) - len(merges), len(merges))
    rates = {rate for run in runs for rate in [run.learning_rate] if run.method.name == "talr"}
    assert {1e-6, 5e-6, 2e-5} <= rates  # the paper's
    assert {m.name for m in paper.methods} == {
        "sft",
        "l2_reg",
        "lora",
        "wise_ft",
        "flow",
        "kl_reg",
        "talr",
    }


@pytest.mark.parametrize("path", FROM_THE_HUB)
def test_every_asset_of_a_study_from_the_hub_is_pinned(path):
    paper = load_study(path)
    assert unpinned_assets(paper, path) == ""
    assert all(re.fullmatch("[0-9a-f]{40}", asset.revision) for asset in hub_assets(paper))


def hub_assets(study):
    found = [asset for asset in study.assets.values() if isinstance(asset, HubAsset)]
    assert len(found) > 5
    return found


@pytest.mark.parametrize("revision", [{"revision": None}, {}])
def test_a_null_or_missing_revision_matters_where_the_asset_is_used(revision):
    hub = {"source": "hub", "repo": "a/b", "license": "MIT", **revision}
    found = unpinned_assets(
        study(assets={"esci": hub, "medcalc-bench": hub | {"revision": COMMIT}}), "mine.yaml"
    )
    assert found.startswith("mine.yaml: assets.esci.revision: the commit of a/b is not")
    assert "40 digits" in found and "source: local" in found and "\n" not in found
    local = {"source": "local", "path": "here"}
    assert not unpinned_assets(study(assets={"esci": local, "medcalc-bench": local}), "mine.yaml")
    assert not unpinned_assets(study(domains=[{"name": "math"}], assets={"x": hub}), "mine.yaml")
    model = {"models": ["m"], "model_catalogue": {"m": {"asset": "x"}}, "assets": {"x": hub}}
    found = unpinned_assets(study(domains=[{"name": "math"}], **model), "mine.yaml")
    assert found.startswith("mine.yaml: assets.x.revision")


def test_gsm8k_is_not_both_domain_test_and_general_ability():
    math = {"domains": [{"name": "hub_metamath"}], "evaluation": {"tasks": {"gsm8k": None}}}
    with pytest.raises(ConfigError, match=r"evaluation.tasks: 'gsm8k' tests what domain 'hub_m"):
        check_domains(study(**math), "mine.yaml")
    check_domains(study(evaluation={"tasks": {"gsm8k": None, "piqa": 4}}), "mine.yaml")
    check_domains(study(**math | {"evaluation": {"tasks": {"piqa": 4}}}), "mine.yaml")


def test_files_and_card_of_a_domain_that_is_read_from_two_assets(tmp_path):
    folders = [write_metamath(tmp_path / "metamathqa"), write_gsm8k(tmp_path / "gsm8k")]
    records = [tmp_path / "cache" / folder.name / "SOURCE.json" for folder in folders]
    for folder, record in zip(folders, records, strict=True):
        fetch_asset(folder.name, LocalAsset(source="local", path=str(folder)), record)
    hub = json.loads(records[0].read_text()) | {"source": "hub", "repo": "a/b", "revision": COMMIT}
    atomic_write_json(records[0], hub, checksum=True)
    spec = domain_spec(name="hub_metamath", n_train=5, n_validation=2, n_test=3)
    write_domain(spec, tmp_path / "out", folders, records)
    counts = {p.stem: len(p.read_text().splitlines()) for p in (tmp_path / "out").glob("*.jsonl")}
    assert counts == {"train": 5, "validation": 2, "test": 3}
    card = (tmp_path / "out/card.md").read_text()
    assert f"**Asset metamathqa:** a/b at commit `{COMMIT}` of the hub" in card
    digest = json.loads(records[1].read_text())["files"]["main/test-00000-of-00001.parquet"]
    assert f"main/test-00000-of-00001.parquet (sha256 `{digest['sha256']}`)" in card
    assert str(tmp_path) not in card
    assert (
        "- 0 of 12 training rows (0.00%) are left out: their question is in GSM8K's test.\n" in card
    )
    assert "- 3 calculator annotations (`<<48/2=24>>`) are removed from 3 of 3 test" in card
    assert "- The domain's rule grades 3 of 3 test responses as right.\n" in card
    with (folders[0] / "MetaMathQA-395K.json").open("ab") as file:
        file.write(b" ")
    folder = records[0].parent
    with pytest.raises(UserError, match=rf"'metamathqa' was fetched; delete the folder {folder}"):
        write_domain(spec, tmp_path / "out", folders, records)


def test_an_answer_beyond_its_own_limits_is_counted(tmp_path, caplog):
    test = [medcalc_row(1, "2", "A.", "5.0", "1.0", "2.0"), medcalc_row(2, "2", "B.", "5.0")]
    source, spec = (
        write_medcalc(tmp_path / "m", test=test),
        domain_spec(name="hub_medcalc", n_test=2),
    )
    write_domain(spec.model_copy(update={"n_validation": 0}), tmp_path / "out", [source])
    card = (tmp_path / "out/card.md").read_text()
    assert "- The domain's rule grades 1 of 2 test responses as right.\n" in card
    assert "the domain's rule grades 1 test responses as wrong" in caplog.text


def test_every_asset_must_be_given(tmp_path):
    spec = domain_spec(name="hub_metamath")
    with pytest.raises(UserError, match=r"from 2 assets \(metamathqa, gsm8k\), got 1"):
        write_domain(spec, tmp_path / "out", [tmp_path])


def test_the_command_reports_a_defect_in_one_line(tmp_path):
    source = write_medcalc(tmp_path / "m")
    text = (source / "test_data.csv").read_text().replace("25.238,23.976", "n/a,23.976")
    (source / "test_data.csv").write_text(text)
    spec = domain_spec(name="hub_medcalc", n_test=6)
    command = [
        "sft-tradeoff",
        "build-domain",
        "--spec",
        spec.model_dump_json(),
    ]
    command += ["--source", str(source), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "test_data.csv, row 1: 'Ground Truth Answer' is 'n/a', not a valid decimal" in done.stderr
    )
    assert not list(Path(tmp_path / "out").glob("*"))


def test_the_command_reports_every_file_and_fails_if_one_is_wrong(tmp_path, capsys):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("study: wrong\n")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", str(wrong), "config/studies/quick.yaml", str(tmp_path / "wrogn.yaml")])
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == "config/studies/quick.yaml: valid study 'quick'\n"
    missing = "models, domains, methods, learning_rates"
    assert f"{wrong}:\n  {missing}: missing; add it" in err
    assert f"{tmp_path / 'wrogn.yaml'}: no such study; did you mean 'wrong'?" in err


def test_all_studies_of_the_project_are_valid_with_the_template_among_them(capsys):
    paths = sorted(str(path) for path in Path("config/studies").glob("*.yaml"))
    cli.main(["check", *paths])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(paths) >= 5
    assert "config/studies/own.yaml: valid template for make own" in lines


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["runs", "--study", "config/studies/quick.yaml"], "config/studies/quick.yaml: not found"),
        (["check", "config/studies/quick.yaml"], "run the command in the project's folder"),
    ],
)
def test_another_folder_is_named_with_the_fix(tmp_path, monkeypatch, capsys, command, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    assert stopped.value.code == 1
    err = capsys.readouterr().err
    assert words in err and str(tmp_path) in err and "Traceback" not in err


@pytest.mark.parametrize("stage", ["runs", "cost"])
def test_an_unknown_study_ends_with_the_nearest_name(stage, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([stage, "--study", "config/studies/quik.yaml"])
    assert stopped.value.code == 1
    expected = "config/studies/quik.yaml: no such study; did you mean 'quick'?"
    assert expected in capsys.readouterr().err


def test_files_and_tokens_are_checked_before_any_job():
    own = {"name": "own", "path": "x" * 300}
    for changes, words in [
        ({"domains": [own]}, r"domains\.0\.path: 'xxx.* does not exist; correct the path"),
        (
            {"domains": [{"name": "esci", "max_new_tokens": 1024}]},
            r"domains\.0\.max_new_tokens: 1024 leaves no tokens for a prompt within evaluation",
        ),
        (
            {"methods": [{"name": "sft"}, {"name": "sft", "label": "b"}]},
            "differ only in their label; remove one",
        ),
    ]:
        with pytest.raises(ConfigError, match=words):
            check_files(study(**{"domains": [{"name": "math"}]} | changes), "mine.yaml", BENCHMARKS)


def test_the_best_epoch_needs_validation_examples():
    domains = [{"name": "esci", "n_validation": 0}]
    good = study(domains=domains)
    check_files(good, "mine.yaml", BENCHMARKS)
    assert {run.validation for run in expand_runs(good)} == {None}
    wrong = study(domains=domains, training={"select": "best_domain"})
    with pytest.raises(
        ConfigError, match=r"domains\.0\.n_validation: 0, but training\.select: best"
    ):
        check_files(wrong, "mine.yaml", BENCHMARKS)


def test_only_what_scores_the_epochs_is_part_of_a_run():
    """Averages train nothing; tasks of the suite and the backend do not touch the choice."""
    methods = [{"name": "sft"}, {"name": "wise_ft"}]
    evaluation = {"tasks": {"piqa": 3}, "max_length": 500, "dtype": "float32", "backend": "vllm"}
    chosen = study(methods=methods, training={"select": "best_domain"}, evaluation=evaluation)
    for run in expand_runs(chosen):
        if run.merge_of is not None:
            assert run.validation is None
        else:
            spec = run.validation.evaluation
            assert (spec.max_length, spec.dtype, spec.backend) == (500, "float32", "hf")
            assert spec.tasks == {}
            kept = run.model_dump(mode="json")["validation"]["evaluation"]
            assert set(kept) == {"batch_size", "batch_tokens", "dtype", "max_length"}
            assert RunConfig.model_validate_json(run.model_dump_json()) == run


def test_a_local_model_that_is_not_there_can_only_be_planned(tmp_path):
    entry = {"source": "local", "path": str(tmp_path / "mine")}
    model = {
        "models": ["mine"],
        "model_catalogue": {"mine": {"asset": "m"}},
        "assets": {"m": entry},
    }
    mine = study(domains=[{"name": "math"}], **model)
    check_files(mine, "mine.yaml", BENCHMARKS)
    with pytest.raises(ConfigError, match=r"assets\.m\.path: '.*mine' does not exist; correct the"):
        check_assets(mine, "mine.yaml")
    (tmp_path / "mine").mkdir()
    check_assets(mine, "mine.yaml")
