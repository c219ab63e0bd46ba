"""Which evaluations measure the divergence from θ0, and which of them are repeated for it."""

import json

import pytest

from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.runs import EvaluationConfig, evaluation_configs, read_config
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.validation import ConfigError

GOOD = {
    "study": "my",
    "models": ["random-2layer"],
    "domains": [{"name": "esci"}],
    "methods": [{"name": "sft"}],
    "learning_rates": {"full": [1e-4]},
}


def configs_of(**evaluation):
    return evaluation_configs(parse_study(GOOD | {"evaluation": evaluation}, "my.yaml")).values()


def test_every_evaluation_measures_kl_by_default():
    for config in configs_of():
        found = config.divergence
        assert (found.kl_positions, found.sampled_texts) == (256, 0)
        assert read_config(EvaluationConfig, config.model_dump_json()).divergence == found


@pytest.mark.parametrize(
    "evaluation",
    [{"kl_positions": 0}, {"kl_positions": 0, "sampled_tokens": 9}, {"backend": "vllm"}],
)
def test_without_it_the_settings_are_those_before_it_could_be_measured(evaluation):
    """So that finished evaluations are not repeated."""
    for config in configs_of(**evaluation):
        content = json.loads(config.model_dump_json())
        assert config.divergence is None and "divergence" not in content
        assert not [key for key in content["evaluation"] if "kl" in key or "sampled" in key]
        read = read_config(EvaluationConfig, config.model_dump_json())
        assert read.divergence is None and read.model_dump() == config.model_dump()


def test_texts_alone_can_be_measured():
    for config in configs_of(kl_positions=0, sampled_texts=8):
        assert (config.divergence.kl_positions, config.divergence.sampled_texts) == (0, 8)


def test_texts_have_to_fit_the_window():
    message = r"sampled_tokens 128 do not fit the window of max_length 128 .*; lower sampled_tokens"
    with pytest.raises(ConfigError, match=message):
        configs_of(sampled_texts=1, max_length=128)
    assert configs_of(sampled_texts=0, max_length=128)


def test_no_domain_is_called_like_the_sampled_texts():
    study = parse_study(GOOD | {"domains": [{"name": "esci", "label": "sampled_texts"}]}, "my.yaml")
    with pytest.raises(ConfigError, match=r"domains\.0\.label: 'sampled_texts' is the name of"):
        check_files(study, "my.yaml", BENCHMARKS)
