"""Learning rates beyond a study's grid: in the study file, and added by refinement."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from sft_tradeoff.study.added_rates import (
    PlannedRate,
    planned_study,
    read_planned,
    with_added_rates,
    with_most_rates,
    write_planned,
)
from sft_tradeoff.study.config import Study, parse_study
from sft_tradeoff.study.runs import expand_runs, run_table
from sft_tradeoff.system.files import DamagedFileError
from sft_tradeoff.system.validation import ConfigError

ADDED = {"model": "random-2layer", "domain": "esci-label_only", "method": "sft"}


def study_of(**changes: Any) -> Study:
    content = {
        "study": "s",
        "models": ["random-2layer"],
        "domains": [
            {"name": "esci", "variant": "label_only"},
            {"name": "medcalc", "variant": "cot"},
        ],
        "methods": [
            {"name": "sft"},
            {"name": "lora"},
            {"name": "wise_ft", "options": {"alpha": 0.5}},
        ],
        "learning_rates": {"full": [1e-4, 1e-5], "adapter": [1e-3]},
        "seeds": [0, 1],
    }
    return parse_study(content | changes, "s.yaml")


def planned(rate: float, **changes: Any) -> PlannedRate:
    content = {"learning_rate": rate, "round": 1, "tolerance": "bits_per_byte=0.01"}
    return PlannedRate(**ADDED | content | changes)


def rates_of(study: Study, label: str, domain: str = "esci-label_only") -> list[float]:
    runs = [r for r in expand_runs(study) if (r.method.label, r.domain.label) == (label, domain)]
    return [run.learning_rate for run in runs if run.seed == 0]


def test_an_added_rate_is_run_with_all_seeds_in_order_by_its_method_and_the_average_of_it() -> None:
    plain, more = study_of(), study_of(added_rates=[ADDED | {"learning_rate": 3e-5}])
    assert rates_of(more, "sft") == rates_of(more, "wise_ft") == [1e-5, 3e-5, 1e-4]
    assert rates_of(more, "lora") == [1e-3]
    assert rates_of(more, "sft", "medcalc-cot") == [1e-4, 1e-5], "as the study file has them"
    known = {run.run: run for run in expand_runs(more)}
    assert all(known[run.run] == run for run in expand_runs(plain)), "no run changes"
    assert len(known) == len(expand_runs(plain)) + 2 * 2
    assert len(run_table(more)) == len(known) + 1


def test_a_rate_that_the_grid_has_already_is_not_run_twice() -> None:
    study = study_of(added_rates=[ADDED | {"learning_rate": 1e-5}] * 2)
    assert rates_of(study, "sft") == [1e-5, 1e-4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, r"added_rates\.0\.model: 'other' is not a model in this study"),
        ({"domain": "esci"}, r"added_rates\.0\.domain: 'esci' .* one of esci-label_only"),
        ({"method": "sfft"}, r"added_rates\.0\.method: 'sfft' .*did you mean 'sft'"),
        ({"method": "wise_ft"}, r"added_rates\.0\.method: 'wise_ft' is not a method that"),
        ({"learning_rate": 2}, r"added_rates\.0\.learning_rate"),
        ({"rate": 1e-5}, "rate: unknown key"),
    ],
)
def test_an_added_rate_of_nothing_in_the_study_is_refused(change, words) -> None:
    with pytest.raises(ConfigError, match=words):
        study_of(added_rates=[ADDED | {"learning_rate": 3e-5} | change])


def test_decay_of_an_added_rate_is_checked_as_well() -> None:
    with pytest.raises(ConfigError, match=r"weight_decay: 10 times the learning rate 0\.5 is 5"):
        study_of(added_rates=[ADDED | {"learning_rate": 0.5}], training={"weight_decay": 10})


@pytest.mark.parametrize("refine", [{"rounds": 0}, {"ratio": 1.0}, {"round": 3}, "yes", True])
def test_a_refinement_that_cannot_be_is_refused(refine) -> None:
    with pytest.raises(ConfigError, match="refine"):
        study_of(refine=refine)


def test_planned_rates_survive_writing_and_are_part_of_the_study(tmp_path: Path) -> None:
    rates = [planned(3e-5), planned(1.7e-5, round=2)]
    write_planned(tmp_path, rates)
    assert read_planned(tmp_path) == rates
    refined = with_added_rates(study_of(refine={}), tmp_path)
    assert rates_of(refined, "sft") == [1e-5, 1.7e-5, 3e-5, 1e-4]
    assert with_added_rates(study_of(), tmp_path) == study_of(), "only if the study refines"
    assert read_planned(tmp_path / "none") == []


def test_results_do_not_depend_on_how_rates_are_chosen() -> None:
    """Adding, changing or removing `refine` repeats no run and no table."""
    assert study_of(refine={"rounds": 2}).model_dump() == study_of().model_dump()


def test_rates_of_what_the_study_no_longer_has_are_left_out(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING, "sft_tradeoff")
    write_planned(tmp_path, [planned(3e-5), planned(2e-3, method="lora")])
    study = study_of(refine={}, methods=[{"name": "sft"}])
    assert rates_of(with_added_rates(study, tmp_path), "sft") == [1e-5, 3e-5, 1e-4]
    assert "random-2layer, esci-label_only, lora at 2e-3" in caplog.text


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_planned(tmp_path, [planned(3e-5)])
    path = tmp_path / "added_rates.yaml"
    path.write_text(path.read_text().replace("3.0e-05", "4.0e-05"))
    with pytest.raises(DamagedFileError, match=r"added_rates\.yaml is not as it was written"):
        read_planned(tmp_path)
    (tmp_path / ".added_rates.yaml.sha256").unlink()
    for text in ("added_rates: 3", "[]", "", "added_rates: [{model: m}]", "a: {"):
        path.write_text(text)
        with pytest.raises(DamagedFileError, match="delete it and run the same command again"):
            read_planned(tmp_path)


def test_a_study_file_is_read_with_what_was_added(tmp_path: Path, monkeypatch) -> None:
    catalogue = Path("config/catalogue.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/catalogue.yaml").symlink_to(catalogue)
    text = study_of().model_dump_json(exclude={"assets", "model_catalogue"})
    Path("s.yaml").write_text(text[:-1] + ', "refine": {}}')
    write_planned(Path("results/s"), [planned(3e-5)])
    assert rates_of(planned_study("s.yaml"), "sft") == [1e-5, 3e-5, 1e-4]


@pytest.mark.parametrize("rate", [1e-12, 1e-5, 0.9])
def test_refinement_adds_at_most_two_rates_per_method_and_round(rate: float) -> None:
    rates = {"full": [rate], "adapter": [rate]}
    study = study_of(refine={"rounds": 3}, learning_rates=rates)
    runs, most = expand_runs(study), expand_runs(with_most_rates(study))
    n_methods = 3  # the average follows its source
    assert len(most) - len(runs) == 2 * 3 * n_methods * len(study.domains) * len(study.seeds)
