"""Unfinished, outdated or broken studies are not published."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sft_tradeoff.report.publish import publish
from sft_tradeoff.report.publish_checks import run_files
from sft_tradeoff.report.published import PublishError
from sft_tradeoff.study.config import load_study
from tests.finished_study import (
    BASE,
    FLOOR,
    OTHER_RUN,
    RUN,
    STUDY,
    TABLES,
    write_items,
    write_tables,
)

Study = tuple[Path, Path]


@pytest.mark.parametrize("name", ["train.json", "eval.json", "items.parquet", "answers.parquet"])
def test_an_unfinished_study_is_refused_with_the_missing_runs(
    study: Study, out: Path, name: str
) -> None:
    (study[1] / "runs" / RUN / name).unlink()
    with pytest.raises(PublishError, match=f"1 of 3 runs are not finished: {RUN}; run make study"):
        publish(*study, out)
    assert not out.parent.exists()


def test_a_study_without_its_noise_floor_is_refused(study: Study, out: Path) -> None:
    (study[1] / FLOOR).unlink()
    write_tables(*study)
    message = rf"noise floor is not measured: {FLOOR}; run make study STUDY=tiny"
    with pytest.raises(PublishError, match=message):
        publish(*study, out)
    assert not out.parent.exists()


def test_a_run_of_other_settings_is_refused(study: Study, out: Path) -> None:
    """The study now asks for five items of piqa; the runs had four. The tables do not show it."""
    study[0].write_text(STUDY.replace("piqa: 4", "piqa: 5"))
    with pytest.raises(PublishError, match=r"eval\.json: evaluation: not as in the study file"):
        publish(*study, out)
    assert not out.exists()


def test_a_broken_score_is_refused(study: Study, out: Path) -> None:
    write_items(study[1], RUN, shift=math.nan)
    write_tables(*study)
    message = rf"scores are broken: {RUN} on .*not finite, e\.g\. item"
    with pytest.raises(PublishError, match=message):
        publish(*study, out)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_that_is_not_of_these_runs_is_refused(study: Study, out: Path, name: str) -> None:
    path = study[1] / name
    path.write_text(path.read_text().replace("sft", "talr"))
    with pytest.raises(PublishError, match=rf"{name}: does not match the runs"):
        publish(*study, out)
    path.unlink()
    with pytest.raises(PublishError, match=rf"{name}: missing"):
        publish(*study, out)


def test_single_tokens_are_published(study: Study) -> None:
    """Those of every evaluation, and of every run that trained."""
    study[0].write_text(f"{STUDY}record_tokens: true\n")
    base, plain = run_files(load_study(study[0])), {"eval.json", "train.json"}
    found = {name for name in base if name.endswith("tokens.parquet")}
    assert found == {
        f"runs/{run}/{file}"
        for run, file in (
            *((run, "tokens.parquet") for run in (BASE, RUN, OTHER_RUN)),
            *((run, "training_tokens.parquet") for run in (RUN, OTHER_RUN)),
        )
    }
    assert plain <= {Path(name).name for name in base}
