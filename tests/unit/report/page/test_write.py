"""The command that writes the page, from files of a finished and of a published study."""

from __future__ import annotations

import argparse
import json
import shutil

import pytest

from sft_tradeoff.cli import main
from sft_tradeoff.report import claims, recommend
from sft_tradeoff.report.page import write
from sft_tradeoff.report.page.build import MAX_BYTES
from sft_tradeoff.system.console import UserError
from tests.conftest import ROOT


def draw_reports(results, reports):
    """What the rules `recommend` and `claims` write."""
    of_runs = {"run_table": results / "run_table.csv", "runs": results / "runs"}
    tradeoff = results / "tradeoff_over_seeds.csv"
    limits = {"tolerance": "bits_per_byte=0.5", "smallest_gain": "", "answer_weights": []}
    out = reports / "recommendation.md"
    recommend.main(argparse.Namespace(**of_runs, tradeoff=tradeoff, out=out, **limits))
    path = ROOT / "config/claims.yaml"
    claims.main(argparse.Namespace(**of_runs, claims=path, out_stem=reports / "claims"))


def data_of(path):
    """What the page's explorer reads."""
    text = path.read_text()
    before, after = '<script type="application/json" id="data">', "</script>"
    return json.loads(text.split(before)[1].split(after)[0])["studies"]


@pytest.fixture
def in_root(study, tmp_path, monkeypatch):
    """A project folder whose only study is finished."""
    draw_reports(study[1], study[1])
    monkeypatch.chdir(tmp_path)
    return study


def test_a_finished_study_becomes_one_file(in_root, capsys):
    main(["report", "tiny"])
    page = in_root[1] / "report.html"
    assert f"Page: {page.relative_to(in_root[1].parents[1])}" in capsys.readouterr().out
    assert page.stat().st_size < MAX_BYTES
    (found,) = data_of(page)
    assert found["name"] == "tiny" and found["tolerance"] == {"bits_per_byte": 0.5}
    assert found["axes"][0]["key"] == "accuracy"
    assert found["start"] == {"x": "loss_bits", "y": "accuracy"}
    text = page.read_text()
    for part in ("<!doctype html>", "Theorem 3.1", "maximum likelihood", "c" * 40, "x86_64 AVX512"):
        assert part in text, part
    assert 'src="' not in text.split("<script>")[0], "nothing is loaded"


def test_the_same_study_gives_the_same_page(in_root):
    main(["report", "tiny", "--out", "a.html"])
    main(["report", "tiny", "--out", "b.html"])
    tmp = in_root[1].parents[1]
    assert (tmp / "a.html").read_bytes() == (tmp / "b.html").read_bytes()


def test_a_published_study_is_shown_with_what_was_drawn_from_it(published, study, monkeypatch):
    root = study[1].parents[1]
    monkeypatch.chdir(root)
    shutil.rmtree(study[1])
    with pytest.raises(UserError, match="make figures STUDY=tiny"):
        write.find("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        draw_reports(published, root / "figures/tiny")
    main(["report"])
    (found,) = data_of(root / "figures/tiny/report.html")
    assert found["name"] == "tiny"
    assert found["changes"]["runs"], "its answers are published too"
    assert "settings SHA-256" in (root / "figures/tiny/report.html").read_text()


def test_without_a_name_what_is_published_is_shown(published, in_root, monkeypatch):
    """Also if the same study is among the results; a study published without its runs is not."""
    root = in_root[1].parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        draw_reports(published, root / "figures/tiny")
    args = argparse.Namespace(studies=[], tables=None)
    assert [sources.tables for sources in write._sources(args)] == [write.PUBLISHED / "tiny"]
    assert write.find("tiny").tables == write.RESULTS / "tiny"


def test_a_study_that_is_not_finished_is_refused(in_root):
    (in_root[1] / "claims.csv").unlink()
    with pytest.raises(UserError, match=r"'tiny' is not finished: results/tiny/claims.csv missing"):
        write.find("tiny")


def test_folders_need_one_name_and_the_reports(in_root, capsys):
    with pytest.raises(SystemExit):
        main(["report", "--tables", "results/tiny"])
    assert "name one study, and give --reports too" in capsys.readouterr().err
