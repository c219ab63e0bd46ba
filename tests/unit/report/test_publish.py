"""What is published, completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.aggregate import aggregated
from sft_tradeoff.analysis.tables import read_run_table
from sft_tradeoff.report import publish as module
from sft_tradeoff.report.publish import ABSOLUTE_PATH, publish
from sft_tradeoff.report.published import PublishError, crossed, verify
from tests.finished_study import (
    BASE,
    OTHER_RUN,
    RECORDS,
    RUN,
    STUDY,
    TABLES,
    contents,
    make_finished_study,
    write_tables,
)

Study = tuple[Path, Path]


def test_published_are_tables_records_and_items_but_no_weights(study: Study, out: Path) -> None:
    weights = study[1] / "runs" / RUN / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"\0" * 100)
    publish(*study, out)
    found = contents(out)
    assert set(found) == TABLES | RECORDS | {"study.yaml", "MANIFEST.json", "MANIFEST.sha256"}
    for name in TABLES | RECORDS:
        assert found[name] == (study[1] / name).read_bytes()
    assert found["study.yaml"].decode() == STUDY
    assert [path.name for path in out.parent.iterdir()] == ["tiny"], "nothing temporary is left"


def test_weights_of_the_answer_are_published_where_there_are_some(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study with a method that weighs tokens; older results have none."""
    names = ["answer_weights/m.d.csv", "answer_weights/m.older.csv"]
    monkeypatch.setattr(module, "answer_weight_files", lambda _: names)
    (study[1] / "answer_weights").mkdir()
    (study[1] / names[0]).write_text("model,domain\nm,d\n")
    publish(*study, out)
    assert (out / names[0]).read_text() == "model,domain\nm,d\n"
    assert not (out / names[1]).exists()
    verify(out)


def test_a_crossed_study_is_published_with_the_scores_on_all_domains(tmp_path: Path) -> None:
    """Everything that its matrix is drawn from."""
    study_file, results = make_finished_study(tmp_path, crossed=True)
    out = tmp_path / "published" / "tiny"
    publish(study_file, results, out)
    assert crossed(out.parent, ["tiny"]) == ["tiny"]
    items = pd.read_parquet(out / "runs" / RUN / "items.parquet")
    assert {"esci-label_only", "math-cot"} < set(items["benchmark"])


def test_tables_can_be_made_again_from_what_is_published(published: Path) -> None:
    runs = read_run_table(published / "run_table.csv")
    scores, tradeoff, _ = aggregated(runs, published / "runs")
    assert scores.to_csv(index=False) == (published / "scores.csv").read_text()
    assert tradeoff.to_csv(index=False) == (published / "tradeoff.csv").read_text()


def test_manifest_names_every_file_and_the_origin(published: Path) -> None:
    manifest = json.loads((published / "MANIFEST.json").read_text())
    assert set(manifest["files"]) == TABLES | RECORDS | {"study.yaml"}
    for name, entry in manifest["files"].items():
        data = (published / name).read_bytes()
        assert entry == {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert (manifest["study"], manifest["n_runs"]) == ("tiny", 3)
    assert manifest["runs_included"] is manifest["answers_included"] is True
    assert manifest["computed"] == {
        "git_commit": ["c" * 40],
        "git_dirty": False,
        "python": ["3.11.7"],
        "packages": {"numpy": ["2.4.6"]},
        "hardware": ["x86_64 AVX512"],
    }
    assert set(manifest["published"]) == {"date", "git_commit", "git_dirty"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", manifest["published"]["date"])


def test_settings_digest_changes_with_a_setting_only(study: Study, out: Path) -> None:
    """A comment is not a setting; the digest covers what determines the runs."""
    digests = []
    for text in (STUDY, STUDY + "# a comment\n", STUDY.replace("epochs: 2", "epochs: 3")):
        study[0].write_text(text)
        make = module._facts(module.load_study(study[0]), study[1])
        digests.append(make["settings_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_versions_of_all_runs_are_listed(study: Study, out: Path) -> None:
    path = study[1] / "runs" / RUN / "train.json"
    record = json.loads(path.read_text())
    record["meta_info"] |= {"packages": {"numpy": "2.5.0"}}
    record["run_info"] |= {"git_commit": "d" * 40, "git_dirty": True}
    path.write_text(json.dumps(record))
    publish(*study, out)
    computed = json.loads((out / "MANIFEST.json").read_text())["computed"]
    assert computed["packages"] == {"numpy": ["2.4.6", "2.5.0"]}
    assert computed["git_commit"] == ["c" * 40, "d" * 40] and computed["git_dirty"] is True


def test_a_large_study_keeps_its_tables_only_and_says_so(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_RUNS_BYTES", 1000)
    publish(*study, out)
    assert "their answers are not published" in caplog.text
    assert set(contents(out)) == TABLES | {"study.yaml", "MANIFEST.json", "MANIFEST.sha256"}
    assert json.loads((out / "MANIFEST.json").read_text())["runs_included"] is False
    assert "only tables are published" in caplog.text
    verify(out)


def test_answers_are_left_out_first(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Just enough room for records and items."""
    needed = RECORDS - {f"runs/{run}/answers.parquet" for run in (BASE, RUN, OTHER_RUN)}
    size = sum((study[1] / name).stat().st_size for name in needed)
    monkeypatch.setattr(module, "MAX_RUNS_BYTES", size)
    publish(*study, out)
    assert set(contents(out)) == TABLES | needed | {
        "study.yaml",
        "MANIFEST.json",
        "MANIFEST.sha256",
    }
    manifest = json.loads((out / "MANIFEST.json").read_text())
    assert (manifest["runs_included"], manifest["answers_included"]) == (True, False)
    assert "their answers are not published" in caplog.text
    assert "only tables" not in caplog.text


def test_what_a_model_wrote_may_look_like_a_path(study: Study, out: Path) -> None:
    path = study[1] / "runs" / RUN / "answers.parquet"
    answers = pd.read_parquet(path).assign(text="open('/home/me/data')", parsed="/home/me")
    answers.to_parquet(path, index=False)
    publish(*study, out)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "runs" / RUN / path.name), answers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"path": "/home/me/data.jsonl"', "/home/me/data.jsonl"),
        ("path: /scratch/x", "/scratch/x"),
        ("file:///srv/data", "file:///srv/data"),
        ("error:/opt/models/", "/opt/models/"),
        ("[/data/a.csv, 1]", "/data/a.csv"),
        ("https://example.org/a/b", None),
        ("mg/dL/min, and / or, </think>, ~/data/x, a/b/c", None),
        ("HumanEval/0, ../data/x, ./data/x", None),
    ],
)
def test_absolute_paths_are_distinguished_from_lookalikes(text: str, found: str | None) -> None:
    match = ABSOLUTE_PATH.search(text)
    assert (match and match[0]) == found


def test_paths_within_the_repository_become_relative(study: Study, out: Path) -> None:
    here = Path.cwd()
    study[0].write_text(f"{STUDY}# see {here}/data/notes.txt\n")
    publish(*study, out)
    text = (out / "study.yaml").read_text()
    assert "see data/notes.txt" in text and str(here) not in text
    verify(out)


@pytest.mark.parametrize("comment", ["# from /home/me/notes", "# ran on box-7, at night"])
def test_machine_paths_and_names_are_refused(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, comment: str
) -> None:
    monkeypatch.setattr(module.socket, "gethostname", lambda: "box-7.example.org")
    study[0].write_text(f"{STUDY}{comment}\n")
    with pytest.raises(PublishError, match=r"tiny\.yaml: '(/home/me/notes|box-7)' is a path"):
        publish(*study, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("host", "comment", "refused"),
    [
        ("runner", "# the runner-up, a runner", False),
        ("a100", "# on an a100", False),
        ("runner.lab.example", "# on runner.lab.example", True),
        ("node-17", "# on node-17b", False),
        ("node-17", "# on node-17", True),
        ("", "# nowhere", False),
    ],
)
def test_only_identifying_host_names_are_refused(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, host: str, comment: str, refused: bool
) -> None:
    monkeypatch.setattr(module.socket, "gethostname", lambda: host)
    study[0].write_text(f"{STUDY}{comment}\n")
    with pytest.raises(PublishError) if refused else contextlib.nullcontext():
        publish(*study, out)
    assert out.exists() != refused


def test_machine_paths_in_the_ids_of_items_are_refused(study: Study, out: Path) -> None:
    for run in (BASE, RUN, OTHER_RUN):
        path = study[1] / "runs" / run / "items.parquet"
        items = pd.read_parquet(path)
        items["item"] = "/home/me/" + items["item"]
        items.to_parquet(path, index=False)
    write_tables(*study)
    with pytest.raises(PublishError, match=r"items\.parquet: '/home/me/0'"):
        publish(*study, out)


def test_a_failure_in_the_middle_leaves_nothing(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        publish(*study, out)
    assert list(out.parent.iterdir()) == []


def test_a_failure_in_the_middle_keeps_what_was_published(
    study: Study, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second rename fails: the previous folder, which the first moved aside, is restored."""
    before, rename = contents(published), os.rename
    study[0].write_text(STUDY + "# changed\n")

    def failing(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        publish(*study, published, replace=True)
    assert contents(published) == before
    assert [path.name for path in published.parent.iterdir()] == ["tiny"]


def test_a_kill_leaves_nothing_under_the_final_name_and_the_next_one_cleans_up(
    study: Study, out: Path
) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from sft_tradeoff.report import publish\n"
        "publish._write_checksums = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "publish.publish(*map(Path, sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, (*study, out))])
    assert done.returncode == -9
    assert not out.exists() and list(out.parent.glob(".tiny-*/new/scores.csv"))
    publish(*study, out)
    assert [path.name for path in out.parent.iterdir()] == ["tiny"]


def test_the_same_content_again_is_no_change(study: Study, published: Path) -> None:
    before = contents(published)
    publish(*study, published)
    assert contents(published) == before


def test_other_content_replaces_on_demand_only(study: Study, published: Path) -> None:
    before = contents(published)
    study[0].write_text(STUDY + "# changed\n")
    message = r"already published with other content: study\.yaml; .*REPLACE=yes"
    with pytest.raises(PublishError, match=message):
        publish(*study, published)
    assert contents(published) == before
    publish(*study, published, replace=True)
    assert (published / "study.yaml").read_text() == STUDY + "# changed\n"
    verify(published)


def test_the_same_content_does_not_hide_a_changed_manifest(study: Study, published: Path) -> None:
    (published / "MANIFEST.json").write_text("{}\n")
    with pytest.raises(PublishError, match=r"MANIFEST\.json: changed"):
        publish(*study, published)


def test_command_line(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["publish", "--study", study[0], "--results", study[1], "--out", out]
    command = [*map(str, arguments)]
    cli.main(command)
    assert "make figures STUDY=tiny" in capsys.readouterr().err
    study[0].write_text(STUDY + "# changed\n")
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    assert stop.value.code == 1
    assert "[publish] error:" in (message := capsys.readouterr().err) and "with other" in message
    cli.main([*command, "--replace"])
    assert (out / "study.yaml").read_text() == study[0].read_text()
