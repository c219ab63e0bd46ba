"""Models that start from a run: what they expand to, and what is refused before any job."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from sft_tradeoff.study.added_rates import with_most_rates
from sft_tradeoff.study.config import Study, parse_study
from sft_tradeoff.study.runs import evaluation_configs, expand_runs, model_digest, run_table
from sft_tradeoff.study.starts import root_of, starts_of
from sft_tradeoff.system.validation import ConfigError

START = {"model": "plain", "domain": "first", "method": "sft", "learning_rate": 1e-4, "seed": 1}
CHAIN: dict[str, Any] = {
    "study": "s",
    "models": ["plain", "warm"],
    "model_catalogue": {"plain": {"format": "random"}, "warm": {"start_from": START}},
    "domains": [
        {"name": "medcalc", "label": "first"},
        {"name": "esci", "variant": "label_only", "label": "second"},
    ],
    "methods": [{"name": "sft"}, {"name": "wise_ft"}],
    "learning_rates": {"full": [1e-5, 1e-4]},
    "seeds": [0, 1],
}
START_RUN = "plain.first.sft.lr1e-4.seed1"


def chain(start: dict[str, Any] | None = None, **changes: Any) -> Study:
    """The study, with another start or other keys."""
    study = copy.deepcopy(CHAIN) | changes
    if start is not None:
        study["model_catalogue"]["warm"]["start_from"] = START | start
    return parse_study(study, "s.yaml")


def third() -> dict[str, Any]:
    """Entries of three models in a row."""
    last = {"model": "warm", "domain": "second", "method": "sft", "learning_rate": 1e-5, "seed": 0}
    return CHAIN["model_catalogue"] | {"hot": {"start_from": last}}


def test_every_model_is_trained_on_every_domain_and_scored_on_what_it_may_forget() -> None:
    study = chain()
    assert len(expand_runs(study)) == 2 * 2 * 2 * 2 * 2
    found = evaluation_configs(study)
    tested = {name: [d.label for d in config.domains] for name, config in found.items()}
    assert tested["warm.base"] == ["first", "second"]
    assert tested["warm.second.sft.lr1e-5.seed0"] == ["first", "second"]
    assert tested["warm.first.sft.lr1e-5.seed0"] == ["first"]
    assert tested["plain.second.sft.lr1e-5.seed0"] == ["second"]
    (start,) = found["warm.second.sft.lr1e-5.seed0"].starts
    assert start.model_dump() == {"run": START_RUN, "model": "plain", "domain": "first"}
    assert found["plain.base"].starts == ()
    assert "starts" not in found["plain.base"].model_dump(), "older scores stay up to date"
    assert study.scores_other_domains and not study.is_crossed


def test_start_only_trains_one_run() -> None:
    study = chain(start_only=["first"])
    of_first = [run.run for run in expand_runs(study) if run.domain.label == "first"]
    assert of_first == [START_RUN]
    assert len(expand_runs(study)) == 1 + 2 * 2 * 2 * 2
    inline = Study.model_validate_json(study.model_dump_json())
    assert run_table(inline).equals(run_table(study)), "the run table's job gets JSON"
    assert {run.domain.label for run in expand_runs(study) if run.model == "warm"} == {"second"}


def test_refinement_adds_no_rates_where_only_a_start_is_trained() -> None:
    study = with_most_rates(chain(start_only=["first"], refine={"rounds": 1}))
    assert {rate.domain for rate in study.added_rates} == {"second"}


def test_the_digest_follows_the_runs_settings_and_nothing_else() -> None:
    study = chain()
    same = chain(start_only=["first"], keep_models=True, evaluation={"max_length": 512})
    assert model_digest(study, "warm") == model_digest(same, "warm")
    other_base = CHAIN["model_catalogue"] | {"plain": {"format": "random", "chat_template": "x"}}
    others = [
        chain({"seed": 0}),
        chain({"learning_rate": 1e-5}),
        chain(training={"epochs": 2}),
        chain(domains=[CHAIN["domains"][0] | {"seed": 1}, CHAIN["domains"][1]]),
        chain(model_catalogue=other_base),
    ]
    digests = {model_digest(other, "warm") for other in others}
    assert len(digests - {model_digest(study, "warm")}) == len(others)
    plain = chain(models=["plain"])
    assert model_digest(plain, "plain") == model_digest(study, "plain")


def test_a_chain_of_three() -> None:
    study = chain(models=["hot", "plain", "warm"], model_catalogue=third())
    assert [start.model for start in starts_of(study, "hot")] == ["plain", "warm"]
    assert root_of(study, "hot") == root_of(study, "plain") == "plain"
    config = evaluation_configs(study)["hot.first.sft.lr1e-5.seed0"]
    assert [start.run for start in config.starts] == [START_RUN, "warm.second.sft.lr1e-5.seed0"]
    assert [domain.label for domain in config.domains] == ["first", "second"]
    first = {"warm": {"start_from": START | {"seed": 0}}}
    other = chain(models=["hot", "plain", "warm"], model_catalogue=third() | first)
    assert model_digest(study, "hot") != model_digest(other, "hot"), "its first run is another"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"model": "pain"}, "start_from.model: 'pain' is not a model of this study; did you mean"),
        ({"domain": "first1"}, "start_from.domain: 'first1' is not a domain of this study; did"),
        ({"method": "talr"}, "start_from.method: 'talr' is not a method of this study; choose"),
        ({"method": "wise_ft"}, "start_from.method: 'wise_ft' averages weights and trains none"),
        ({"learning_rate": 3e-4}, "start_from.learning_rate: 3e-4 is not a learning rate of 'sft'"),
        ({"seed": 7}, "start_from.seed: '7' is not a seed of this study; choose one of 0, 1"),
        ({"model": "warm"}, "start_from: a circle, .* (warm -> warm: "),
        ({"rate": 1}, "start_from.rate: unknown key"),
    ],
)
def test_a_start_that_is_no_run(start: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        chain(start)
    before, _, after = f"model_catalogue.warm.{words}".partition(".* ")
    assert before in str(error.value) and after in str(error.value)
    assert len(str(error.value).strip().splitlines()) == 2, "one error, below the file's name"


def test_a_circle_of_two() -> None:
    back = {"model": "warm", "domain": "second", "method": "sft", "learning_rate": 1e-5, "seed": 0}
    entries = {"a": {"start_from": back}, "warm": {"start_from": START | {"model": "a"}}}
    with pytest.raises(ConfigError, match=r"catalogue\.a\.start_from: a circle.*a -> warm -> a"):
        chain(models=["a", "warm"], model_catalogue=entries)


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"asset": "x"}, "asset 'x'"),
        ({"format": "gguf"}, "format 'gguf'"),
        ({"chat_template_args": {"a": 1}}, "chat_template_args"),
    ],
)
def test_a_start_beside_an_asset(beside: dict[str, Any], words: str) -> None:
    entries = {**CHAIN["model_catalogue"], "warm": {"start_from": START, **beside}}
    with pytest.raises(
        ConfigError, match=rf"model_catalogue\.warm: start_from: given together with {words}"
    ):
        chain(model_catalogue=entries)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["first1"], "start_only: 'first1' is not a domain of this study; did you mean 'first'?"),
        (["second"], "start_only: no model starts from a run on 'second'"),
    ],
)
def test_start_only_names_what_a_start_is_trained_on(labels: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        chain(start_only=labels)


def test_start_only_leaves_something_to_compare() -> None:
    with pytest.raises(ConfigError, match="start_only: names all domains"):
        chain(domains=CHAIN["domains"][:1], start_only=["first"])


def test_an_added_rate_on_a_domain_of_starts_is_refused() -> None:
    rate = {"model": "plain", "domain": "first", "method": "sft", "learning_rate": 1e-3}
    with pytest.raises(ConfigError, match=r"added_rates\.0\.domain: 'first' is not a domain"):
        chain(start_only=["first"], added_rates=[rate])
