"""What the comments of the project's own studies say about their cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sft_tradeoff.planning.cost import Hardware, ModelCost, model_cost
from sft_tradeoff.study.checks import unpinned_assets
from sft_tradeoff.study.config import Study, load_study, parse_study

STUDIES = Path("config/studies")
GIB = 2**30


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))


def estimated(study: Study, hardware: Hardware) -> tuple[float, list[ModelCost]]:
    """GPU-hours of a study, and its models."""
    costs = [model_cost(study, name, hardware) for name in study.models]
    return sum(cost.training + cost.evaluation for cost in costs), costs


def stated_hours(text: str) -> float:
    (hours,) = re.findall(r"([\d,]+)\s+(?:# )?GPU-hours", text)
    return float(hours.replace(",", ""))


def test_one_gpu_is_enough_for_a_day():
    """On the card that the study's first lines describe, with 24 GB."""
    path = STUDIES / "one-gpu.yaml"
    comment = path.read_text().split("study:")[0]
    assumed = dict(re.findall(r"--(\w+) ([\d.]+)", comment))
    assert set(assumed) == {"tflops", "utilization", "bandwidth"}
    hours, (cost,) = estimated(
        load_study(path), Hardware(**{name: float(value) for name, value in assumed.items()})
    )
    assert hours == pytest.approx(stated_hours(comment), rel=0.05)
    assert hours < 20  # the rest of the day is for what the estimate leaves out
    assert cost.memory < 20 * GIB


def with_models(models: list[str], processes: int) -> Study:
    """The paper's study with other models."""
    study = yaml.safe_load((STUDIES / "paper.yaml").read_text())
    study["training"]["processes"] = processes
    return parse_study(study | {"models": models}, "paper.yaml")


def test_the_papers_optional_models_cost_what_is_stated_and_need_four_gpus():
    text = (STUDIES / "paper.yaml").read_text()
    head, rest = text.split("# Optional, ", 1)
    optional = rest.split("domains:")[0]
    names = re.findall(r"^#   (\S+)  ", optional, re.MULTILINE)
    assert len(names) == 2 and any("deepseek" in name for name in names)
    for name in names:
        study = with_models([name], processes=4)
        assert unpinned_assets(study, "paper.yaml") == ""
        hours, (cost,) = estimated(study, Hardware())
        assert hours == pytest.approx(stated_hours(optional), rel=0.05)
        assert cost.n_parameters < 8e9
        assert (
            cost.memory
            < 80e9
            < estimated(with_models([name], processes=2), Hardware())[1][0].memory
        )
    hours, _ = estimated(load_study(STUDIES / "paper.yaml"), Hardware())
    assert hours == pytest.approx(stated_hours(head), rel=0.05)
