"""Tables and figures of the runs that have finished."""

import shutil
from pathlib import Path

from sft_tradeoff import cli
from sft_tradeoff.report.figures import drawable
from sft_tradeoff.system.files import verify_checksum
from tests.conftest import ROOT
from tests.finished_study import OTHER_RUN, RUN, make_finished_study


def test_what_has_finished_is_drawn_and_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for name in ("catalogue.yaml", "claims.yaml"):
        (tmp_path / "config" / name).symlink_to(ROOT / "config" / name)
    study_file, results = make_finished_study(tmp_path, crossed=True)
    # A further model, whose θ0 is not evaluated.
    text = study_file.read_text().replace("models: [", "models: [smollm2-135m-instruct, ")
    study_file.write_text(text)
    shutil.rmtree(results / "runs" / OTHER_RUN)
    cli.main(["partial", "tiny"])
    text, warnings = capsys.readouterr()
    assert "'smollm2-135m-instruct' is left out: its θ0 is not evaluated yet" in warnings
    assert "smollm2" not in text
    assert "sft at 1e-4: run not evaluated." in text and "sft at 1e-5" not in text
    assert text.endswith("Results:\nresults/tiny/partial\n")
    partial = results / "partial"
    drawn = {path.relative_to(partial).as_posix() for path in partial.rglob("*.*")}
    made = {"run_table.csv", "scores.csv", "tradeoff.csv", "tradeoff_over_seeds.csv", "epochs.csv"}
    names = [*drawable(made), "breakpoints", "cross_domain"]
    made |= {f"figures/{name}.{suffix}" for name in names for suffix in ("csv", "pdf", "png")}
    made |= {"figures/breakpoints.md", "figures/cross_domain.md"}
    made |= {*(f"tables/tradeoff.{s}" for s in ("csv", "md", "tex"))}
    made |= {f"claims.{suffix}" for suffix in ("md", "json", "csv", "pdf", "png")}
    assert made == {name for name in drawn if not Path(name).name.startswith(".")}
    assert "on math-cot: run not evaluated." in (partial / "figures/cross_domain.md").read_text()
    assert RUN in (partial / "scores.csv").read_text()
    for table in ("epochs.csv", "tradeoff.csv"):  # not replaced by the numbers of a figure
        verify_checksum(partial / table)
