"""A finished study, and its published version."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from sft_tradeoff.report.publish import publish
from tests.conftest import ROOT
from tests.finished_study import make_finished_study

Study = tuple[Path, Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study and its published version, made once; every test gets a copy."""
    root = tmp_path_factory.mktemp("made")
    with contextlib.chdir(ROOT):
        study_file, results = make_finished_study(root)
        publish(study_file, results, root / "published")
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Study:
    shutil.copytree(made / "config", tmp_path / "config")
    shutil.copytree(made / "results", tmp_path / "results")
    return tmp_path / "config/studies/tiny.yaml", tmp_path / "results/tiny"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results/published/tiny"


@pytest.fixture
def published(made: Path, study: Study, out: Path) -> Path:
    shutil.copytree(made / "published", out)
    return out
